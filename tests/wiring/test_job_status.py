"""What is said of a job while no coordinator runs, and of a volume while no worker has it."""

import os
import sqlite3
from contextlib import closing

import pytest
from tests.journal.conftest import Play
from tests.volumes.filling import Filler

from bucketpull.domain.errors import JournalDamaged, Reason
from bucketpull.domain.status import VolumeState
from bucketpull.journal.journal_connection import FILE
from bucketpull.journal.journal_reader import JournalReader
from bucketpull.journal.volume_numbers import KnownVolume
from bucketpull.wiring.job_status import Held, job_status, measure


def test_free_is_what_is_above_the_reserve_of_the_job_or_else_of_the_worker_that_had_the_volume(tmp_path):
    with Filler(tmp_path) as filler:
        filler.store({(b"", b"a.jpg"): b"12345"})
        volume = KnownVolume(filler.id, "elsewhere", str(tmp_path), VolumeState.OPEN)
    status = os.statvfs(tmp_path)
    all_of_it = {volume.id: Held(volume.id, kept_bytes=status.f_blocks * status.f_frsize)}

    assert measure(volume, all_of_it, "0").free_bytes > 0
    assert measure(volume, {volume.id: Held(volume.id)}, "").free_bytes > 0
    assert measure(volume, all_of_it, "").free_bytes == 0
    assert measure(volume, {}, "100%").free_bytes == 0
    assert measure(volume, {}, "").kept_bytes == 1 << 30, "the usual one"


@pytest.fixture
def damage(tmp_path):
    """Change the row of a journal's only run; return where the job stands."""
    play = Play(tmp_path / "state")
    play.put(b"", b"1.jpg")
    play.run()
    play.journal.close()

    def change(column, value):
        with closing(sqlite3.connect(tmp_path / "state" / FILE)) as connection, connection:
            connection.execute(f"update run set {column} = ?", (value,))
        with closing(JournalReader.open_to_read(tmp_path / "state")) as reader:
            return job_status(reader, tmp_path / "state")

    return change


@pytest.mark.parametrize("text", ["{{", "[]", '{"seconds": "long"}', '{"rates": 7}', '{"volumes": {}}'])
def test_what_a_session_left_at_its_end_and_was_damaged_is_not_known(damage, text):
    snapshot = damage("summary", text).snapshot

    assert (snapshot.seconds, snapshot.rates.objects_mean, snapshot.counters.stored) == (0.0, 0.0, 1)


def test_a_run_in_no_state_that_there_is_is_refused_as_damage(damage):
    with pytest.raises(JournalDamaged, match="run 1 is 'odd'; its volumes know what they hold"):
        damage("state", "odd")


@pytest.mark.parametrize(
    ("ended", "state"), [("incomplete", "incomplete"), ("no-room", "no-room"), (None, "interrupted")]
)
def test_a_job_that_ended_and_has_failures_retried_was_interrupted_by_nobody(tmp_path, ended, state):
    play = Play(tmp_path / "state")
    play.put(b"", b"1.jpg")
    play.outcomes[b"1.jpg"] = Reason.FORBIDDEN
    play.run()
    if ended:
        play.journal.end(ended, 2000.0)
    assert play.journal.retry(None, None) == 1
    play.journal.close()

    with closing(JournalReader.open_to_read(tmp_path / "state")) as reader:
        found = job_status(reader, tmp_path / "state").snapshot

    assert (found.state, found.outstanding.objects) == (state, 1)
