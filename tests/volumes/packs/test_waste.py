"""What counts as dead in a pack: what no reader needs, and nothing else."""

import pytest
from tests.volumes.filling import ODD_KEYS, Filler

from bucketpull.domain.packing import Packing, PackNames
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.packs.compacting import find_waste
from bucketpull.volumes.reader import open_reader


@pytest.mark.parametrize("names", PackNames)
def test_headers_and_descriptions_of_what_lives_are_not_dead_however_small_the_objects(tmp_path, names):
    objects = {(b"d", b"%d.jpg" % number): b"x" * 300 for number in range(100)}
    (tmp_path / "disk").mkdir()
    with Filler(tmp_path / "disk", Packing(size=100_000, names=names)) as filler:
        for _ in range(2):
            filler.store(objects | dict.fromkeys(ODD_KEYS, b"y" * 300))
            filler.store({(b"next", b"one"): b"z" * 200_000})
    reader = open_reader(str(tmp_path / "disk"))
    try:
        found = find_waste(reader, LiveObjects(reader, str(tmp_path)))
    finally:
        reader.close()
    dead = [waste for waste in found if waste.dead]
    assert [waste.objects for waste in dead] == [0] * len(dead), "of a living object something is called dead"
    assert dead, "what was replaced is dead"
    assert [waste.is_much for waste in found] == [waste in dead for waste in found]
