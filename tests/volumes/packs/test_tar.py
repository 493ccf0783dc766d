"""A pack is a tar that GNU tar and Python's tarfile read to its end, whatever the keys are."""

import io
import os
import subprocess
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain import keys
from bucketpull.volumes.packs import tar

ODD_KEYS = [
    b"2024/image.jpg",
    b"1.2.jpg",
    b"1.3.jpg",
    b"nosuffix",
    b"n" * 300,
    b"d/" * 40 + b"n" * 99,
    b"d" * 155 + b"/" + b"n" * 100,
    b"d" * 156 + b"/" + b"n" * 100,
    "中文/图片 一.jpg".encode(),
    "中/".encode() * 90 + b"x",
    b"\xff\xfe.jpg",
    b"\xff/" * 140 + b"x",
    b"../../etc/passwd",
    b"/absolute",
    b"a//b",
    b"folder/",
    b".",
    b"a\0b",
    b"new\nline",
    b"100%",
    b"%~marked",
]

NAMES = st.binary(min_size=1, max_size=320)
PATHS = st.lists(st.binary(min_size=0, max_size=60), min_size=1, max_size=8).map(b"/".join).filter(len)
SIZES = st.sampled_from([0, 1, 511, 512, 513, 20_000])


def member(key, body, mtime=1_600_000_000):
    return tar.header(key, len(body), mtime) + body + bytes(tar.padding(len(body)))


def read_by_tarfile(data):
    """Return (path, body, mtime, comment) of each member."""
    found = []
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape") as archive:
        for each in archive:
            file = archive.extractfile(each)
            assert file is not None
            path = os.fsencode(each.name)
            found.append((path, file.read(), each.mtime, each.pax_headers.get("comment", "")))
    return found


@given(st.lists(st.tuples(NAMES | PATHS, SIZES), min_size=1, max_size=8))
def test_tarfile_reads_every_key_back(members):
    data = b"".join(member(key, bytes([size % 251]) * size) for key, size in members)
    expected = [(keys.path_of(key), bytes([size % 251]) * size) for key, size in members]
    assert [(path, body) for path, body, _, _ in read_by_tarfile(data)] == expected


@given(NAMES | PATHS, SIZES, st.integers(-5, 2**40))
def test_a_header_is_read_back_by_ourselves_with_the_true_key(key, size, mtime):
    data = b"before" + tar.header(key, size, mtime)
    found = tar.read_header(data, 6)
    assert found is not None
    assert found.key == key
    assert found.size == size
    assert found.mtime == min(max(mtime, 0), 8**11 - 1)
    assert found.body == len(data)
    assert len(data) % 512 == 6
    assert tar.header_bytes(key, keys.path_of(key)) == len(data) - 6


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_gnu_tar_unpacks_every_odd_key_at_the_path_of_a_file(tmp_path, locale):
    bodies = {key: b"body of " + key for key in ODD_KEYS}
    (tmp_path / "pack.tar").write_bytes(b"".join(member(key, body) for key, body in bodies.items()))
    out = tmp_path / "out"
    out.mkdir()
    run = subprocess.run(
        ["tar", "xf", tmp_path / "pack.tar", "-C", out],
        capture_output=True,
        check=False,
        env={**os.environ, "LC_ALL": locale},
        timeout=60,
    )
    assert (run.returncode, run.stderr) == (0, b"")
    for key, body in bodies.items():
        with open(os.path.join(os.fsencode(out), keys.path_of(key)), "rb") as file:
            assert file.read() == body
    assert sum(1 for path in out.rglob("*") if path.is_file()) == len(ODD_KEYS)


def test_the_mode_and_time_of_a_member_are_those_of_a_file():
    with tarfile.open(fileobj=io.BytesIO(member(b"a", b"x", 1_234_567_890))) as archive:
        [each] = archive
    assert (each.mode, each.mtime, each.uid, each.type) == (0o644, 1_234_567_890, 0, tarfile.REGTYPE)


def test_an_ordinary_key_costs_one_block():
    assert len(tar.header(b"2024/05/image-000123.jpg", 20_480, 1_600_000_000)) == 512


def test_what_is_cut_off_or_no_header_is_not_read():
    data = tar.header(b"k" * 300, 5, 0)
    assert tar.read_header(data[:-1]) is None
    assert tar.read_header(bytes(512)) is None
    assert tar.read_header(b"") is None
    spoilt = bytearray(tar.header(b"a", 5, 0))
    spoilt[0] ^= 1
    assert tar.read_header(bytes(spoilt)) is None


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        (b"a/1.2.JPG", b"jpg"),
        (b"nosuffix", b"bin"),
        (b".hidden", b"bin"),
        (b"x.tar.gz", b"gz"),
        (b"x.json", b"data.json"),
        ("图.图".encode(), b"bin"),
        (b"dir.d/name", b"bin"),
    ],
)
def test_samples_are_named_by_pack_and_block(key, kind):
    assert tar.sample_name(17, 123, key) == b"00000017-000123." + kind
    assert tar.sample_description(17, 123) == b"00000017-000123.json"
