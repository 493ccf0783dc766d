"""Named SQL statements out of the package's .sql files."""

from functools import cache
from pathlib import Path

_HERE = Path(__file__).parent  # importlib.resources would cost 7 ms of every start
_MARK = "-- name: "


@cache
def statements() -> dict[str, str]:
    """Return the statements of `queries.sql` by name."""
    return parse(read("queries.sql"))


def parse(text: str) -> dict[str, str]:
    """Split a file at its `-- name:` lines; what comes before the first is its head."""
    _, *pieces = text.split(_MARK)
    named = (piece.split("\n", 1) for piece in pieces)
    return {name.strip(): _bare(body) for name, body in named}


def read(name: str) -> str:
    """Return the text of a file of this package."""
    return (_HERE / name).read_text("utf-8")


def migrations() -> list[tuple[int, str]]:
    """Return the steps from one schema version to the next: the version that each makes, and its text."""
    found = (_HERE / "migrations").glob("*.sql")
    return sorted((int(entry.name[:4]), entry.read_text("utf-8")) for entry in found)


def _bare(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().removesuffix(";")
