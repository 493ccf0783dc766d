import hashlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upyun_simulator.content import (
    CHUNK,
    RING_SIZE,
    content,
    content_range,
    md5_hex,
    parse_bytes,
)
from upyun_simulator.sizes import parse_sizes

KEYS = st.text(st.characters(exclude_categories=[]), max_size=40)


@given(KEYS, st.integers(0, 5000), st.integers(0, 5), st.data())
def test_a_range_is_a_slice_of_the_whole(key, size, version, data):
    start = data.draw(st.integers(0, size))
    stop = data.draw(st.integers(start, size))

    assert content_range(key, size, start, stop, version) == content(key, size, version)[start:stop]


@given(KEYS, st.integers(0, 3 * CHUNK), st.integers(0, 5))
def test_the_md5_is_that_of_the_content(key, size, version):
    whole = content(key, size, version)

    assert len(whole) == size
    assert md5_hex(key, size, version) == hashlib.md5(whole).hexdigest()


def test_objects_and_versions_differ_from_the_start_and_at_the_end():
    assert content("a.jpg", 4000)[100:2000] != content("a.jpg", 4000, 1)[100:2000]
    assert content("a.jpg", 4000)[-16:] != content("b.jpg", 4000)[-16:]


def test_bytes_from_a_wrong_offset_are_wrong():
    size = 5 * RING_SIZE

    for shift in (1, 4096, 65536, 1 << 20):
        assert content_range("a", size, 0, 5000) != content_range("a", size, shift, shift + 5000)


def test_a_range_far_beyond_four_gib_costs_nothing():
    began = time.process_time()

    piece = content_range("huge", 6 << 30, 5 << 30, (5 << 30) + 10)

    assert len(piece) == 10
    assert time.process_time() - began < 0.1


def test_content_never_looks_like_html_or_json():
    assert {content(f"img-{n}", 100)[:2] for n in range(1000)} == {b"\xff\xd8"}


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4096", 4096),
        ("20KiB", 20480),
        ("1.5MiB", 1572864),
        ("1GB", 10**9),
        ("3k", 3000),
        ("0", 0),
        ("5GiB", 5 << 30),
    ],
)
def test_amounts_are_read(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "x", "-1", "1XiB", "nan", "inf", "1e40"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match="amount of bytes"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("text", "mean", "low", "high"),
    [
        ("20KiB", 20480, 20480, 20480),
        ("uniform:1KiB:3KiB", 2048, 1024, 3072),
        ("lognormal:33KiB:0.8", 33792, 1, 10**7),
    ],
)
def test_a_distribution_has_the_mean_that_was_asked_for(text, mean, low, high):
    sizes = parse_sizes(text)
    picked = [sizes.pick(n * 2654435769 % 2**32) for n in range(20_000)]

    assert sizes.mean == pytest.approx(mean, rel=0.001)
    assert sum(picked) / len(picked) == pytest.approx(mean, rel=0.05)
    assert low <= min(picked) <= max(picked) <= high
