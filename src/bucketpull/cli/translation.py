"""The language of `--help` and of click's own words: gettext, in the language of the locale.

The texts are in `locale/LANGUAGE/LC_MESSAGES/bucketpull.po`, a paragraph an entry; `make translations` brings them up to date.
"""

import gettext
import inspect
from collections.abc import Iterable, Iterator
from importlib.resources import as_file, files
from typing import Final

import click
from rich.cells import cell_len, chop_cells

from bucketpull.report.words import DOMAIN

# Marks that no line begins with.
_NOT_FIRST: Final = " \uff0c\u3002\uff1b\uff1a\u3001\uff01\uff1f\uff09\u300d\u201d"
_NOT_LAST: Final = "\uff08\u300c\u201c"  # marks that no line ends with
_AS_IT_IS: Final = "\b"  # click's mark of a paragraph whose lines stay


def install() -> None:
    """Have what click says come in the language of the locale; `translate` does it for a command's help."""
    with as_file(files("bucketpull").joinpath("locale")) as folder:
        gettext.bindtextdomain(DOMAIN, str(folder))
    gettext.textdomain(DOMAIN)
    click.Context.formatter_class = WideFormatter


def translate(command: click.Command) -> click.Command:
    """Put a command's help into the language of the locale, that of its subcommands too."""
    command.help = "\n\n".join(
        part if part.startswith(_AS_IT_IS) else gettext.gettext(part) for part in paragraphs(command)
    )
    if command.epilog:
        command.epilog = gettext.gettext(command.epilog)
    for option in command.params:
        if isinstance(option, click.Option) and option.help:
            option.help = gettext.gettext(option.help)
    if isinstance(command, click.Group):
        for below in command.commands.values():
            translate(below)
    return command


def paragraphs(command: click.Command) -> list[str]:
    """Return the paragraphs of a command's help; lines are joined but in examples."""
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    return [
        part if part.startswith(_AS_IT_IS) else " ".join(part.split()) for part in text.split("\n\n") if part
    ]


def texts(command: click.Command) -> Iterator[str]:
    """Go through everything of a command's help that is translated."""
    yield from (part for part in paragraphs(command) if not part.startswith(_AS_IT_IS))
    if command.epilog:
        yield command.epilog
    for option in command.params:
        if isinstance(option, click.Option) and option.help:
            yield option.help
    if isinstance(command, click.Group):
        for below in command.commands.values():
            yield from texts(below)


class WideFormatter(click.HelpFormatter):
    """Wraps at the width of what is shown: a Chinese character takes two columns, and a line may end after each."""

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        indent = " " * self.current_indent
        for number, part in enumerate(text.split("\n\n")):
            as_it_is = part.startswith(_AS_IT_IS)
            lines = part.splitlines()[1:] if as_it_is else wrapped(part, max(20, self.width - len(indent)))
            self.write(("\n" if number else "") + "".join(f"{indent}{line}\n" for line in lines))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write a list of names and what they mean."""
        rows = list(rows)
        column = min(max(cell_len(name) for name, _ in rows), col_max) + col_spacing
        indent = " " * self.current_indent
        for name, meaning in rows:
            lines = wrapped(meaning, max(20, self.width - column - self.current_indent)) or [""]
            if cell_len(name) + col_spacing > column:
                self.write(f"{indent}{name}\n")
            else:
                self.write(f"{indent}{name}{' ' * (column - cell_len(name))}{lines.pop(0)}\n")
            self.write("".join(f"{indent}{' ' * column}{line}\n" for line in lines))


def wrapped(text: str, width: int) -> list[str]:
    """Break a text into lines of so many columns: at spaces, else after any Chinese character."""
    lines, line = [], ""
    for piece in _pieces(text):
        if line and cell_len(line + piece.rstrip()) > width:
            lines.append(line.rstrip())
            line = ""
        line += piece if line else piece.lstrip()
        if cell_len(piece) > width:
            *full, line = chop_cells(line, width)
            lines += full
    return [*lines, line.rstrip()] if line.strip() else lines


def _pieces(text: str) -> Iterator[str]:
    """Cut a text where a line may end; a mark stays with what is before it."""
    piece = ""
    for character in text:
        wide, mark = cell_len(character) > 1, character in _NOT_FIRST
        after = piece[-1:]
        if after and not mark and after not in _NOT_LAST and (wide or after == " " or cell_len(after) > 1):
            yield piece
            piece = ""
        piece += character
    yield piece
