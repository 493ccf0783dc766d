"""What a volume promises, whether it stores objects as files or in packs: one suite for both."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest
from tests.volumes.filling import JOURNAL, ODD_KEYS, SMALL_PACKS, Filler, bodies

from bucketpull.domain import keys
from bucketpull.domain.batching import encode_parts
from bucketpull.domain.errors import VolumeSick
from bucketpull.domain.model import Former, Part, key_of
from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Block, Conclusion
from bucketpull.volumes.live_objects import LiveObjects
from bucketpull.volumes.reader import open_reader
from bucketpull.volumes.verification import Fault, Verification, repairs


@pytest.fixture(params=[None, Packing(), SMALL_PACKS], ids=["files", "packs", "small packs"])
def packing(request):
    return request.param


def read_all(path, tmp_path):
    """Return the newest body of every object."""
    reader = open_reader(str(path))
    folder = tmp_path / "scratch"
    folder.mkdir(exist_ok=True)
    found = {
        (stored.directory, stored.name): reader.bodies.read(stored.location)
        for stored in LiveObjects(reader, str(folder)).objects()
    }
    reader.close()
    return found


def verify(path, **options):
    reader = open_reader(str(path))
    verification = Verification(reader, **options)
    found = list(verification.run())
    reader.close()
    return found, verification


def test_every_odd_key_is_read_back_exactly(tmp_path, packing):
    volume = tmp_path / "volume"
    volume.mkdir()
    objects = {key: b"body of " + key_of(*key) for key in ODD_KEYS} | {(b"", b"empty"): b""}
    with Filler(volume, packing) as filler:
        filler.store(objects)
    assert read_all(volume, tmp_path) == objects
    found, verification = verify(volume, hashed=True)
    assert found == []
    assert verification.objects == verification.hashed_objects == len(objects)


def test_of_an_object_that_was_replaced_twice_the_newest_counts(tmp_path, packing):
    volume = tmp_path / "volume"
    volume.mkdir()
    key = (b"d", b"a.jpg")
    with Filler(volume, packing) as filler:
        for version in (b"one", b"two", b"three"):
            filler.store({key: version} | bodies(40))
    assert read_all(volume, tmp_path)[key] == b"three"
    assert verify(volume, hashed=True)[0] == []


def test_a_part_of_an_object_can_be_read(tmp_path, packing):
    with Filler(tmp_path, packing) as filler:
        filler.store({(b"", b"a"): b"0123456789", (b"", b"b"): b"other"})
    reader = open_reader(str(tmp_path))
    record = next(reader.ledger.salvage()).records()[0]
    location = reader.location_of(record, 0)
    assert reader.bodies.read(location, 3, 4) == b"3456"
    assert reader.bodies.read(location, 8, 400) == b"89"
    assert reader.bodies.read(location, 10) == b""
    reader.close()


def test_what_is_not_settled_is_gone_and_what_is_settled_stays(tmp_path, packing):
    volume = tmp_path / "volume"
    volume.mkdir()
    kept, lost = bodies(50), bodies(50, start=100)
    with Filler(volume, packing) as filler:
        filler.store(kept)
        filler.store(lost, settle=False)
    with Filler(volume, packing) as filler:
        filler.store(bodies(3, start=200))
    found = read_all(volume, tmp_path)
    assert kept.items() <= found.items()
    assert not lost.keys() & found.keys()
    assert found.keys() == kept.keys() | bodies(3, start=200).keys()


def test_discarded_and_replaced_objects_are_removed(tmp_path, packing):
    volume = tmp_path / "volume"
    volume.mkdir()
    first, second = bodies(20), bodies(20, start=100)
    with Filler(volume, packing) as filler:
        filler.store(first)
        filler.store(second)
        filler.volume.conclude(JOURNAL, [Conclusion(1, filler.blocks[1])])
    assert read_all(volume, tmp_path).keys() == second.keys()
    found, _ = verify(volume, hashed=True)
    assert found == []
    with Filler(volume, packing) as filler:
        assert filler.volume.status().stored_objects == 20


def test_objects_that_lie_elsewhere_now_are_removed_from_their_block(tmp_path, packing):
    volume = tmp_path / "volume"
    volume.mkdir()
    with Filler(volume, packing) as filler:
        filler.store(bodies(9))
        gone = encode_parts([Part(b"d0", "", [b"0.jpg", b"3.jpg"], [3000, 3000], [1, 1])])
        filler.volume.remove(JOURNAL, [Former(filler.id, [0], "other", gone)])
        filler.volume.remove(JOURNAL, [Former(filler.id, [0], "other", gone)])
        left = [name for record in filler.volume.read(0) for name in record.names]
        assert sorted(left) == [b"%d.jpg" % number for number in (1, 2, 4, 5, 6, 7, 8)]
        assert filler.volume.status().stored_objects == 7
    assert len(read_all(volume, tmp_path)) == 7
    assert verify(volume)[0] == []


def test_an_object_stored_again_since_is_not_taken_for_its_former_copy(tmp_path, packing):
    with Filler(tmp_path, packing) as filler:
        filler.store({(b"d", b"a"): b"old"}, mtime=1)
        filler.store({(b"d", b"a"): b"newer"}, mtime=2)
        gone = encode_parts([Part(b"d", "", [b"a"], [3], [1])])
        filler.volume.remove(JOURNAL, [Former(filler.id, [0], "other", gone)])
        assert filler.volume.status().stored_objects == 2
    reader = open_reader(str(tmp_path))
    [stored] = LiveObjects(reader, str(tmp_path)).objects()
    assert reader.bodies.read(stored.location) == b"newer"
    reader.close()


def test_damage_is_found_and_blamed_on_the_objects_that_have_it(tmp_path, packing):
    objects = bodies(60)
    with Filler(tmp_path, packing) as filler:
        filler.store(objects)
    reader = open_reader(str(tmp_path))
    live = LiveObjects(reader, str(tmp_path))
    stored = {(each.directory, each.name): each for each in live.objects()}
    victims = [(b"d0", b"3.jpg"), (b"d1", b"40.jpg")]
    for victim in victims:
        location = stored[victim].location
        with open(os.path.join(tmp_path, os.fsdecode(location.path)), "r+b") as file:
            file.seek(location.offset + 1500)
            byte = file.read(1)
            file.seek(location.offset + 1500)
            file.write(bytes([byte[0] ^ 1]))
    reader.close()
    assert verify(tmp_path)[0] == [], "without --hash nobody looks"
    found, verification = verify(tmp_path, hashed=True)
    assert {finding.fault for finding in found} == {Fault.CONTENT}
    parts = list(repairs(found))
    assert {(part.directory, name) for part in parts for name in part.names} == set(victims)
    assert verification.hashed_objects == 60


def test_power_cuts_lose_nothing_that_was_settled(disks, tmp_path, packing):
    disk = disks.ext4(128)
    objects = {}
    filler = Filler(disk.path, packing)
    subprocess.run(["sync", "-f", disk.path], check=True)
    for batch in range(20):
        some = bodies(30, start=100 * batch)
        filler.store(some)
        objects |= some
    filler.store(bodies(30, start=5000), settle=False)
    disk.shut_down()
    with pytest.raises(VolumeSick):
        filler.volume.settle([Block(JOURNAL, 99, b"\x90")])
    filler.close()
    disk.unmount()
    disk.mount()
    with Filler(disk.path, packing) as filler:
        filler.store(bodies(5, start=7000))
    found = read_all(disk.path, tmp_path)
    assert objects.items() <= found.items()
    assert verify(disk.path, hashed=True, extra=packing is not None)[0] == []
    for path in Path(disk.path).glob("packs/*.tar"):
        assert subprocess.run(["tar", "tf", path], capture_output=True, check=False).returncode == 0


# --- what only packs can promise


def test_a_million_objects_would_need_few_inodes(tmp_path):
    with Filler(tmp_path, Packing()) as filler:
        for batch in range(5):
            filler.store(bodies(1000, size=20, start=1000 * batch))
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) < 12


def test_an_old_file_goes_when_its_object_is_packed_and_a_job_can_go_back(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    objects = bodies(6)
    with Filler(volume) as filler:
        filler.store(objects)
    newer = {key: body + b"!" for key, body in list(objects.items())[:3]}
    with Filler(volume, Packing()) as filler:
        filler.store(newer)
    assert len(list(volume.glob("d*/*.jpg"))) == 3
    with Filler(volume) as filler:
        filler.store({(b"d0", b"0.jpg"): b"a file again"})
    assert read_all(volume, tmp_path) == objects | newer | {(b"d0", b"0.jpg"): b"a file again"}
    assert verify(volume, hashed=True)[0] == []


@pytest.mark.parametrize("opened_anew", [False, True])
def test_a_large_file_of_a_volume_with_packs_goes_when_its_object_is_packed(tmp_path, opened_anew):
    """What is settled without a look at names is known to be files all the same, also when a pack was sealed since."""
    volume = tmp_path / "volume"
    volume.mkdir()
    packing = Packing(size=100_000, limit=5000)
    film, others, last = (b"d", b"film"), bodies(50), bodies(2, start=100)
    with Filler(volume, packing) as filler:
        filler.store({film: b"x" * 6000}, is_new=True)
        filler.store(others, is_new=True)
        filler.store(last, is_new=True)
        if not opened_anew:
            filler.store({film: b"small now"})
    if opened_anew:
        with Filler(volume, packing) as filler:
            filler.store({film: b"small now"})
    assert not (volume / "d/film").exists()
    assert read_all(volume, tmp_path) == others | last | {film: b"small now"}
    assert verify(volume, hashed=True)[0] == []


def test_a_sealed_pack_is_compared_with_its_sum_where_no_md5_is_known(tmp_path):
    with Filler(tmp_path, SMALL_PACKS) as filler:
        for batch in range(4):
            filler.store(bodies(30, start=100 * batch), md5=False)
    first = min(tmp_path.glob("packs/*.tar"))
    with tarfile.open(first) as archive:
        members = archive.getmembers()
    with first.open("r+b") as file:
        file.seek(members[3].offset_data + 5)
        file.write(b"damaged")
    found, _ = verify(tmp_path, hashed=True)
    assert len(found) == len(members)
    assert all("no MD5 that clears it" in finding.detail for finding in found)


def test_a_lost_pack_costs_its_own_objects_and_its_number_is_not_used_again(tmp_path):
    volume = tmp_path / "volume"
    volume.mkdir()
    with Filler(volume, Packing(size=100_000)) as filler:
        filler.store(bodies(60))
    packs = sorted(volume.glob("packs/*.tar"))
    packs[-1].unlink()
    found, _ = verify(volume)
    assert {finding.fault for finding in found} == {Fault.MISSING}
    with Filler(volume, Packing(size=100_000)) as filler:
        filler.store(bodies(60))
    assert not packs[-1].exists()
    assert read_all(volume, tmp_path).keys() == bodies(60).keys()


def test_a_key_that_is_the_path_of_a_pack_lies_elsewhere(tmp_path):
    """A large object stays a file; it must not be taken for a pack, nor overwrite one."""
    volume = tmp_path / "volume"
    volume.mkdir()
    with Filler(volume, Packing(limit=5000)) as filler:
        pack = f"{filler.id[:6]}-0-000000.tar".encode()
        objects = {
            (b"packs", pack): b"x" * 6000,
            (b"packs", b"SHA256SUMS"): b"y" * 6000,
            (b"", b"small"): b"z",
        }
        filler.store(objects)
        filler.store({(b"packs", b"plain"): b"p" * 6000, (b"packs", pack): b"X" * 6000})
    objects |= {(b"packs", b"plain"): b"p" * 6000, (b"packs", pack): b"X" * 6000}
    assert read_all(volume, tmp_path) == objects
    assert verify(volume, hashed=True)[0] == []
    assert keys.name_of(b"%~packs") == b"packs"


def test_two_agents_after_one_another_keep_the_numbers_without_gaps(tmp_path):
    for session in range(4):
        with Filler(tmp_path, SMALL_PACKS) as filler:
            filler.store(bodies(50, start=100 * session), settle=session % 2 == 0)
    numbers = sorted(int(path.stem.rpartition("-")[2]) for path in tmp_path.glob("packs/*.tar"))
    assert numbers == list(range(len(numbers)))


def test_a_block_without_objects_in_packs_needs_no_pack(tmp_path):
    with Filler(tmp_path, Packing()) as filler:
        filler.volume.settle([Block(JOURNAL, 99, b"\x90")])
    assert verify(tmp_path)[0] == []


def test_packs_that_were_finished_before_anything_was_settled_are_sealed_too(tmp_path):
    """The first group that is settled may name several packs, in any order."""
    with Filler(tmp_path, SMALL_PACKS) as filler:
        for start in (0, 100):
            filler.store(bodies(40, start=start), settle=False)
        filler.store(bodies(40, start=200))
    packs = {path.stem for path in tmp_path.glob("packs/*.tar")}
    sealed = {path.name.removesuffix(".tar.index.sqlite") for path in tmp_path.glob("packs/*.index.sqlite")}
    assert len(packs) == 3
    assert sealed == packs - {max(packs)}
