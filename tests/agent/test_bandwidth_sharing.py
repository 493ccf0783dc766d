"""A cap on bandwidth goes to the processes that need it, and is never passed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.agent.test_scheduler import Open, tick

from bucketpull.agent.bandwidth_sharing import LEAST, by_need
from bucketpull.agent.scheduler import Scheduler
from bucketpull.domain.status import EndpointStatus
from bucketpull.domain.user_limits import Limits

TICK_SECONDS = 0.5
CAP = 4e6


class Processes:
    """Processes that could receive `wants` bytes a second each, and receive what their shares allow; each tells twice a second.

    With `seconds`, one receives no more than what may be in hand, two seconds of its share, in each so long.
    """

    def __init__(self, *wants, cap=CAP, seconds=0.0):
        self.wants, self.seconds, self.now = list(wants), seconds, 0.0
        self.scheduler = Scheduler("alpha", len(wants))
        self.scheduler.volumes["v"] = Open()
        self.scheduler.limits = Limits(bytes_per_second=cap)
        self.shares = [self.scheduler.tune(process).limits.bytes_per_second for process in range(len(wants))]
        self.received = [0.0] * len(wants)
        self.told = 0

    def run(self, seconds):
        """Return what each received a second."""
        before, began = list(self.received), self.now
        while self.now < began + seconds:
            self.now += TICK_SECONDS
            for process, want in enumerate(self.wants):
                share = self.shares[process]
                most = 2 * share / self.seconds if self.seconds else share
                self.received[process] += min(want, share, most) * TICK_SECONDS
                self._tick(process, min(want, share) > most)
        return [(now - then) / (self.now - began) for now, then in zip(self.received, before, strict=True)]

    def _tick(self, process, is_capped):
        status = EndpointStatus(1, 9.0, 9, 0, 1.0, received=round(self.received[process]))
        told = tick()
        told.endpoints, told.is_capped = {"cdn": status}, is_capped
        now = self.now + process * TICK_SECONDS / len(self.wants)
        self.scheduler.tick(process, told, now)
        shares = [tune.limits.bytes_per_second for tune in self.scheduler.shared_anew(now)]
        if shares:
            assert sum(shares) == pytest.approx(self.scheduler.limits.bytes_per_second)
            self.shares, self.told = shares, self.told + 1


def test_all_begin_with_equal_shares():
    assert Processes(0, 0, 0, 0).shares == [1e6] * 4


def test_a_process_that_alone_has_something_to_receive_gets_nearly_all():
    processes = Processes(9e6, 0, 0, 0)
    processes.run(3.0)

    assert processes.run(10.0)[0] > 0.9 * CAP


def test_what_one_leaves_goes_to_the_others_alike():
    processes = Processes(9e6, 200e3, 9e6)
    processes.run(5.0)
    first, second, third = processes.run(10.0)

    assert first == pytest.approx(third, rel=0.01)
    assert second == pytest.approx(200e3)
    assert first + second + third > 0.95 * CAP


def test_who_gets_work_again_has_an_equal_share_within_two_seconds():
    processes = Processes(9e6, 0)
    processes.run(10.0)
    processes.wants[1] = 9e6
    processes.run(2.0)

    assert processes.run(10.0) == pytest.approx([2e6, 2e6])


@pytest.mark.parametrize("wants", [(9e6, 9e6), (0, 0), (1e6, 300e3)])
def test_where_none_lacks_anything_or_all_do_nothing_is_told(wants):
    processes = Processes(*wants)
    processes.run(10.0)
    assert processes.run(30.0) == pytest.approx([min(want, CAP / 2) for want in wants])
    assert processes.told <= 1


def test_slow_answers_that_keep_a_process_below_its_share_do_not_take_it_away():
    """What a process may have in hand follows from its share, and so does then what it receives."""
    processes = Processes(9e6, 9e6, seconds=5.0)
    processes.run(60.0)

    assert sum(processes.run(60.0)) == pytest.approx(CAP * 2 / 5, rel=0.01)


def test_a_new_cap_is_shared_in_the_same_parts():
    processes = Processes(9e6, 0)
    processes.run(5.0)
    processes.scheduler.limits = Limits(bytes_per_second=1e6)

    shares = [processes.scheduler.tune(process).limits.bytes_per_second for process in (0, 1)]
    assert shares == pytest.approx([1e6 * (1 - LEAST / 2), 1e6 * LEAST / 2])
    assert list(Processes(1, 1, cap=None).scheduler.shared_anew(9.0)) == []


@given(needs=st.lists(st.floats(0, 2) | st.just(float("inf")), min_size=1, max_size=16))
def test_parts_make_one_and_nobody_gets_less_than_it_needs_or_an_equal_part(needs):
    parts = by_need(needs)

    assert sum(parts) == pytest.approx(1.0)
    for need, part in zip(needs, parts, strict=True):
        assert part >= min(need, 1 / len(needs)) * (1 - 1e-9)
