"""A bookkeeper killed at random instants: what it had said is booked is booked, once, and its successor goes on."""

import random
import subprocess
import sys
from pathlib import Path

from bucketpull.domain.retry import next_try
from bucketpull.journal.sqlite import SqliteJournal

BOOKKEEPER = Path(__file__).with_name("bookkeeper.py")
KILLS = 12


def run_and_kill(folder: Path, lines: int) -> int:
    """Let a bookkeeper book so many times and kill it without warning; return what it had booked last."""
    command = [sys.executable, BOOKKEEPER, folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        said = [int(keeper.stdout.readline()) for _ in range(lines)]
        keeper.kill()
        said += [int(line) for line in keeper.stdout if line.endswith("\n")]
    return said[-1]


def test_nothing_booked_is_lost_or_doubled_by_kills(folder):
    seed = random.randrange(10**6)
    print("seed", seed)
    luck = random.Random(seed)

    for _ in range(KILLS):
        said = run_and_kill(folder, luck.randint(1, 30))
        journal = SqliteJournal.open(folder, "job", None, next_try)
        counters, outstanding = journal.counters(), journal.outstanding()
        assert counters.stored >= said
        assert counters.listed == counters.stored + outstanding.objects
        for balance in journal.balances():
            assert (balance.listed, balance.stored) == (counters.listed, counters.stored)
        check_rows(journal)
        journal.close()


def check_rows(journal: SqliteJournal) -> None:
    """Each page has as many ledger blocks as it has settled batches, and as much work as it has open ones."""
    connection = journal._tables.store.connection
    assert connection.execute("pragma integrity_check").fetchone() == ("ok",)
    open_batches = connection.execute("select count(*) from work where kind = 1").fetchone()[0]
    pages = connection.execute("select objects, stored from page").fetchall()
    settled = sum(len(extents) for _, _, extents in journal.extents())
    assert sum(stored for _, stored in pages) == 100 * settled
    assert sum(objects - stored for objects, stored in pages) == 100 * open_batches
    assert connection.execute("select count(*) from work where kind = 0").fetchone() == (1,)
