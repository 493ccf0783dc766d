"""What the system gives piece by piece is read to its end, and what is not there to its end is an error."""

import os
from types import SimpleNamespace

import pytest
from tests.volumes.filling import Filler

import bucketpull
from bucketpull.domain.packing import Packing
from bucketpull.volumes import reader

BODY = bytes(range(256)) * 20


@pytest.fixture(params=[None, Packing()], ids=["files", "packs"])
def stored(request, tmp_path):
    with Filler(tmp_path, request.param) as filler:
        filler.store({(b"d", b"a"): BODY})
    return tmp_path


READS = {
    "whole": lambda bucket: bucket.read("d/a"),
    "range": lambda bucket: bucket.read("d/a", 1, len(BODY) - 1),
    "opened": lambda bucket: bucket.open("d/a").read(),
}


@pytest.mark.parametrize("how", READS)
def test_a_call_that_gives_less_than_asked_for_is_gone_on_with(stored, monkeypatch, how):
    """Linux reads 2 GiB by one call at most."""

    def pread(fd, length, at):
        return os.pread(fd, min(length, 1000), at)

    preadv = os.preadv
    monkeypatch.setattr(os, "preadv", lambda fd, views, at: preadv(fd, [views[0][:1000]], at))
    monkeypatch.setattr(reader, "os", SimpleNamespace(**vars(os) | {"pread": pread}))
    with bucketpull.open(stored) as bucket:
        assert READS[how](bucket) == (BODY[1:] if how == "range" else BODY)


@pytest.mark.parametrize("how", READS)
def test_a_pack_that_ends_within_an_object_gives_none_of_it(tmp_path, how):
    with Filler(tmp_path, Packing()) as filler:
        filler.store({(b"d", b"a"): BODY})
    [pack] = tmp_path.glob("packs/*.tar")
    os.truncate(pack, 512 + len(BODY) - 100)
    with bucketpull.open(tmp_path) as bucket, pytest.raises(OSError, match="ends within the object"):
        READS[how](bucket)
