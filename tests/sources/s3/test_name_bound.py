"""The search for the far end of a listing: a border behind which nothing lies, in few questions."""

import random
from bisect import bisect_right

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.sources.s3.name_bound import search_from


def _search(names: list[bytes], page: int) -> tuple[bytes, int]:
    """Answer the questions of a search that begins with a page of sorted names; return the end and how many there were."""
    search, questions = search_from(names[0], names[page - 1]), 0
    while not search.is_done:
        assert questions < 60, search
        search.question.decode()  # services refuse what is no UTF-8
        at = bisect_right(names, search.question)
        search = search.answered(names[at] if at < len(names) else None)
        questions += 1
    return search.end, questions


@pytest.mark.parametrize(
    ("names", "most"),
    [
        ([b"img/%06d.jpg" % number for number in range(20_000)], 12),
        ([b"%08x.jpg" % random.Random(seed).getrandbits(32) for seed in range(20_000)], 10),
        ([f"照片/{number:05d}/图.jpg".encode() for number in range(5_000)] + ["照片/中/é".encode()], 30),
    ],
    ids=["numbers", "hex", "chinese"],
)
def test_it_takes_about_a_dozen_questions(names, most):
    names = sorted(names)
    end, questions = _search(names, 1000)
    assert end >= names[-1]
    assert questions <= most


_names = st.lists(
    st.text(st.sampled_from("ab09中é😀\x01~"), min_size=1, max_size=6).map(str.encode),
    min_size=2,
    max_size=100,
    unique=True,
).map(sorted)


@given(_names, st.data())
def test_nothing_lies_behind_the_end(names, data):
    page = data.draw(st.integers(2, len(names)))
    end, _ = _search(names, page)
    assert end >= names[-1]
