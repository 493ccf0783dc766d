"""Every statement is named, used, explained, and finds its rows by an index."""

import re
import sqlite3
from pathlib import Path

import pytest

import bucketpull.journal
from bucketpull.journal.journal_connection import parse, read, statements

# One row, or a row a volume or setting; `runs` reads as many rows as it returns.
SMALL = {
    "job",
    "was-closed",
    "books",
    "configuration",
    "volumes",
    "runs",
    "update-job",
    "set-closed",
    "raise-ids",
    "write-books",
}

# All outstanding work, once at the start of a job; all pages, once at the end of one whose ledgers lack objects, or whose journal was damaged.
ONCE = {"impossible-work", "sums-of-work", "hasten-work", "objects-in-overlaps", "unsettled-pages"}

# Indexes that hold nothing but the rows that are asked for, and subqueries with a limit.
HARMLESS = ("CONSTANT ROW", "INDEX work_sent", "INDEX failure_listing", "SCAN near", "SCAN bounded")


@pytest.fixture(scope="module")
def empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    connection.executescript(read("schema.sql"))
    return connection


def plan(connection: sqlite3.Connection, sql: str) -> list[str]:
    named = dict.fromkeys(re.findall(r":(\w+)", sql), 0)
    count = len(re.findall(r"\?", sql)) if "?1" not in sql else len(set(re.findall(r"\?\d", sql)))
    rows = connection.execute("explain query plan " + sql, named or (0,) * count).fetchall()
    return [row[3] for row in rows]


@pytest.mark.parametrize("name", sorted(set(statements()) - SMALL - ONCE))
def test_no_statement_scans_a_table(empty: sqlite3.Connection, name: str) -> None:
    steps = plan(empty, statements()[name])

    assert [step for step in steps if step.startswith("SCAN") and not step.endswith(HARMLESS)] == []


@pytest.mark.parametrize("name", sorted(statements()))
def test_no_statement_sorts(empty: sqlite3.Connection, name: str) -> None:
    # A few pages, by run; all pages, once.
    allowed = {"first-pages-over", "later-pages-over", "objects-in-overlaps"}
    if name not in allowed:
        assert not [step for step in plan(empty, statements()[name]) if "TEMP B-TREE" in step]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("ready-work", "work_ready"),
        ("foremost-scan", "work_ready"),
        ("deferred-work", "work_deferred"),
        ("sent-work", "work_sent"),
        ("rehome-work", "work_ready"),
        ("rehome-deferred", "work_deferred"),
        ("later-pages-over", "page_range"),
        ("pages-over", "COVERING INDEX page_range"),
        ("remove-failures-of-page", "failure_page"),
        ("listing-failed", "failure_listing"),
    ],
)
def test_a_statement_uses_the_index_that_was_made_for_it(
    empty: sqlite3.Connection, name: str, index: str
) -> None:
    assert any(index in step for step in plan(empty, statements()[name]))


def test_every_statement_is_used_in_the_code_and_the_other_way_round() -> None:
    folder = Path(bucketpull.journal.__file__).parent
    code = "\n".join(path.read_text() for path in sorted(folder.glob("*.py")))
    called = set(re.findall(r'(?:rows|run|only_row|_found|_overlapping)\(\s*"([a-z-]+)"', code))

    assert called == set(statements())


def test_every_statement_says_who_calls_it_how_often() -> None:
    _, *pieces = read("queries.sql").split("-- name: ")

    assert all(piece.splitlines()[1].startswith("-- ") for piece in pieces)


def test_statements_are_lower_case_outside_of_comments() -> None:
    for sql in statements().values():
        code = [line for line in sql.splitlines() if not line.startswith("--")]
        assert code == [line.lower() for line in code]


def test_every_table_is_strict(empty: sqlite3.Connection) -> None:
    tables = empty.execute("pragma table_list").fetchall()

    ours = [row for row in tables if not row[1].startswith("sqlite_")]
    assert [row[1] for row in ours if not row[5]] == []
    assert len(ours) >= 8


def test_names_and_bodies_are_told_apart() -> None:
    text = "-- head\n\n-- name: one\n-- who\nselect 1;\n\n-- name: two\n-- who\nselect\n    2;\n"

    assert parse(text) == {"one": "-- who\nselect 1;", "two": "-- who\nselect\n    2;"}
