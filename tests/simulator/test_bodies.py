import hashlib
import time

from hypothesis import given
from hypothesis import strategies as st

from upyun_simulator.bodies import CHUNK, RING_SIZE, content, content_range, md5_hex

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
