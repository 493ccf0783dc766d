"""What a volume says that it holds is what lies there, before and after its packs are rewritten."""

import pytest
from tests.volumes.filling import SMALL_PACKS, Filler, bodies

from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.packs.compacting import compact, find_waste
from bucketpull.volumes.reader import open_reader


@pytest.fixture
def half_dead(tmp_path):
    """A volume whose first packs are half dead: what was replaced there is still counted, for nobody told of it."""
    (tmp_path / "disk").mkdir()
    with Filler(tmp_path / "disk", SMALL_PACKS) as filler:
        filler.store(bodies(60))
        filler.store(bodies(30))
        filler.store(bodies(40, start=60))
        yield filler


def compacted(filler, folder):
    """Rewrite the packs; return what the volume holds then, counted object by object."""
    reader = open_reader(filler.path)
    try:
        live = LiveObjects(reader, folder)
        wasted = [waste for waste in find_waste(reader, live) if waste.is_much]
        assert any(waste.objects for waste in wasted), "something alive has to move"
        compact(filler.volume, reader, live, wasted)
    finally:
        reader.close()
    return counted(filler, folder)


def counted(filler, folder):
    reader = open_reader(filler.path)
    try:
        found = list(LiveObjects(reader, folder).objects())
    finally:
        reader.close()
    return len(found), sum(stored.location.length for stored in found)


def totals(filler):
    status = filler.volume.status()
    return status.stored_objects, status.stored_bytes


def test_the_totals_after_compacting_are_what_is_alive(half_dead, tmp_path):
    assert compacted(half_dead, str(tmp_path)) == totals(half_dead) == (100, 300_000)


def test_totals_that_were_right_stay_so_at_every_step_of_compacting(half_dead, tmp_path):
    half_dead.volume.correct(*counted(half_dead, str(tmp_path)))
    right = totals(half_dead)
    compacted(half_dead, str(tmp_path))
    assert {
        (frame.objects, frame.size) for frame in half_dead.volume._ledger.frames(_corrected(half_dead))
    } == {right}


def _corrected(filler):
    """Return where in the ledger the totals were put right."""
    return next(frame.offset for frame in filler.volume._ledger.frames() if not frame.journal)
