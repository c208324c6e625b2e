"""What classes are called elsewhere: the word that stands for a token, and the folder of a class's images.

A word has small letters of ASCII, digits and hyphens alone: CLIP's tokenizer turns capitals into small letters, and
diffusers then finds only the first vector of a token whose name has one, as the escapes of other characters do. It
begins with "ti-", so that programs that go by the file's name take no word of ordinary prompts for it. This module
opens no file.
"""

import hashlib
import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from flowerti.artifacts.identity import slug

_PREFIX = "ti-"
_MAX_LENGTH = 48
_PLAIN_FOLDER = re.compile(r"\w(?:[\w '(),&+-]*[\w)])?")


def words_of(class_names: Sequence[str]) -> dict[str, str]:
    """The word of each class, "ti-sword-lily" for "sword lily"; different for different classes.

    Where classes would share a word, or no letter of a name is left, a hash of the name follows.
    """
    plain = {name: _plain(name) for name in class_names}
    counts = Counter(plain.values())
    found = {}
    for name, word in plain.items():
        needs_hash = not word or counts[word] > 1
        parts = [part for part in (word, _hash(name) if needs_hash else "") if part]
        found[name] = _PREFIX + "-".join(parts)
    return found


def _plain(name: str) -> str:
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", letters)[:_MAX_LENGTH].strip("-")


def _hash(name: str) -> str:
    return hashlib.sha256(name.encode()).hexdigest()[:8]


def trigger_of(word: str) -> str:
    """What stands for a word in diffusers; the brackets keep one word from being found within a longer one."""
    return f"<{word}>"


def folders_of(class_names: Sequence[str]) -> dict[str, str]:
    """The folder of each class: its name where every file system takes it, escaped where not."""
    found = {name: name if _PLAIN_FOLDER.fullmatch(name) and len(name) < 100 else slug(name) for name in class_names}
    return found if len(set(found.values())) == len(found) else {name: slug(name) for name in class_names}
