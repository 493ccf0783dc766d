"""Errors and notes in Chinese: the catalogue has what the code says, and nothing else."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import ast
import string
from pathlib import Path

import bucketpull
from bucketpull.domain.trouble import REMEDIES
from bucketpull.report.messages import english, in_chinese
from bucketpull.report.reasons import explain

SOURCE = Path(bucketpull.__file__).parent
RAISED = {"ConfigError", "JobMismatch", "JournalError", "JournalLocked", "JournalDamaged", "TransportError"}
OF_A_VOLUME = {"VolumeError", "VolumeFull", "VolumeSick", "LedgerError"}
NOT_HERE = {
    # of the operating system or a library
    "--config {}: {}",
    "--dashboard {}: {}",
    "{}: {}",
    "{}: {}; name another one, or mount it so that it can be",
    # the catalogue has them with their beginning
    "{}: make room or move the folder with --state",
    "{}; ask as the same user, or stop it first",
    # commands
    "  {}  {}",
    "  bucketpull sync {} {} \\",
    "    --api-url {} --cdn-url {}{}",
    "  {} status --state {}",
    "  {} verify {} --hash",
    # a bug's
    "receipt for batch {} from {} does not add up: {} stored, {} skipped, {} failed or vanished, {} deferred, {} returned, {} sent on, {} left, of {} objects",
}


def template(node: ast.expr) -> str | None:
    """Return a literal text with `{}` for what is filled in; None for what is no literal."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return None


def said() -> set[str]:
    """Return the texts of all errors, and of what commands tell, that the code makes of a literal."""
    found = set()
    for path in SOURCE.rglob("*.py"):
        if path.is_relative_to(SOURCE / "testing") or path.is_relative_to(SOURCE / "simulator"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            prefix = "volume {}: " if node.func.id in OF_A_VOLUME else ""
            if prefix or node.func.id in RAISED or node.func.id == "tell":
                text = template(node.args[-1])
                found |= {prefix + text} if text else set()
    return found


def test_every_error_and_all_that_commands_tell_has_a_chinese_text():
    texts = said()
    assert len(texts) > 80

    untold = {
        text for text in texts - NOT_HERE if in_chinese(text.replace("{}", "x")) == text.replace("{}", "x")
    }

    assert not untold


def test_every_text_of_the_catalogue_is_said_somewhere():
    code = "".join(path.read_text() for path in SOURCE.rglob("*.py") if path.name != "messages.py")
    pieces = {piece.strip() for text in english() for piece in text.split("{}") if len(piece.strip()) > 12}

    lost = {piece for piece in pieces if piece[:30] not in code and piece[-12:] not in code}

    assert not lost


def test_names_and_values_stay_as_they_are_in_both_languages():
    for text in english():
        values = [f"«{letter}»" for letter in string.ascii_letters[: text.count("{}")]]
        said = in_chinese(text.format(*values))
        assert all(value in said for value in values), said


def test_what_is_said_inside_of_a_message_is_said_in_chinese_too():
    meaning, remedy = explain("connect")

    said = in_chinese(f"nothing has come for 20 s: {meaning} (connect, 7 times); {remedy}")

    assert said == "已有 20 s 没有任何进展：无法建立连接（connect，7 次）；检查网络和防火墙后重试"


def test_a_text_without_a_translation_stays_as_it_is():
    assert in_chinese("Errno 5: input/output error") == "Errno 5: input/output error"
    assert in_chinese("journal /j/journal.db: disk I/O error") == "日志 /j/journal.db：disk I/O error"


def test_every_reason_is_explained_in_chinese():
    for reason in REMEDIES:
        assert explain(reason, "zh") != explain(reason)
