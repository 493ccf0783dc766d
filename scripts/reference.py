"""The parts of the documentation that are made from the code, so that they cannot differ from it.

They are committed, so that links to them work in the repository too; `make reference` writes them, and a test compares them.
"""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import inspect
import re
from importlib import resources
from importlib.util import find_spec
from pathlib import Path

import click
import msgspec
from click.formatting import HelpFormatter
from scripts import translations

from bucketpull import __version__
from bucketpull.cli.commands import COMMANDS
from bucketpull.cli.help import MEANINGS
from bucketpull.cli.main import bucketpull
from bucketpull.domain import errors
from bucketpull.domain.errors import Reason, Remedy
from bucketpull.domain.record import Record
from bucketpull.domain.retry import BOUNDS, Bound
from bucketpull.report.reasons import explain
from bucketpull.report.words import Words
from bucketpull.sources.registry import SOURCES, settings_type
from bucketpull.volumes import ledger
from bucketpull.web import metrics
from bucketpull.wiring.settings import Settings

ROOT = Path(__file__).parents[1]
WIDTH = 100
NAMES = [name for name in COMMANDS if find_spec(f"bucketpull.cli.{name}")]
REMEDY_WORDS = {
    Remedy.FAIL: "recorded as a failure; the job goes on",
    Remedy.VANISH: "counted as vanished: the source no longer has it",
    Remedy.SLOW: "slow down and try again",
    Remedy.RETRY: "try again",
    Remedy.ORIGIN: "ask the next endpoint, such as REST after the CDN",
    Remedy.RESIGN: "correct the clock's offset and sign again",
    Remedy.RESTART: "start the object again from its first byte",
    Remedy.STOP: "end the job (exit 4)",
    Remedy.HOLD: "hand the work back, for another volume or a later time",
}


def pages() -> dict[str, str]:
    """Return each generated page by its path below docs/."""
    return {
        "reference/commands.md": commands_page(),
        "reference/configuration.md": configuration_page(),
        "reference/exit-codes.md": exit_codes_page("en"),
        "reference/exit-codes.zh.md": exit_codes_page("zh"),
        "reference/messages.md": messages_page("en"),
        "reference/messages.zh.md": messages_page("zh"),
        "reference/reasons.md": reasons_page(),
        "reference/metrics.md": metrics_page(),
        "reference/journal.md": journal_page(),
        "reference/ledger.md": ledger_page(),
    }


def commands_page() -> str:
    """Write the help of every command."""
    parts = ["# Commands", _block(help_of(bucketpull, "bucketpull"))]
    for name in NAMES:
        parts += [f"## {name}", *(_block(text) for text in helps(name))]
    return "\n\n".join(parts) + "\n"


def command(name: str) -> click.Command:
    """Return a command by its name."""
    found = bucketpull.get_command(click.Context(bucketpull), name)
    assert found is not None, name
    return found


def helps(name: str) -> list[str]:
    """Return what `--help` prints for a command, and for the commands below it."""
    found = command(name)
    below = found.commands if isinstance(found, click.Group) else {}
    paths = {f"bucketpull {name}": found} | {f"bucketpull {name} {each}": sub for each, sub in below.items()}
    return [help_of(each, path) for path, each in paths.items()]


def help_of(found: click.Command, path: str) -> str:
    """Return what `--help` prints, at a fixed width."""
    context = click.Context(found, info_name=path, terminal_width=WIDTH, max_content_width=WIDTH)
    formatter = HelpFormatter(width=WIDTH)
    found.format_help(context, formatter)
    return formatter.getvalue().rstrip()


def configuration_page() -> str:
    """Write every setting with its flag, its environment variable and its default."""
    own = [field for field in msgspec.structs.fields(Settings) if field.name != "options"]
    rows = [_row(field.name, "", field.default) for field in own]
    for scheme in SOURCES:
        kind = settings_type(scheme)
        defaults = {field.name: field.default for field in msgspec.structs.fields(kind)}
        rows += [
            _row(option.name, option.variable, defaults[option.name], f"{scheme}: ")
            for option in kind.OPTIONS
        ]
    return "\n".join([*CONFIGURATION.splitlines(), "", *SETTINGS_HEAD.splitlines(), *rows, ""])


def _row(name: str, variable: str, default: object, of: str = "") -> str:
    shown = "" if default in (None, "", (), msgspec.NODEFAULT) else f"`{_toml(default)}`"
    flag = f"`--{name.replace('_', '-')}`" if name in _flags() else ""
    return f"| `{name}` | {flag} | `{variable or f'BUCKETPULL_{name.upper()}'}` | {shown} | {of}{_meaning(name)} |"


CONFIGURATION = """\
# Configuration

Every setting has one name; it can be given by a flag, in the environment or in a TOML file, and the first of these counts.
The file is named by `--config FILE` or `BUCKETPULL_CONFIG`.
Credentials have no flags, because flags are seen by everybody on the machine.

```toml
# job.toml
operator = "operator"
password = "password"
cdn_url = "https://img.example.com"
reserve = "5%"
bandwidth = "08:00,10M 20:00,off"
```"""
SETTINGS_HEAD = """\
Names in a file may be written with `-` or `_`; an unknown name is an error, and so is an unknown variable that begins with `BUCKETPULL_`.
In the environment the volumes are separated by blanks, headers by line breaks.
Sizes are bytes, or written with a unit, which is binary: `100M` is 104,857,600.
A `bandwidth` may change with the time of day, in local time: `08:00,10M 20:00,off`.

| name | flag | environment | default | meaning |
|---|---|---|---|---|"""
MEANINGS_WITHOUT_FLAG = {
    "rules": "rules in order, `+ GLOB` or `- GLOB`",
    "source": "argument: " + "; ".join(settings_type(scheme).USAGE for scheme in SOURCES),
    "volumes": "arguments: the folders to pull onto",
    "separator": "what is between a key and an image version",
    "operator": "the operator's name",
    "password": "the operator's password",
    "access_key": "the key's name; without it AWS's files are looked at (`AWS_PROFILE`)",
    "secret_key": "the key's secret",
    "session_token": "what temporary keys have besides",
    "token": "in place of the password: what `coordinate --worker-token` prints; REST by this signature only",
    "token_expires": "when `token` ends, in Unix seconds",
    "token_secret": "secret of the CDN domain's hotlink protection (`_upt`)",
    "auth": "`signature`, or `basic` (only over HTTPS)",
    "referer": "`Referer` of requests to the CDN",
    "user_agent": "`User-Agent` of all requests",
    "headers": "more headers of requests to the CDN, `Name: value`",
    "dashboard_token": "the dashboard's token itself, in place of its file",
    "job_key": "the job key itself, in place of its file: the job's, or what `coordinate --worker-key` prints",
    "ca_file": "certificates to trust, in place of the system's",
    "insecure": "do not check certificates",
    "connect_seconds": "time for a connection, with name and TLS",
    "first_byte_seconds": "time until an answer begins",
    "stall_seconds": "time without a byte after which a transfer is given up",
    "hang_seconds": "a disk that has not answered for so long is given up for this session, if there are others",
    "retry_seconds": "wait before what failed is tried by the first later pass",
}


def _meaning(name: str) -> str:
    """Return a setting's meaning: the help of its flag, or the words here."""
    if name in MEANINGS_WITHOUT_FLAG:
        return MEANINGS_WITHOUT_FLAG[name]
    options = (option for each in ("sync", "coordinate", "work", "plan") for option in command(each).params)
    found = next(
        (option for option in options if option.name == name and isinstance(option, click.Option)), None
    )
    return "" if found is None or found.help is None else found.help.replace("|", "\\|").removesuffix(".")


def _flags() -> set[str]:
    parameters = (parameter for name in NAMES for parameter in command(name).params)
    return {parameter.name or "" for parameter in parameters if isinstance(parameter, click.Option)}


def _toml(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def exit_codes_page(language: str) -> str:
    """Write what the exit codes mean."""
    say = Words(language)
    rows = [f"| {code:d} | {say.message(meaning)} |" for code, meaning in MEANINGS.items()]
    return "\n".join([*EXIT_CODES[language].splitlines(), *rows, ""])


EXIT_CODES = {
    "en": """\
# Exit codes

`bucketpull help exit-codes` prints them. Each [error message](messages.md) is listed with its remedy.

| code | meaning |
|---:|---|""",
    "zh": """\
# 退出码

`bucketpull help exit-codes` 会打印它们。每条[错误信息](messages.zh.md)都列有处理办法。

| 退出码 | 含义 |
|---:|---|""",
}


def messages_page(language: str) -> str:
    """Write each error with its remedy, by the exit code that it ends with."""
    say = Words(language)
    by_code: dict[int, list[str]] = {}
    for text, name in sorted(translations.messages().items()):
        code = getattr(getattr(errors, name, None), "exit_code", None)
        if code is not None:
            row = _told(say.message(text.replace("{}", "…")))
            # What begins another error's text is listed as that one.
            if not row.endswith("…` |  |"):
                by_code.setdefault(int(code), []).append(row)
    stop = [reason for reason, bound in BOUNDS.items() if bound.remedy is Remedy.STOP]
    by_code[4] = [_told("; ".join(explain(reason, language))) for reason in stop]
    title, exit_word, intro, *head = MESSAGES[language]
    parts = [f"# {title}", intro]
    for code in (2, 3, 4, 5, 6):
        rows = by_code.get(code, [])
        parts += [f"## {exit_word} {code}", f"{say.message(MEANINGS[errors.ExitCode(code)])}."]
        parts += ["\n".join([*head, *rows])] if rows else []
        parts += [_code(say(f"exit.{code}"))] if code > 2 else []
    return "\n\n".join(parts) + "\n"


_REMEDY = re.compile(r"[;；]\s*|[:：]\s*(?=(?:write|give|name|say|set|use|请))|[?？]\s*(?=Give|Name|请)")


def _told(text: str) -> str:
    """Write an error as a row: what is wrong, and what to do, which follows a semicolon, or a colon and a verb."""
    wrong, remedy, *more = [*_REMEDY.split(text.replace("|", "\\|")), ""]
    return f"| {_code(wrong)} | {_code('; '.join([remedy, *more[:-1]]))} |"


def _code(text: str) -> str:
    text = text.strip()
    return f"`` {text} ``" if "`" in text else f"`{text}`" if text else ""


MESSAGES = {
    "en": (
        "Error messages",
        "Exit",
        """\
Every error is one line on standard error, `bucketpull: …`, and an [exit code](exit-codes.md).
Here `…` stands for names and values.
Why single objects failed is told by their [reasons](reasons.md).""",
        "| message | what to do |",
        "|---|---|",
    ),
    "zh": (
        "错误信息",
        "退出码",
        """\
每个错误都是标准错误上的一行 `bucketpull: …`，并有一个[退出码](exit-codes.zh.md)。
这里的 `…` 代表名称和值。
单个对象为什么失败，见[失败原因](reasons.md)。""",
        "| 信息 | 怎么办 |",
        "|---|---|",
    ),
}


def reasons_page() -> str:
    """Write the closed list of reasons with their remedies."""
    rows = [_reason_row(reason, bound) for reason, bound in BOUNDS.items()]
    return "\n".join([*REASONS.splitlines(), *rows, ""])


def _reason_row(reason: Reason, bound: Bound) -> str:
    waits = f"{bound.first_seconds:g} … {bound.longest_seconds:g} s" if bound.longest_seconds else ""
    again = "yes" if bound.passes else ""
    return (
        f"| `{reason}` | {REMEDY_WORDS[bound.remedy]} | {bound.tries} | {waits} | {again} | {bound.scope} |"
    )


REASONS = """\
# Reasons

Why something did not work at once.
The list is closed: failures, retries, metrics and JSON use these words and no others.

*Tries* are requests for an object, or for a page of a listing, at one endpoint in one pass, with *waits* between them that double each time, the first cut to a tenth unless the source asked for less; what is `throttled` at random, whatever the rate, is tried again after a tenth of the first wait, and up to eight times more; a `Retry-After` is waited for, up to five minutes.
What *comes again* does so in later passes: an object after 30 s, after 5 min, and when all else is done; a page after 30 s, 1, 2, 5, 5 and 5 min, and when all else is done; a page whose reason ends the job where nothing succeeds, after 30 s and when all else is done.
After the last it is a failure with its reason, and the job goes on and ends.

*Whose trouble* says who else may suffer.
An `endpoint` that fails for everybody is left for another until it is back, and none of that counts as a try of an object; a `source` that refuses everything ends the job; where a whole source is out, the job waits.
What is a `volume`'s goes to another one.
What stands behind the words is told in [trouble](../explanation/trouble.md).

| reason | what is done | tries | waits | comes again | whose trouble |
|---|---|---:|---|---|---|"""


def metrics_page() -> str:
    """Write the metrics, as their module describes them."""
    return f"# Metrics\n\nThe dashboard serves them at `/metrics`.\n\n{inspect.getdoc(metrics)}\n"


def journal_page() -> str:
    """Write the journal's tables, as they are created."""
    schema = resources.files("bucketpull.journal").joinpath("schema.sql").read_text()
    return f"{JOURNAL}\n\n```sql\n{schema.rstrip()}\n```\n"


JOURNAL = """\
# The journal

A job's state folder holds its journal:

| file | content |
|---|---|
| `journal.sqlite` | the journal: SQLite, in WAL mode, with `synchronous=FULL` (while it is open, `-wal` and `-shm` beside it) |
| `journal.id` | says that there was a journal: if that is lost, nobody begins another one unasked |
| `journal.lock` | held by the coordinator |
| `control` | socket by which other commands ask and steer a running job |

One coordinator writes the journal; anybody may read it while it runs.
Its tables may change with a version, which then refuses an older journal: `bucketpull rebuild` makes a new one from the volumes' ledgers. They are no interface, but often the quickest answer to a question."""


def ledger_page() -> str:
    """Write how a volume's books are kept, as the modules describe it."""
    record = inspect.getdoc(Record)
    return f"{LEDGER}\n\n```text\n{inspect.getdoc(ledger)}\n```\n\n## Records\n\n```text\n{record}\n```\n"


LEDGER = """\
# Volumes and ledgers

All of bucketpull's own on a volume is below `.bucketpull` there.

| path | content |
|---|---|
| `volume.json` | the volume's id, layout and format, and whose it is: the journal's id and the source |
| `ledger` | what lies on the volume: an append-only file, described below |
| `intents` | batches that are being written, so that after a crash they come back here |
| `tmp`, `partial` | files that are being written; large objects that can go on, and (`.version`) of which version they are |
| `kept.txt` | files of others that lay where objects belong: old name, tab, new name |
| `undated` | there once a file could not be given its date: files here may have that of their writing, and are known by their length |
| `trash` | what `prune --keep-for` took away, in folders that say until when |
| `lock` | held by the worker that uses the volume |

## The ledger"""


def man_page() -> str:
    """Write the manual page in roff."""
    parts = [
        f'.TH BUCKETPULL 1 "" "bucketpull {__version__}" "User Commands"',
        ".SH NAME\nbucketpull \\- pull a whole object\\-storage bucket onto your own disks",
        ".SH SYNOPSIS\n.B bucketpull\n.I COMMAND\n[\\fIARGUMENT\\fR...]",
        ".SH DESCRIPTION\n" + _roff(help_of(bucketpull, "bucketpull")),
    ]
    parts += [f".SH {name.upper()}\n" + _roff("\n\n".join(helps(name))) for name in NAMES]
    parts.append(".SH EXIT STATUS")
    parts += [f".TP\n{code:d}\n{_escape(meaning)}" for code, meaning in MEANINGS.items()]
    return "\n".join(parts) + "\n"


def _block(text: str) -> str:
    return f"```text\n{text}\n```"


def _roff(text: str) -> str:
    return f".nf\n{_escape(text)}\n.fi"


def _escape(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return re.sub(r"^([.'])", r"\\&\1", escaped, flags=re.MULTILINE)


def written() -> dict[Path, str]:
    """Return everything that is made from the code, by its path."""
    return {ROOT / "man/bucketpull.1": man_page()} | {
        ROOT / "docs" / path: text for path, text in pages().items()
    }


if __name__ == "__main__":
    for path, text in written().items():
        path.write_text(text)
