"""A journal that a disk or somebody damaged is used, or refused with what to do: never another error, neither to read nor to write."""

import contextlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.damage import damages
from tests.journal.conftest import Play

from bucketpull.domain.errors import ConfigError, JournalError, Reason
from bucketpull.domain.model import WorkKind
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.journal.store import FILE

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
    play.journal._tables.store.connection.execute("update work set due = 1e12")
    assert play.scan() == 0

    play.begin()

    assert play.scan() == 1
    play.journal.close()


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
