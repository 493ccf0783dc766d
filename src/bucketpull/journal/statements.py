"""Named SQL statements out of the package's .sql files."""

from functools import cache
from importlib.resources import files

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
    return files("bucketpull.journal").joinpath(name).read_text("utf-8")


def migrations() -> list[tuple[int, str]]:
    """Return the steps from one schema version to the next: the version that each makes, and its text."""
    folder = files("bucketpull.journal").joinpath("migrations")
    found = [entry for entry in folder.iterdir() if entry.name.endswith(".sql")]
    return sorted((int(entry.name[:4]), entry.read_text("utf-8")) for entry in found)


def _bare(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.startswith("--")]
    return "\n".join(lines).strip().removesuffix(";")
