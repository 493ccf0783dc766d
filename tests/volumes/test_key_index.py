"""The index of a ledger to which another thread appends."""

from contextlib import closing

from tests.volumes.test_volume import block, record

from bucketpull.volumes import key_index
from bucketpull.volumes.identity import initialise
from bucketpull.volumes.key_index import KeyIndex
from bucketpull.volumes.volume import open_volume


def test_what_is_appended_while_a_segment_is_made_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(key_index, "_SEGMENT_BYTES", 0)
    initialise(str(tmp_path))
    with closing(open_volume(str(tmp_path))) as volume:
        volume.settle([block(1, record(b"a", b"x"))])
        salvage, later = volume._ledger.salvage, [record(b"a", b"y")]

        def growing(start):
            yield from salvage(start)
            if later:
                volume.settle([block(2, later.pop())])

        monkeypatch.setattr(volume._ledger, "salvage", growing)
        index = KeyIndex(volume._ledger, str(tmp_path / "index"))
        index.refresh()

        assert index.find(b"a/x") is not None
        assert index.find(b"a/y") is not None
