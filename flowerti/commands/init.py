"""`flowerti init`: the settings that `run FOLDER` would choose, as a commented file for `--config`.

This module does not know how settings are chosen.
"""

from pathlib import Path

from flowerti.boundary import EXIT_CODES_HELP
from flowerti.commands.start import NO_BASE
from flowerti.option_parser import OneLineParser


def init(arguments: list[str]) -> int:
    """Print the file, or write it to `--output`."""
    parser = OneLineParser(
        prog="flowerti init",
        description="Write the settings that `flowerti run FOLDER` would choose, as a commented TOML file.",
        epilog=EXIT_CODES_HELP,
        allow_abbrev=False,
    )
    parser.add_argument("folder", help="folder of images or Parquet files, or a .csv of paths")
    parser.add_argument("--base", default="", help="the text-to-image model, a folder; demo is a toy")
    parser.add_argument("--plugins", nargs="*", default=[], help="functions that add rows to the tables")
    parser.add_argument("--output", default="", help="file to write; by default the terminal")
    values = parser.parse_args(arguments)
    if not values.base:
        raise ValueError(f"{values.folder} {NO_BASE}")
    from flowerti.choosing.own_run import choose_run, toml_text

    text = toml_text(choose_run(values.folder, values.base, tuple(values.plugins)))
    if not values.output:
        print(text, end="")
        return 0
    _write(Path(values.output), text)
    print(f"{values.output}: start with flowerti run --config {values.output}")
    return 0


def _write(path: Path, text: str) -> None:
    """Write a file that was not there; one that was may hold somebody's own changes."""
    if path.suffix != ".toml":
        raise ValueError(f"--output: {path} must end in .toml, by which --config knows what it reads")
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise ValueError(f"--output: {path} is there already: name another file, or delete it") from None
    except OSError as error:
        raise ValueError(f"--output: {path} cannot be written: {error.strerror}") from error
