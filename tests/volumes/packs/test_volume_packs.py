"""What an agent does with packs beside settling, where it ends before that is done."""

import os
from contextlib import closing, contextmanager

from tests.volumes.filling import Filler

from bucketpull.domain.packing import Packing
from bucketpull.domain.record import Record
from bucketpull.volumes.beneath import OwnDirectory, open_root
from bucketpull.volumes.ledger import Ledger
from bucketpull.volumes.packs.folder import Folders, Usage, packs_of, usage
from bucketpull.volumes.packs.volume_packs import VolumePacks


def test_a_pack_whose_turn_comes_after_the_volume_was_let_go_of_stays_unsealed(tmp_path):
    """On a busy machine sealing takes longer than an agent waits for it; an error in its thread would fail this test."""
    with a_volume(tmp_path) as (packs, sealed):
        packs.close()
        packs.note([Record(b"d", "", [b"x"], [1], [1], pack="012345-0-000001", offsets=[1])])
        packs.stop_sealing()
    assert sealed == []


def test_a_pack_that_cannot_be_sealed_is_told(tmp_path):
    with a_volume(tmp_path) as (packs, sealed):
        packs.note([Record(b"d", "", [b"x"], [1], [1], pack="012345-0-000001", offsets=[1])])
        packs.stop_sealing()
        packs.close()
    assert sealed == []
    assert packs.warning == "pack 012345-0-000000 is not sealed: No such file or directory"


def test_an_object_that_is_called_as_the_folder_of_packs_is_no_pack(tmp_path):
    (tmp_path / "packs").write_bytes(b"an object")
    root = open_root(str(tmp_path), writing=False)
    try:
        assert usage(root, "0123456789ab") == Usage()
        assert packs_of(root, "0123456789ab") == {}
    finally:
        os.close(root)


@contextmanager
def a_volume(tmp_path):
    """Give the packs of a volume without packs, and a list of what is sealed."""
    (tmp_path / ".bucketpull").mkdir()
    root = open_root(str(tmp_path), writing=True)
    with closing(OwnDirectory.open(root, ".bucketpull", str(tmp_path), writing=True)) as home:
        os.close(home.open_file("ledger", os.O_WRONLY | os.O_CREAT))
        Folders(root, home, "0123456789ab", str(tmp_path)).close()
        sealed = []
        with closing(Ledger.open(home, str(tmp_path), writable=True)) as ledger:
            yield VolumePacks(root, home, "0123456789ab", str(tmp_path), ledger, sealed.append), sealed
    os.close(root)


def test_the_packs_of_a_volume_that_has_few_are_counted_each_time(tmp_path):
    """At the end of a short job their number was that of its beginning."""
    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"", b"a.jpg"): b"12345"})
        filler.volume.status()
        filler.store({(b"", b"b.jpg"): b"12345" * 1000})

        status = filler.volume.status()
        assert (status.packs, status.open_packs) == (1, 1)
        assert status.pack_bytes == sum(path.stat().st_size for path in tmp_path.glob("packs/*.tar"))
