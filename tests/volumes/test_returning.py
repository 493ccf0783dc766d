"""A volume whose worker was killed, and whose batches others have done meanwhile: what they left is removed, and nothing else."""

import errno
import hashlib
import os
from pathlib import Path

import msgspec
import pytest
from tests.volumes.test_volume import JOURNAL, block, record

from bucketpull.domain.batching import encode_parts
from bucketpull.domain.errors import VolumeSick
from bucketpull.domain.model import Part
from bucketpull.domain.record import Conclusion
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.ledger import Gone, Ledger
from bucketpull.volumes.removal import Removal
from bucketpull.volumes.volume import open_volume

WHEN = 1_600_000_000


def part(directory, *names):
    return Part(directory, "", list(names), [10] * len(names), [WHEN] * len(names))


@pytest.fixture
def root(tmp_path):
    initialise(str(tmp_path))
    return tmp_path


def put(root: Path, *keys: str):
    for key in keys:
        (root / key).parent.mkdir(exist_ok=True)
        (root / key).write_bytes(b"0123456789")


def dated(root, *keys):
    put(root, *keys)
    for key in keys:
        os.utime(root / key, (WHEN, WHEN))


def files(root):
    return sorted(
        str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_file() and ".bucketpull" not in path.parts
    )


def killed_and_opened_again(volume):
    volume.close()
    return open_volume(volume.path)


def test_pending_are_the_batches_of_a_journal_with_their_blocks(root):
    volume = open_volume(str(root))
    for work in (1, 2):
        volume.intend(JOURNAL, work, encode_parts([part(b"a", b"x")]))
    volume.intend("other", 3)
    [extent] = volume.settle([block(2, record(b"a", b"x"))])
    again = killed_and_opened_again(volume)
    assert sorted(again.pending(JOURNAL)) == [(1, []), (2, [extent.offset])]
    again.close()


def test_what_a_begun_batch_left_is_removed_by_name(root):
    put(root, "mine.txt", "a/old")
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1, encode_parts([part(b"a", b"x", b"y", b"old"), part(b"", b"z")]))
    dated(root, "a/x", "z", "a/unknown")
    again = killed_and_opened_again(volume)
    again.conclude(JOURNAL, [Conclusion(1)])
    assert files(root) == ["a/old", "a/unknown", "mine.txt"]  # a/old was there before the batch
    assert again.pending(JOURNAL) == []
    again.close()


def test_what_others_have_put_where_a_begun_batch_would_have_stored_stays(root):
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1, encode_parts([part(b"a", b"x", b"y")]))
    dated(root, "a/x")
    put(root, "a/y")
    again = killed_and_opened_again(volume)
    again.conclude(JOURNAL, [Conclusion(1)])
    assert files(root) == ["a/y"]
    again.close()


def test_where_files_have_no_dates_what_others_have_put_there_stays_by_its_length(root):
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1, encode_parts([part(b"a", b"x", b"y")]))
    (root / ".bucketpull" / "undated").touch()
    put(root, "a/x")
    (root / "a/y").write_bytes(b"of others")
    again = killed_and_opened_again(volume)
    again.conclude(JOURNAL, [Conclusion(1)])
    assert files(root) == ["a/y"]
    again.close()


def test_what_a_later_batch_has_settled_stays(root):
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1, encode_parts([part(b"a", b"x", b"y")]))
    volume.intend(JOURNAL, 2, encode_parts([part(b"a", b"y")]))
    dated(root, "a/x", "a/y")
    volume.settle([block(2, record(b"a", b"y"))])
    again = killed_and_opened_again(volume)
    again.conclude(JOURNAL, [Conclusion(1)])
    assert files(root) == ["a/y"]
    again.close()


def test_what_a_begun_batch_wrote_over_an_older_version_is_removed_and_the_same_version_stays(root):
    dated(root, "a/old", "a/same")
    volume = open_volume(str(root))
    volume.settle([block(1, record(b"a", b"old", b"same"))])
    newer = part(b"a", b"old", b"same")
    newer.mtimes = [WHEN + 9, WHEN]
    volume.intend(JOURNAL, 2, encode_parts([newer]))
    dated(root, "a/old", "a/same")
    os.utime(root / "a/old", (WHEN + 9, WHEN + 9))
    again = killed_and_opened_again(volume)
    again.conclude(JOURNAL, [Conclusion(2)])
    assert files(root) == ["a/same"]
    again.close()


def test_a_stored_object_that_somebody_edited_after_a_batch_without_dates_was_begun_stays(root):
    dated(root, "a/x")
    volume = open_volume(str(root))
    volume.settle([block(1, record(b"a", b"x"))])
    undated = part(b"a", b"x")
    undated.mtimes = [-1]
    volume.intend(JOURNAL, 2, encode_parts([undated]))
    (root / "a/x").write_bytes(b"edited by hand")
    again = killed_and_opened_again(volume)
    again.conclude(JOURNAL, [Conclusion(2)])
    assert files(root) == ["a/x"]
    again.close()


def test_what_a_begun_batch_left_of_an_object_that_was_pruned_before_is_removed(root):
    dated(root, "a/x")
    volume = open_volume(str(root))
    [extent] = volume.settle([block(1, record(b"a", b"x"))])
    volume.prune([Gone(extent.offset, record(b"a", b"x"), 0)])
    volume.intend(JOURNAL, 2, encode_parts([part(b"a", b"x")]))
    dated(root, "a/x")
    again = killed_and_opened_again(volume)
    again.conclude(JOURNAL, [Conclusion(2)])
    assert files(root) == []
    again.close()


def test_what_is_settled_of_an_abandoned_batch_stays_and_an_unknown_one_is_none(root):
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1, encode_parts([part(b"a", b"x", b"y")]))
    dated(root, "a/x", "a/y")
    volume.settle([block(1, record(b"a", b"x"))])
    volume.conclude(JOURNAL, [Conclusion(1)])
    volume.conclude(JOURNAL, [Conclusion(99)])
    assert files(root) == ["a/x"]
    assert volume.pending(JOURNAL) == []
    volume.close()


@pytest.mark.parametrize("body", [b"", b"\xc1 torn"])
def test_a_note_without_a_body_removes_nothing(root, body):
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1, body)
    dated(root, "a/x")
    volume.conclude(JOURNAL, [Conclusion(1)])
    assert files(root) == ["a/x"]
    assert volume.pending(JOURNAL) == []
    volume.close()


def test_a_removal_that_was_cut_short_is_finished_at_the_next_start(root):
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1, encode_parts([part(b"a", b"x", b"y", b"z")]))
    dated(root, "a/x", "a/y", "a/z")
    [extent] = volume.settle([block(1, record(b"a", b"x", b"y"))])
    remove = volume._tree.remove

    def killed(path):
        raise SystemExit

    volume._tree.remove = killed
    with pytest.raises(SystemExit):
        volume.conclude(JOURNAL, [Conclusion(1, [extent.offset])])
    volume._tree.remove = remove
    again = killed_and_opened_again(volume)
    assert files(root) == ["a/z"]
    assert again.pending(JOURNAL) == [(1, [])]  # what it had not settled is still to go
    again.conclude(JOURNAL, [Conclusion(1)])
    assert files(root) == []
    assert again.status().stored_objects == 0
    again.close()


def test_a_disk_that_does_not_read_what_was_begun_is_sick_and_its_whole_files_are_found_when_it_does(disks):
    disk = disks.odd()
    initialise(disk.path)
    volume = open_volume(disk.path)
    volume.intend(JOURNAL, 1)
    dated(Path(disk.path), "a/x")
    disk.fail("getattr", errno.EIO, "intents")

    with pytest.raises(VolumeSick):
        volume.recover(JOURNAL, 1, [part(b"a", b"x")])

    disk.fail()
    (found,) = volume.recover(JOURNAL, 1, [part(b"a", b"x")])
    assert found.names == [b"x"]
    volume.close()


def test_what_a_killed_worker_had_written_whole_is_found_again_in_the_same_boot(root):
    dated(root, "a/old")
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1)
    dated(root, "a/x", "z")
    put(root, "a/undated")
    (root / "a" / "short").write_bytes(b"012")
    os.utime(root / "a" / "short", (WHEN, WHEN))
    parts = [part(b"a", b"x", b"old", b"undated", b"short", b"missing"), part(b"", b"z")]

    again = killed_and_opened_again(volume)
    found = again.recover(JOURNAL, 1, parts)

    assert [(record.directory, record.names) for record in found] == [(b"a", [b"x"]), (b"", [b"z"])]
    assert again.recover(JOURNAL, 2, parts) == []
    again.close()


def test_what_a_killed_worker_had_written_beside_a_directory_or_a_file_is_found_again_where_it_lies(root):
    (root / "folder").mkdir()
    put(root, "file")
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1)
    dated(root, "%~folder%~f", "%~file%~d/x", "%~file%~d/%~gone%~f")
    parts = [part(b"", b"folder"), part(b"file", b"x", b"missing", b"gone")]

    again = killed_and_opened_again(volume)
    at_root, below = again.recover(JOURNAL, 1, parts)

    assert (at_root.names, at_root.paths) == ([b"folder"], {0: b"%~folder%~f"})
    assert below.names == [b"x", b"gone"]
    assert below.paths == {0: b"%~file%~d/x", 1: b"%~file%~d/%~gone%~f"}
    again.close()


def test_what_a_begun_batch_left_beside_a_directory_or_a_file_is_removed(root):
    (root / "folder").mkdir()
    put(root, "file", "%~folder%~f2")
    volume = open_volume(str(root))
    parts = [part(b"", b"folder"), part(b"file", b"x", b"gone")]
    volume.intend(JOURNAL, 1, encode_parts(parts))
    dated(root, "%~folder%~f", "%~file%~d/x", "%~file%~d/%~gone%~f")
    again = killed_and_opened_again(volume)
    again.conclude(JOURNAL, [Conclusion(1)])
    assert files(root) == ["%~folder%~f2", "file"]
    again.close()


def test_what_is_found_again_has_its_md5_and_is_not_another_that_the_listing_states(root):
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1)
    dated(root, "a/right", "a/wrong", "a/unstated")
    md5 = hashlib.md5(b"0123456789")
    listed = part(b"a", b"right", b"wrong", b"unstated")
    listed.versions = [f'"{md5.hexdigest().upper()}"', "0" * 32, "multipart-3"]

    again = killed_and_opened_again(volume)
    (found,) = again.recover(JOURNAL, 1, [listed])

    assert (found.names, found.md5s) == ([b"right", b"unstated"], [md5.digest()] * 2)
    again.close()


def test_a_disk_that_keeps_even_seconds_and_no_date_of_change_has_what_the_listing_states_an_md5_of(disks):
    root = Path(disks.odd("fold").path)
    initialise(str(root))
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1)
    listed = part(b"a", b"right", b"wrong", b"unstated")
    listed.versions = [hashlib.md5(b"0123456789").hexdigest(), "0" * 32, ""]
    listed.mtimes = [WHEN + 1] * 3
    dated(root, "a/right", "a/wrong", "a/unstated")

    again = killed_and_opened_again(volume)
    (found,) = again.recover(JOURNAL, 1, [listed])

    assert found.names == [b"right"]
    again.close()


def test_where_no_size_and_date_is_listed_what_was_written_since_is_found_again(root):
    dated(root, "a/before")
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1)
    put(root, "a/x")
    (root / "a" / "y").write_bytes(b"012")
    listed = part(b"a", b"before", b"x", b"y", b"missing")
    listed.sizes, listed.mtimes = [-1] * 4, [-1] * 4

    again = killed_and_opened_again(volume)
    (found,) = again.recover(JOURNAL, 1, [listed])

    assert (found.names, found.sizes, found.stored) == ([b"x", b"y"], [-1, -1], [10, 3])
    again.close()


@pytest.mark.parametrize("note", [b"", b"another boot 1 2\n", b"\xff\xfe"])
def test_after_another_boot_a_file_that_looks_whole_may_not_be(root, note):
    volume = open_volume(str(root))
    volume.intend(JOURNAL, 1)
    dated(root, "a/x")
    (intent,) = (root / ".bucketpull" / "intents").iterdir()
    intent.write_bytes(note)

    again = killed_and_opened_again(volume)
    assert again.recover(JOURNAL, 1, [part(b"a", b"x")]) == []
    again.close()


def test_for_a_new_journal_nothing_stays_of_a_batch_that_was_begun_before_another_boot(root):
    dated(root, "a/stored")
    put(root, "a/of-others")
    volume = open_volume(str(root))
    volume.settle([block(1, record(b"a", b"stored"))])
    volume.intend(JOURNAL, 2, encode_parts([part(b"a", b"stored", b"of-others", b"x")]))
    (intent,) = (root / ".bucketpull" / "intents").iterdir()
    intent.write_bytes(b"another boot 1 2\n" + intent.read_bytes().partition(b"\n")[2])
    dated(root, "a/x")

    again = killed_and_opened_again(volume)
    again.settle_begun()

    assert files(root) == ["a/of-others", "a/stored"]
    assert again.pending(JOURNAL) == []
    again.close()


def test_for_a_new_journal_the_ledger_is_read_as_often_for_many_begun_batches_as_for_one(root, monkeypatch):
    dated(root, "a/stored")
    volume = open_volume(str(root))
    volume.settle([block(1, record(b"a", b"stored"))])
    names = [b"x%d" % work for work in range(2, 7)]
    for work, name in enumerate(names, 2):
        volume.intend(JOURNAL, work, encode_parts([part(b"a", name)]))
    for intent in (root / ".bucketpull" / "intents").iterdir():
        intent.write_bytes(b"another boot 1 2\n" + intent.read_bytes().partition(b"\n")[2])
    dated(root, *(f"a/{name.decode()}" for name in names))
    passes, salvage = [], Ledger.salvage
    again = killed_and_opened_again(volume)
    monkeypatch.setattr(Ledger, "salvage", lambda self, *start: passes.append(start) or salvage(self, *start))

    again.settle_begun()

    assert files(root) == ["a/stored"]
    assert again.pending(JOURNAL) == []
    assert len(passes) == 3
    again.close()


def test_for_a_new_journal_a_version_that_was_not_settled_replaces_the_former_one(root):
    dated(root, "%~a%~f", "a-other")
    volume = open_volume(str(root))
    former = record(b"", b"a", b"a-other")
    former.paths = {0: b"%~a%~f"}
    volume.settle([block(1, former)])
    newer = Part(b"", "", [b"a"], [12], [WHEN])
    volume.intend(JOURNAL, 2, encode_parts([newer]))
    (root / "a").write_bytes(bytes(12))
    os.utime(root / "a", (WHEN, WHEN))

    again = killed_and_opened_again(volume)
    again.settle_begun()

    assert files(root) == ["a", "a-other"]
    assert (again.status().stored_objects, again.status().stored_bytes) == (2, 22)
    assert again.pending(JOURNAL) == []
    again.close()


def test_for_a_new_journal_the_former_file_goes_that_a_kill_kept_from_being_removed(root, monkeypatch):
    dated(root, "%~a%~f")
    volume = open_volume(str(root))
    former = record(b"", b"a")
    former.paths = {0: b"%~a%~f"}
    [extent] = volume.settle([block(1, former)])
    volume.intend(JOURNAL, 2, encode_parts([Part(b"", "", [b"a"], [12], [WHEN])]))
    (root / "a").write_bytes(bytes(12))
    with monkeypatch.context() as killed:
        killed.setattr(Removal, "remove_former", lambda *_: None)
        volume.settle([msgspec.structs.replace(block(2, record(b"", b"a", size=12)), former=[extent.offset])])
    assert files(root) == ["%~a%~f", "a"]

    again = killed_and_opened_again(volume)
    again.settle_begun()

    assert files(root) == ["a"]
    assert again.status().stored_objects == 1
    again.close()


def test_for_a_new_journal_a_file_stays_that_a_later_block_names_again(root):
    dated(root, "%~a%~f")
    volume = open_volume(str(root))
    odd = record(b"", b"a")
    odd.paths = {0: b"%~a%~f"}
    volume.settle([block(1, odd)])
    volume.intend(JOURNAL, 2, encode_parts([part(b"", b"a")]))
    for work, told in ((2, record(b"", b"a")), (3, odd)):
        volume.settle([block(work, told)])

    again = killed_and_opened_again(volume)
    again.settle_begun()

    assert files(root) == ["%~a%~f"]
    again.close()
