"""The tokenizer files of a base: every id has a row in the text encoders' tables, every prompt a length that they take.

The checks need neither torch nor transformers, which know how words are cut into tokens.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flowerti.base_checks.json_files import quoted, read_object, refused

_END = "<|endoftext|>"
_SPECIAL = {"bos_token": "<|startoftext|>", "eos_token": _END, "unk_token": _END, "pad_token": _END}
"""What CLIP's tokenizer takes for tokens that its config does not name."""


def check_tokenizer(folder: Path, num_rows: int, max_length: int) -> None:
    """Check the files of a tokenizer against the text encoders that get its ids.

    Args:
        folder: of the tokenizer.
        num_rows: rows of the smallest embedding table.
        max_length: most positions that the text encoders take.

    Raises:
        ValueError: a file is missing or damaged, an id is outside the table, or prompts are too long; names the file.
    """
    words = set[str]()
    for path, token, number in _tokens(folder):
        words.add(str(token))
        if type(number) is not int or not 0 <= number < num_rows:
            problem = (
                f"gives token {quoted(repr(token))} the id {quoted(repr(number))}, outside the text encoder's table"
            )
            raise refused(
                path, f"{problem} of {num_rows} rows (vocab_size): fetch tokenizer and text encoder of one base"
            )
    path = folder / "tokenizer_config.json"
    config = read_object(path)
    for name, usual in _SPECIAL.items():
        # a word, or its description
        token = config.get(name) or usual
        token = token.get("content") if isinstance(token, dict) else token
        if token not in words:
            raise refused(path, f"says {name} {quoted(repr(token))}, which the vocabulary lacks: fetch all its files")
    length = config.get("model_max_length")
    if type(length) is not int or not 3 <= length <= max_length:
        problem = f"says model_max_length {quoted(repr(length))}, but the text encoder takes up to {max_length} tokens"
        raise refused(path, f"{problem}: set it to {max_length}")
    if (folder / "merges.txt").is_file():
        _check_merges(folder / "merges.txt")


def _tokens(folder: Path) -> Iterator[tuple[Path, Any, Any]]:
    """File, token and id of every entry of the vocabulary."""
    vocabulary, whole = folder / "vocab.json", folder / "tokenizer.json"
    if vocabulary.is_file():
        yield from ((vocabulary, token, number) for token, number in _filled(vocabulary, read_object(vocabulary)))
    if whole.is_file():
        content = read_object(whole)
        model, added = content.get("model"), content.get("added_tokens") or []
        words = model.get("vocab") if isinstance(model, dict) else None
        yield from ((whole, token, number) for token, number in _filled(whole, words))
        if not isinstance(added, list) or not all(isinstance(one, dict) for one in added):
            raise refused(whole, "has added_tokens that are no list of tokens: fetch it again")
        yield from ((whole, one.get("content"), one.get("id")) for one in added)
    more = folder / "added_tokens.json"
    if more.is_file():
        yield from ((more, token, number) for token, number in read_object(more).items())


def _filled(path: Path, words: Any) -> list[tuple[Any, Any]]:
    if not isinstance(words, dict) or not words:
        raise refused(path, "has no vocabulary: fetch it again")
    return list(words.items())


def _check_merges(path: Path) -> None:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise refused(path, f"is no readable text ({quoted(error)}): fetch it again") from error
    for number, line in enumerate(lines, start=1):
        is_header = number == 1 and line.startswith("#version")
        if line.strip() and not is_header and len(line.split()) != 2:
            raise refused(path, f"holds no pair in line {number} ({quoted(repr(line))}): fetch it again")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder, as transformers loads it.

    Raises:
        ValueError: it cannot be loaded; names the folder.
    """
    from transformers import CLIPTokenizer

    try:
        return CLIPTokenizer.from_pretrained(folder)
    except Exception as error:
        # damaged files may break the library at any place
        raise refused(folder, f"holds no tokenizer of CLIP ({quoted(error)}): fetch it again") from error
