"""A volume that lies below another one is left alone by it: objects go beside it, and nobody looks through its files."""

import os

from tests.volumes.test_verification import fill, verify

from bucketpull.domain.batching import batch_of
from bucketpull.domain.model import Part
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.volume import open_volume

INNER = {(b"", b"1.jpg"): b"the inner one's"}
OUTER = {(b"a/b", b"1.jpg"): b"the outer one's", (b"a", b"2.jpg"): b"beside", (b"a", b"b"): b"a file"}


def nested(tmp_path):
    inner = tmp_path / "a/b"
    inner.mkdir(parents=True)
    fill(inner, INNER)
    return inner


def test_objects_of_its_folder_go_beside_it(tmp_path):
    inner = nested(tmp_path)

    fill(tmp_path, OUTER)

    assert (tmp_path / "a/%~b%~d/1.jpg").read_bytes() == b"the outer one's"
    assert (tmp_path / "a/2.jpg").read_bytes() == b"beside"
    assert (inner / "1.jpg").read_bytes() == b"the inner one's"
    assert sorted(os.listdir(inner)) == [".bucketpull", "1.jpg"]


def test_both_are_verified_each_for_itself(tmp_path):
    inner = nested(tmp_path)
    fill(tmp_path, OUTER)
    (inner / "extra").touch()

    assert verify(tmp_path, hashed=True)[0] == []
    assert [finding.path for finding in verify(inner)[0]] == ["extra"]


def test_its_files_are_neither_taken_over_nor_put_aside(tmp_path):
    inner = nested(tmp_path)
    initialise(str(tmp_path))
    outer = open_volume(str(tmp_path))
    os.utime(inner / "1.jpg", (5, 5))

    assert outer.inspect([Part(b"a/b", "", [b"1.jpg"], [15], [5])], "date").records == []
    outer.clear(batch_of([Part(b"a/b", "", [b"1.jpg"], [3], [6])]))

    assert sorted(os.listdir(inner)) == [".bucketpull", "1.jpg"]
    outer.close()


def test_a_bucket_cannot_make_a_folder_look_like_one(tmp_path):
    planted = {(b"x/.bucketpull", b"volume.json"): b'{"id": "planted"}', (b"x", b"1.jpg"): b"as usual"}

    fill(tmp_path, planted)

    assert (tmp_path / "x/1.jpg").read_bytes() == b"as usual"
    assert not (tmp_path / "x/.bucketpull").exists()
    assert verify(tmp_path, hashed=True)[0] == []


def test_a_file_of_that_name_makes_none(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/.bucketpull").touch()

    fill(tmp_path, {(b"x", b"1.jpg"): b"as usual"})

    assert (tmp_path / "x/1.jpg").read_bytes() == b"as usual"
    assert [finding.path for finding in verify(tmp_path)[0]] == ["x/.bucketpull"]
