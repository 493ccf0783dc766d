"""The limits of a job, shared out to machines; and all of them slower when the source throttles one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bucketpull.coordinator.rate_sharing import HOLD_SECONDS, Sharing
from bucketpull.domain.messages import Pulse
from bucketpull.domain.status import EndpointStatus, VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits

LIMITS = Limits(requests_per_second=1000.0, bytes_per_second=8e6)


def pulse(machine, requests, throttled=0, endpoint="cdn", incarnation="one", volumes=True):
    disk = VolumeStatus("v", machine, "/v", VolumeState.OPEN, 1, 1, 1, 1, 0, 0, 0, 0, 0.0)
    return Pulse(
        machine=machine, incarnation=incarnation, version="1", processes=1, objects=0, bytes=0, window=1,
        scan_window=0, holds=[], retries={}, failures={}, endpoints={endpoint: EndpointStatus(0, 1.0, requests, throttled, 0.0)},
        volumes=[disk] if volumes else [],
    )  # fmt: skip


class World:
    """Machines that ask as fast as they may, at a source that takes `taken` requests a second and throttles the rest, and a share `at_random` of all."""

    def __init__(self, machines, wanted=5000.0, taken=float("inf"), at_random=0.0):
        self.sharing, self.machines, self.wanted, self.taken = Sharing(), machines, wanted, taken
        self.at_random = at_random
        self.now, self.done, self.throttled = 0.0, 0.0, 0.0
        self.counted = {f"m{number}": [0.0, 0.0] for number in range(machines)}

    def run(self, seconds, limits=LIMITS):
        """Go on in half seconds; return requests and throttled requests a second over the time."""
        requests = throttled = 0.0
        for _ in range(int(seconds * 2)):
            self.now += 0.5
            share = self.sharing.share(limits, self.machines, is_lister=False).requests_per_second
            each = self.wanted / self.machines if share is None else min(share, self.wanted / self.machines)
            refused = max(0.0, 1 - self.taken / max(each * self.machines, 1e-9))
            refused += (1 - refused) * self.at_random
            for name, counts in self.counted.items():
                counts[0] += each / 2
                counts[1] += each / 2 * refused
                self.sharing.see(pulse(name, int(counts[0]), int(counts[1])), self.machines, self.now)
            requests += each * self.machines / 2
            throttled += each * self.machines / 2 * refused
        return requests / seconds, throttled / seconds


@given(st.integers(1, 60), st.floats(1, 1e6))
def test_the_shares_add_up_to_the_limit(machines, rate):
    share = Sharing().share(Limits(None, rate, 8e6), machines, is_lister=False)
    assert share.requests_per_second * machines == pytest.approx(rate)
    assert share.bytes_per_second * machines == pytest.approx(8e6)


def test_no_limit_and_concurrency_and_pause_are_passed_on_as_they_are():
    assert Sharing().share(Limits(concurrency=64, paused=True), 3, is_lister=False) == Limits(64, paused=True)


def test_what_the_lister_uses_is_taken_from_the_others():
    sharing = Sharing()
    for second in range(8):
        sharing.see(pulse("m1", 800 * second), 1, float(second))
        sharing.see(pulse("lister", 100 * second, endpoint="list", volumes=False), 1, float(second) + 0.1)
    assert sharing.share(LIMITS, 1, is_lister=False).requests_per_second == pytest.approx(900, rel=0.03)
    assert sharing.share(LIMITS, 1, is_lister=True).requests_per_second == 500


def test_throttling_seen_by_one_slows_all():
    sharing = Sharing()
    for step in range(8):
        sharing.see(pulse("m1", 500 * step, 50 * step), 3, step / 2)
        for machine in ("m2", "m3"):
            sharing.see(pulse(machine, 500 * step), 3, step / 2)
    share = sharing.share(Limits(), 3, is_lister=False).requests_per_second
    assert share is not None
    assert 500 < share < 1000


def test_after_a_cut_the_source_throttles_nobody():
    world = World(4, taken=1000.0)
    world.run(10, Limits())
    _, throttled = world.run(HOLD_SECONDS - 4, Limits())
    assert world.sharing.cap < 1000
    assert throttled == 0


def test_the_common_level_stays_near_what_the_source_takes_and_throttling_is_rare():
    world = World(4, taken=1000.0)
    world.run(20, Limits())
    requests, throttled = world.run(120, Limits())
    assert 800 < requests - throttled <= 1000
    assert throttled < 0.1 * requests


@pytest.mark.parametrize("share", [0.02, 0.1, 0.3])
def test_refusals_that_come_at_any_rate_do_not_slow_the_machines_for_ever(share):
    world = World(4, at_random=share)
    world.run(60, Limits())
    requests, _ = world.run(60, Limits())
    assert requests > 0.8 * world.wanted


def test_a_limit_is_found_where_some_requests_are_refused_at_any_rate():
    world = World(4, taken=1000.0, at_random=0.1)
    world.run(60, Limits())
    requests, throttled = world.run(120, Limits())
    assert 600 < requests - throttled <= 900
    assert throttled < 0.35 * requests


def test_a_limit_that_comes_after_refusals_at_any_rate_is_found():
    world = World(4, at_random=0.1)
    world.run(60, Limits())
    world.taken, world.at_random = 1000.0, 0.0
    world.run(60, Limits())
    requests, throttled = world.run(120, Limits())
    assert 800 < requests - throttled <= 1000
    assert throttled < 0.15 * requests


def test_the_cap_goes_when_the_source_takes_all_again():
    world = World(3, taken=500.0)
    world.run(10, Limits())
    assert world.sharing.cap is not None
    world.taken = float("inf")
    world.run(120, Limits())
    assert world.sharing.cap is None


def test_a_machine_alone_finds_its_own_level():
    world = World(1, taken=500.0)
    world.run(20, Limits())
    assert world.sharing.cap is None


def test_a_worker_that_starts_again_is_counted_from_there():
    sharing = Sharing()
    for second in range(6):
        incarnation = "one" if second < 3 else "two"
        sharing.see(
            pulse("m1", 10_000 if second < 3 else 5, 9_000 if second < 3 else 4, incarnation=incarnation),
            2,
            float(second),
        )
    assert sharing.cap is None
