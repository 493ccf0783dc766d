"""Bring the translations up to date with what `--help` and click say, and compile them (`make translations`).

A text that is new, or was changed, stands in the catalogue without a translation, which a test finds.
"""

import inspect
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from bucketpull.cli.main import COMMANDS, bucketpull
from bucketpull.cli.translation import texts

FOLDER = Path(__file__).parent.parent / "src/bucketpull/locale"
_NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)  # one commit gives one file
OF_CLICK = {"core.py", "decorators.py", "exceptions.py", "formatting.py", "parser.py", "types.py"}


def said() -> dict[str | tuple[str, ...], str]:
    """Return what is translated, and where it is said."""
    found: dict[str | tuple[str, ...], str] = dict.fromkeys(COMMANDS.values(), "bucketpull")
    for text in texts(bucketpull):
        found.setdefault(text, "bucketpull")
    for name in COMMANDS:
        command = bucketpull.get_command(click.Context(bucketpull), name)
        assert command is not None
        for text in texts(command):
            found.setdefault(text, f"bucketpull {name}")
    return found | dict.fromkeys(_of_click(), "click")


def _of_click() -> Iterator[str | tuple[str, ...]]:
    folder = Path(inspect.getfile(click)).parent
    for file, _, message, _, _ in extract_from_dir(folder, method_map=[("**.py", "python")]):
        if file in OF_CLICK:
            yield message


def updated(path: Path) -> Catalog:
    """Return a catalogue with exactly what is said, and the translations that it has."""
    old = read_po(BytesIO(path.read_bytes()), locale=path.parent.parent.name)
    new = Catalog(
        locale=old.locale, project="bucketpull", fuzzy=False, creation_date=_NO_DATE, revision_date=_NO_DATE
    )
    for message, where in said().items():
        new.add(message, user_comments=[where])
    for message in new:
        if message.id and message.id in old:
            message.string = old[message.id].string
    return new


def compiled(catalog: Catalog) -> bytes:
    """Return the catalogue as gettext reads it."""
    file = BytesIO()
    write_mo(file, catalog)
    return file.getvalue()


def main() -> None:
    """Write both files of each language."""
    for path in FOLDER.glob("*/LC_MESSAGES/bucketpull.po"):
        catalog = updated(path)
        with path.open("wb") as file:
            write_po(file, catalog, width=0, omit_header=True)
        path.with_suffix(".mo").write_bytes(compiled(catalog))
        empty = [message.id for message in catalog if message.id and not message.string]
        print(f"{path}: {len(empty)} without a translation")


if __name__ == "__main__":
    main()
