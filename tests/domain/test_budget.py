"""What a job may use up, in all and a day."""

import pytest

from bucketpull.domain.budget import (
    ANY_ROOM,
    Budget,
    BudgetLeft,
    BudgetState,
    Prices,
    Spending,
    judged,
    left,
)
from bucketpull.domain.messages import Pulse
from bucketpull.domain.status import EndpointStatus
from bucketpull.journal.sums import Books, decode_books, encode_books


def pulse(machine: str, incarnation: str, size: int, requests: int, **wasted: int) -> Pulse:
    endpoints = {"cdn": EndpointStatus(0, 1.0, requests, 0, 0.0, received=size)}
    return Pulse(machine, incarnation, "v", 1, 0, 0, 0, 0, [], {}, {}, endpoints, [], wasted=wasted)


def test_without_bounds_a_job_goes_on():
    assert judged(Budget(), Spending(bytes=1 << 60, requests=1 << 40), "2026-05-01") is BudgetState.GO_ON


def test_a_total_ends_the_job():
    assert judged(Budget(bytes=100), Spending(bytes=99), "d") is BudgetState.GO_ON
    assert judged(Budget(bytes=100), Spending(bytes=100), "d") is BudgetState.END
    assert judged(Budget(requests=10), Spending(requests=11), "d") is BudgetState.END


def test_what_a_day_may_take_is_there_again_the_next_day():
    spent = Spending()
    spent.add(100, 3, "2026-05-01")

    assert judged(Budget(bytes_a_day=100), spent, "2026-05-01") is BudgetState.WAIT_FOR_TOMORROW
    assert judged(Budget(bytes_a_day=100), spent, "2026-05-02") is BudgetState.GO_ON
    spent.add(1, 1, "2026-05-02")
    assert (spent.bytes, spent.bytes_of_day, spent.requests, spent.requests_of_day) == (101, 1, 4, 1)


def test_what_is_left_is_the_least_of_what_the_day_and_the_whole_job_have():
    spent = Spending()
    spent.add(90, 3, "2026-05-01")
    both = Budget(bytes=100, bytes_a_day=95, requests_a_day=3)

    assert left(Budget(), spent, "2026-05-01") == ANY_ROOM
    assert left(both, spent, "2026-05-01") == BudgetLeft(objects=0, bytes=5)
    assert left(both, spent, "2026-05-02") == BudgetLeft(objects=3, bytes=10)
    assert left(Budget(bytes=50), spent, "2026-05-02") == BudgetLeft(bytes=0)


@pytest.mark.parametrize(
    ("room", "fitting"),
    [
        (ANY_ROOM, 4),
        (BudgetLeft(objects=3), 3),
        (BudgetLeft(bytes=1), 1),
        (BudgetLeft(bytes=11), 3),
        (BudgetLeft(2, 11), 2),
    ],
)
def test_of_bytes_the_last_object_may_go_beyond_and_one_of_unknown_size_counts_nothing(room, fitting):
    assert room.fitting([10, -1, 10, 10]) == fitting
    assert bool(room) is True
    assert not BudgetLeft(objects=room.objects, bytes=0)


def used(spent):
    return spent.bytes, spent.requests, spent.wasted


def test_what_counts_is_what_is_new_of_each_machine():
    spent = Spending()

    assert spent.see(pulse("a", "first", 100, 10), "d")
    assert used(spent) == (100, 10, {})
    assert spent.see(pulse("a", "first", 150, 12, stalled=30), "d")
    assert spent.see(pulse("a", "first", 150, 12, stalled=45), "d")
    assert used(spent) == (150, 12, {"stalled": 45})
    assert not spent.see(pulse("a", "first", 150, 12, stalled=45), "d")
    assert spent.see(pulse("b", "first", 7, 1), "d")
    assert used(spent) == (157, 13, {"stalled": 45})


def test_a_machine_that_started_again_counts_from_nothing():
    spent = Spending()
    spent.see(pulse("a", "first", 100, 10, stalled=50), "d")

    spent.see(pulse("a", "second", 30, 3, stalled=20), "d")

    assert used(spent) == (130, 13, {"stalled": 70})


def test_what_a_machine_used_while_the_coordinator_was_away_counts_once():
    spent = Spending()
    spent.see(pulse("a", "first", 100, 10), "d")

    again = decode_books(encode_books(Books(spent=spent))).spent
    again.see(pulse("a", "first", 130, 13), "d")

    assert used(again) == (130, 13, {})


def test_a_clock_that_is_put_back_gives_no_new_day():
    spent, budget = Spending(), Budget(bytes_a_day=100)
    spent.add(100, 1, "2026-05-02")

    assert judged(budget, spent, "2026-05-01") is BudgetState.WAIT_FOR_TOMORROW
    assert left(budget, spent, "2026-05-01").bytes == 0
    spent.add(1, 1, "2026-05-01")
    assert spent.bytes_of_day == 101
    assert judged(budget, spent, "2026-05-02") is BudgetState.GO_ON


def test_what_was_spent_is_money_where_something_has_a_price():
    spent = Spending(bytes=2_000_000_000, requests=30_000)

    assert Prices().of(spent) is None
    assert Prices(per_gb=0.29).of(spent) == pytest.approx(0.58)
    assert Prices(per_10k=0.01).of(spent) == pytest.approx(0.03)
    assert Prices(0.29, 0.01).of(spent) == pytest.approx(0.61)
    assert Prices(per_gb=0.0).of(spent) == 0.0
