"""Commands in Markdown: every line that begins with `$ ` in a ```console block.

Comments on the line before a block say more about it:

    <!-- background -->      its last command runs while the rest of the page does
    <!-- exit: 3 130 -->     the exit codes that are right (0 unless told)

`<!-- run: COMMAND -->` is a command that readers do not see, for what a page takes for granted.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

_ITEM = re.compile(
    r"<!-- run: (?P<hidden>.*?) -->|(?:<!-- (?P<background>background) -->\n|<!-- exit: (?P<codes>[\d ]+) -->\n)?"
    r"^```console\n(?P<block>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"^\$ ((?:.*\\\n)*.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """One command of a page."""

    text: str
    line: int
    codes: tuple[int, ...] = (0,)
    background: bool = False


def commands(page: Path) -> Iterator[Command]:
    """Give the commands of a page, in order."""
    text = page.read_text()
    for item in _ITEM.finditer(text):
        if item["hidden"]:
            yield Command(item["hidden"], text.count("\n", 0, item.start()) + 1)
            continue
        codes = tuple(int(code) for code in (item["codes"] or "0").split())
        block = list(_COMMAND.finditer(item["block"]))
        for found in block:
            line = text.count("\n", 0, item.start("block") + found.start()) + 1
            yield Command(found[1], line, codes, bool(item["background"]) and found is block[-1])


def script(page: Path, ports: Sequence[str]) -> str:
    """Join a page's commands into one shell script that ends with 99 at the first wrong exit code.

    A command in the background is waited for until it listens on those of the ports that it names.
    """
    parts = ["trap 'kill $(jobs -p) 2>/dev/null' EXIT"]
    for command in commands(page):
        if command.background:
            parts.append(f"{command.text} &")
            parts += [_await(port) for port in ports if port in command.text]
        else:
            codes = " ".join(map(str, command.codes))
            parts += [command.text, f'check $? " {codes} " {page.name}:{command.line}']
    check = 'check() { case "$2" in *" $1 "*) ;; *) echo "$3: exit $1"; exit 99 ;; esac; }'
    return "\n".join([check, *parts, ""])


def _await(port: str) -> str:
    return (
        f"for _ in $(seq 400); do (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && break; "
        "read -rt 0.05 <> <(:) || :; done"
    )
