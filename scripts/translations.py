"""Bring the translations up to date with what the program says, and compile them (`make translations`).

A text that is new, or was changed, stands in the catalogue without a translation, which a test finds. Of errors and notes, those that
the code says as one literal text are found by reading it; what is put together elsewhere is entered by hand, with context "message".
"""

import ast
import inspect
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

import bucketpull
from bucketpull.cli import main as program
from bucketpull.cli.commands import COMMANDS
from bucketpull.cli.translation import texts
from bucketpull.report.reasons import CHECK_CREDENTIALS, EXPLANATIONS, remedy_while_running
from bucketpull.report.words import TEXTS, pattern
from upyun_simulator.effects import describe

SOURCE = Path(bucketpull.__file__).parent
FOLDER = SOURCE / "locale"
DOCTOR = SOURCE / "cli/doctor"
_WORD = re.compile(r"[a-z]{2}")
_NO_DATE = datetime(2026, 1, 1, tzinfo=UTC)  # one commit gives one file
OF_CLICK = {
    "core.py",
    "decorators.py",
    "exceptions.py",
    "formatting.py",
    "parser.py",
    "termui.py",
    "types.py",
}
RAISED = {
    "UsageError",
    "BadParameter",
    "ConfigError",
    "JobMismatch",
    "JournalError",
    "JournalLocked",
    "JournalDamaged",
    "TransportError",
}
OF_A_VOLUME = {"VolumeError", "VolumeFull", "VolumeSick", "VolumeForeign", "LedgerError"}
TOLD = {"tell", "said", "inform", "interruptible"}
CHECKS = {"passed", "warned", "failed"}
AS_IT_IS = {
    # of the operating system or a library
    "--config {}: {}",
    "--dashboard {}: {}",
    "{}: {}",
    # commands
    "  {}  {}",
    "  bucketpull sync {} {} \\",
    "    --api-url {} --cdn-url {}{}",
    "  {} status --state {}",
    "  {} verify {} --hash",
    # a bug's
    "receipt for batch {} from {} does not add up: {} stored, {} skipped, {} failed or vanished, {} deferred, {} returned, {} sent on, {} left, of {} objects",
}


def said() -> dict[str | tuple[str, ...], str]:
    """Return what help and click say, and where."""
    found: dict[str | tuple[str, ...], str] = dict.fromkeys(COMMANDS.values(), "bucketpull")
    for text in texts(program.bucketpull):
        found.setdefault(text, "bucketpull")
    for name in COMMANDS:
        command = program.bucketpull.get_command(click.Context(program.bucketpull), name)
        assert command is not None
        for text in texts(command):
            found.setdefault(text, f"bucketpull {name}")
    return found | dict.fromkeys(_of_click(), "click") | {program.BETWEEN_SENTENCES: "click"}


def _of_click() -> Iterator[str | tuple[str, ...]]:
    folder = Path(inspect.getfile(click)).parent
    for file, _, message, _, _ in extract_from_dir(folder, method_map=[("**.py", "python")]):
        if file in OF_CLICK:
            yield message


def template(node: ast.expr) -> str | None:
    """Return a literal text with `{}` for what is filled in; None for what is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else _filled(part) for part in node.values
        )
    return None


def _filled(part: ast.expr) -> str:
    """Return `{}` for what is filled in, with what it counts, in the plural."""
    if isinstance(part, ast.FormattedValue) and isinstance(part.value, ast.Call):
        call = part.value
        if isinstance(call.func, ast.Name) and call.func.id == "counted":
            return f"{{}} {ast.literal_eval(call.args[1])}"
    return "{}"


def templates(node: ast.expr) -> list[str]:
    """Return the texts that an expression may give."""
    if isinstance(node, ast.IfExp):
        return templates(node.body) + templates(node.orelse)
    text = template(node)
    return [text] if text else []


@cache
def messages() -> dict[str, str]:
    """Return the texts of all errors, and of what commands tell, that the code makes of a literal, each with who says it."""
    found: dict[str, str] = {}
    for name, call in _calls(SOURCE):
        if name in RAISED | OF_A_VOLUME | TOLD and call.args:
            for text in templates(call.args[0] if name in TOLD else call.args[-1]):
                if text not in AS_IT_IS:
                    found.setdefault(f"volume {{}}: {text}" if name in OF_A_VOLUME else text, name)
    return found


def checks() -> list[str]:
    """Return what the checks of `doctor` find, and what they recommend."""
    found = {text for call in _checks() for argument in call.args[1:] for text in templates(argument)}
    for node in _nodes(DOCTOR):
        if isinstance(node, ast.Assign):
            found |= {text for text in templates(node.value) if " " in text}
    return sorted(text for text in found if any(map(str.isalpha, text)))


def check_names() -> list[str]:
    """Return what the checks of `doctor` are called."""
    return sorted({text for call in _checks() for text in templates(call.args[0])} - {"{}"})


def _checks() -> list[ast.Call]:
    named = CHECKS | {"check_name"}
    return [call for name, call in _calls(DOCTOR) if name in named and len(call.args) > 1]


def _calls(folder: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in _nodes(folder):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id, node
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and _speaks(node.func.value):
            yield node.func.attr, node


def _speaks(node: ast.expr) -> bool:
    """Whether something is `click`, the options, or settings, which tell unless they are to be quiet."""
    return ast.unparse(node) in {"click", "options", "settings", "self._settings"}


def _nodes(folder: Path) -> Iterator[ast.AST]:
    for path in sorted(folder.rglob("*.py")):
        if not path.is_relative_to(SOURCE / "testing"):
            yield from ast.walk(ast.parse(path.read_text()))


def updated(path: Path) -> Catalog:
    """Return a catalogue with exactly what is said, and the translations that it has."""
    old = read_po(BytesIO(path.read_bytes()), locale=path.parent.parent.name)
    new = Catalog(
        locale=old.locale, project="bucketpull", fuzzy=False, creation_date=_NO_DATE, revision_date=_NO_DATE
    )
    for message, where in said().items():
        new.add(message, user_comments=[where])
    for key, text in TEXTS.items():
        new.add(text, context=key)
    for reason in EXPLANATIONS.values():
        for text in reason:
            new.add(text, context="reason")
    for text in (CHECK_CREDENTIALS, *map(remedy_while_running, EXPLANATIONS)):
        new.add(text, context="reason")
    for text in check_names():
        new.add(text, context="check name")
    for text in describe().values():
        new.add(text, context="fault")
    for context, texts_now in (("check", checks()), ("message", sorted(messages()))):
        for text in _kept_and_new([str(each.id) for each in old if each.context == context], texts_now):
            new.add(text, context=context)
    for message in new:
        before = old.get(message.id, message.context) if message.id else None
        if before is not None:
            message.string = before.string
    return new


def _kept_and_new(known: list[str], now: list[str]) -> list[str]:
    """Return the texts that the catalogue has, and those that the code says and none of these says wholly."""
    fits = [pattern(text) for text in known]
    return known + [text for text in now if not any(_says(each, text) for each in fits)]


def _says(known: re.Pattern[str], text: str) -> bool:
    """Say whether a text of the catalogue fits another one, with no words left to what stands for values."""
    found = known.fullmatch(text.replace("{}", "X"))
    return found is not None and not any(_WORD.search(value) for value in found.groups())


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
