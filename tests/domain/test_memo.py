"""A memory that is bounded."""

from bucketpull.domain.memo import Memo


def test_it_begins_anew_rather_than_hold_too_much():
    memo = Memo[int, int](3)
    for number in range(10):
        memo[number] = number * number
        assert len(memo) <= 3
        assert memo.get(number) == number * number

    assert memo.get(0) is None
