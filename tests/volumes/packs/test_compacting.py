"""What a volume says that it holds is what lies there, before and after its packs are rewritten."""

import tracemalloc
from contextlib import closing

import pytest
from tests.volumes.filling import SMALL_PACKS, Filler, bodies

from bucketpull import kill_points
from bucketpull.volumes.ledger import Kind
from bucketpull.volumes.live_objects import LiveObjects, whole_body
from bucketpull.volumes.packs.compacting import Compaction, find_waste
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.volume import open_volume


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
        compaction = Compaction(filler.volume, reader, live, wasted)
        for waste in wasted:
            compaction.rewrite(waste)
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
        (frame.objects, frame.size) for frame in half_dead.volume._ledger.salvage(_corrected(half_dead))
    } == {right}


def _corrected(filler):
    """Return where in the ledger the totals were put right. The entries of sealed packs, which a thread makes, have no journal either."""
    frames = filler.volume._ledger.salvage()
    return next(frame.offset for frame in frames if not frame.journal and frame.kind is Kind.BLOCK)


@pytest.mark.parametrize("step", ["appended", "settled", "synced"])
def test_ctrl_c_at_any_step_of_compacting_loses_no_object(half_dead, tmp_path, monkeypatch, step):
    def interrupt(reached):
        if reached == step:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(kill_points, "reach", interrupt)
        with pytest.raises(KeyboardInterrupt):
            compacted(half_dead, str(tmp_path))
    half_dead.volume.close()
    half_dead.volume = open_volume(half_dead.path)

    reader = open_reader(half_dead.path)
    try:
        found = [whole_body(reader, stored) for stored in LiveObjects(reader, str(tmp_path)).objects()]
    finally:
        reader.close()
    assert (len(found), sum(map(len, found))) == (100, 300_000)


def test_what_is_rewritten_fills_no_open_pack_beyond_the_size_of_those_that_are_there(tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    with Filler(disk, SMALL_PACKS) as filler:
        for start in (0, 12, 32):
            filler.store(bodies(20, start=start))
    largest = max(pack.stat().st_size for pack in disk.glob("packs/*.tar"))
    with Filler(disk) as filler:
        assert compacted(filler, str(tmp_path)) == (52, 156_000)

    assert [pack.stat().st_size <= largest for pack in disk.glob("packs/*.tar")] == [True] * 3


def test_only_the_objects_of_one_pack_are_in_memory(tmp_path):
    """Of a disk of 4 TB all objects of wasted packs would take some 40 GB."""
    with Filler(tmp_path, SMALL_PACKS, durable=False) as filler:
        for start in range(0, 10_000, 1000):
            filler.store(bodies(1000, size=100, start=start), md5=False)
        with closing(open_reader(filler.path)) as reader:
            live = LiveObjects(reader, str(tmp_path))
            wasted = find_waste(reader, live)
            tracemalloc.start()
            try:
                compaction = Compaction(filler.volume, reader, live, wasted)
                list(map(compaction.rewrite, wasted))
                assert tracemalloc.get_traced_memory()[1] < 2_500_000
            finally:
                tracemalloc.stop()
            assert len(wasted) > 20
