"""A journal that a disk or somebody damaged is used, or refused with what to do: never another error, neither to read nor to write."""

import contextlib
import sqlite3

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.damage import damages
from tests.journal.conftest import Play

from bucketpull.domain.errors import ConfigError, JournalDamaged, JournalError, Reason
from bucketpull.domain.model import Outstanding, Position, WorkKind
from bucketpull.journal.journal_connection import FILE, TranslatedErrors
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.sqlite_journal import SqliteJournal

_ORIGINAL: list[bytes] = []


def original(folder) -> bytes:
    """Return a journal with objects, failures and outstanding work, made once."""
    if not _ORIGINAL:
        folder.mkdir()
        play = Play(folder)
        for number in range(40):
            play.put(b"d%d" % (number % 5), b"img-%03d.jpg" % number)
        play.outcomes[b"img-007.jpg"] = Reason.FORBIDDEN
        play.run()
        play.journal.close()
        _ORIGINAL.append((folder / FILE).read_bytes())
    return _ORIGINAL[0]


def read_all(folder):
    with contextlib.closing(JournalReader.open_to_read(folder)) as reader:
        reader.counters(), reader.outstanding(), reader.volumes(), reader.configuration()
        list(reader.failures(None, "*"))
        reader.directories(b"", 100)
        list(reader.where(b"d1", b"img-001.jpg"))


def go_on(folder):
    with contextlib.closing(SqliteJournal.open(folder, "job", None)) as journal:
        journal.counters(), journal.volumes()
        for kind in WorkKind:
            journal.claim(kind, 10, "here", 1e12)
        journal.retry(None, None)


def test_work_that_a_clock_far_ahead_put_off_is_done_today(tmp_path):
    play = Play(tmp_path / "state")
    play.put(b"", b"1.jpg")
    play.begin()
    play.journal._tables.connection.sqlite.execute("update work set due = 1e12")
    assert play.scan() == 0

    play.begin()

    assert play.scan() == 1
    play.journal.close()


def test_a_length_in_the_file_that_no_memory_holds_is_an_error_with_a_remedy(tmp_path):
    with pytest.raises(JournalError, match=r"ulimit -v.*rebuild"), TranslatedErrors(tmp_path):
        raise MemoryError


def test_when_work_goes_on_is_told_by_the_work_and_not_by_what_stands_in_the_sums(tmp_path):
    play = Play(tmp_path / "state")
    play.put(b"", b"1.jpg")
    play.run()
    play.journal._tables.books.outstanding.again_at = 1.0

    assert play.journal.outstanding() == Outstanding()
    play.journal.close()


@pytest.mark.parametrize("spot", [0, 3, 8, 40, 400, 4_000, -2])
@pytest.mark.parametrize("when", ["to be claimed", "sent"])
def test_a_batch_that_was_damaged_costs_a_listing_of_its_pages(tmp_path, spot, when):
    play = Play(tmp_path / "state")
    for number in range(3):
        play.put(b"d%d" % number, *(b"img-%03d.jpg" % each for each in range(900)))
    play.outcomes[b"img-003.jpg"] = Reason.FORBIDDEN
    play.begin()
    play.scan(), play.scan()
    works = play.claim(WorkKind.BATCH)
    receipts = [play.drained(work) for work in works]
    if when == "to be claimed":
        play.journal.commit(receipts[:1], play.now)
        play.journal.release([work.id for work in works])
    _flip(play.journal, works[1].id, spot)
    if when == "sent":
        assert play.journal.commit(receipts, play.now) == [works[1].id]
    play.finish()

    counters = play.journal.counters()
    assert play.balanced()
    assert not play.journal.outstanding().is_some
    assert (counters.listed, counters.failed, counters.directories) == (2_700, 3, 4)
    assert counters.listed_bytes == counters.bytes + counters.skipped_bytes + 3 * 10
    assert counters.retries == {"poison": 900}
    assert len(play.listed) <= 6
    play.run()
    assert play.fetched == []
    play.journal.close()


def test_batches_of_several_pages_and_one_that_is_left_of_another_are_damaged_together(tmp_path):
    play = Play(tmp_path / "state")
    for number in range(30):
        play.put(b"d%d" % number, *(b"img-%03d.jpg" % each for each in range(100)))
    play.put(b"d7", *(b"more-%03d.jpg" % each for each in range(1_200)))
    play.begin()
    play.scan(), play.scan()
    play.outcomes = {b"img-%03d.jpg" % each: "deferred" for each in range(0, 100, 3)}
    play.drain()
    play.outcomes = {}
    for work in play.journal._tables.connection.sqlite.execute("select id from work").fetchall():
        _flip(play.journal, work[0], 50)
    play.now += 10_000
    assert play.drain() == 0
    play.finish()

    counters = play.journal.counters()
    assert play.balanced()
    assert (counters.listed, counters.stored + counters.skipped) == (4_200, 4_200)
    assert not play.journal.outstanding().is_some
    play.journal.close()


def test_a_run_is_abandoned_though_a_batch_of_it_was_damaged_and_the_next_one_finds_its_objects(tmp_path):
    play = Play(tmp_path / "state")
    play.put(b"", *(b"img-%03d.jpg" % each for each in range(90)))
    play.journal.begin(Position(b""), play.now, "all")
    play.scan()
    _flip(play.journal, play.claim(WorkKind.BATCH)[0].id, 300)

    play.journal.begin(Position(b""), play.now, "some")
    play.finish()

    assert len(play.fetched) == play.journal.counters().listed == 90
    assert play.balanced()
    play.journal.close()


def test_a_run_is_abandoned_though_a_scan_of_it_was_damaged_for_nobody_wants_to_know_what_it_would_find(
    tmp_path,
):
    play = Play(tmp_path / "state")
    play.put(b"dir", b"1.jpg")
    play.journal.begin(Position(b""), play.now, "all")
    (work,) = play.journal._tables.connection.sqlite.execute("select id from work").fetchone()
    _flip(play.journal, work, 1)

    play.journal.begin(Position(b""), play.now, "some")
    play.finish()

    assert (len(play.fetched), play.journal.counters().listed) == (1, 1)
    assert play.balanced()
    play.journal.close()


def test_a_scan_that_was_damaged_is_not_given_out_for_nobody_knows_what_it_would_find(tmp_path):
    play = Play(tmp_path / "state")
    play.put(b"dir", b"1.jpg")
    play.begin()
    play.scan()
    (work,) = play.journal._tables.connection.sqlite.execute("select id from work").fetchone()
    _flip(play.journal, work, 4)

    with pytest.raises(
        JournalDamaged, match=f"scan {work} was damaged; its volumes know .* `bucketpull rebuild`"
    ):
        play.scan()
    play.journal.close()


def _flip(journal, work, spot):
    connection = journal._tables.connection.sqlite
    (body,) = connection.execute("select body from body where id = ?", (work,)).fetchone()
    changed = bytearray(body)
    changed[spot] ^= 1
    connection.execute("update body set body = ? where id = ?", (bytes(changed), work))


@pytest.mark.parametrize("table", ["job", "volume", "failure"])
def test_a_table_that_is_gone_is_damage_with_its_remedy(tmp_path, table):
    data = original(tmp_path / "original")
    (tmp_path / FILE).write_bytes(data)
    with contextlib.closing(sqlite3.connect(tmp_path / FILE)) as connection, connection:
        connection.execute(f"drop table {table}")

    with pytest.raises(JournalDamaged, match=f"no such table: {table}; its volumes know what they hold"):
        read_all(tmp_path)


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_a_damaged_journal_is_used_or_refused_in_words(tmp_path, data):
    found = data.draw(damages(original(tmp_path / "original")))
    for use in (read_all, go_on):
        folder = tmp_path / use.__name__
        folder.mkdir(exist_ok=True)
        for leftover in folder.iterdir():
            leftover.unlink()
        (folder / FILE).write_bytes(found)
        with contextlib.suppress(JournalError, ConfigError):
            use(folder)
