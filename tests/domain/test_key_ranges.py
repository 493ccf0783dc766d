"""Cuts of a large directory."""

import bisect
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.domain.key_ranges import cuts, parts_ahead

_RANDOM = random.Random(7)
_FAMILIES = {
    "decimal": [b"%08d.jpg" % number for number in range(100_000)],
    "unpadded": sorted(b"%d.jpg" % number for number in range(100_000)),
    "prefixed": [b"img_2016_%07d.jpeg" % number for number in range(100_000)],
    "hexadecimal": sorted(b"%032x.jpg" % _RANDOM.getrandbits(128) for _ in range(100_000)),
    "letters": sorted(bytes(_RANDOM.choices(b"abcdefghijklmnopqrstuvwxyz", k=8)) for _ in range(100_000)),
    "seconds": [b"%010d-a.png" % (1_478_000_000 + 7 * number) for number in range(100_000)],
}


@pytest.mark.parametrize("family", _FAMILIES)
def test_cuts_divide_names_of_the_usual_kinds_about_evenly(family):
    names = _FAMILIES[family]

    found = cuts(names[1000], names[-1], 32, names[:1000])

    borders = [0, *(bisect.bisect(names, cut) for cut in found), len(names)]
    sizes = [after - before for before, after in itertools.pairwise(borders)]
    assert max(sizes) < len(names) / 32 * 4
    assert len(found) >= 12


@pytest.mark.parametrize("family", ["decimal", "prefixed", "hexadecimal", "letters", "seconds"])
def test_what_lies_ahead_is_estimated_within_a_factor_of_two(family):
    names = _FAMILIES[family]

    found = parts_ahead(names[0], names[999], names[-1], names[:1000])

    assert 50 <= found <= 200


def test_cuts_stay_where_they_are_when_a_name_is_added_at_the_end():
    names = _FAMILIES["decimal"]

    before = cuts(names[1000], names[-2], 16, names[:1000])
    after = cuts(names[1000], names[-1], 16, names[:1000])

    assert len(set(before) & set(after)) >= len(before) - 2


@given(
    st.binary(max_size=20),
    st.binary(max_size=20),
    st.integers(0, 70),
    st.lists(st.binary(max_size=20), max_size=5),
)
def test_cuts_of_any_names_lie_between_them_in_order(low, high, parts, samples):
    found = cuts(low, high, parts, samples)

    assert found == sorted(set(found))
    assert all(low < cut < high for cut in found)
    assert len(found) <= max(0, parts - 1)


@given(st.binary(max_size=20), st.binary(max_size=20), st.binary(max_size=20))
def test_an_estimate_is_never_negative(first, last, until):
    assert parts_ahead(first, last, until) >= 0.0
