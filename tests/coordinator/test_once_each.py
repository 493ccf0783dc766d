"""Receipts that name the same work are booked one after the other."""

from bucketpull.coordinator.effects import once_each
from bucketpull.domain.messages import BatchReceipt, Handback


def test_of_two_receipts_for_one_batch_one_may_count_and_the_other_not():
    first, second = BatchReceipt(1, "m1"), BatchReceipt(1, "m2")
    other, back = BatchReceipt(2, "m1"), Handback([2, 3], "m1")
    assert once_each([first, other, second, back]) == [[first, other], [second, back]]
    assert once_each([]) == []
