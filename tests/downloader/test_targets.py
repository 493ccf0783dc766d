"""Several URLs of one endpoint, and several addresses of one name: all are used, each by what it bears; what is dead costs next to nothing."""

import heapq
import random
from collections import Counter

import msgspec
import pytest
from tests.downloader.rig import Rig

from bucketpull.domain.endpoints import State
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Position
from bucketpull.domain.pacing import Limiter
from bucketpull.downloader.targets import Targets
from bucketpull.testing.memory import MemorySource, part_of
from bucketpull.testing.virtual import Answer

BODY = b"jpeg"
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
FAST = Answer(body=BODY, seconds=0.05)
TROUBLES = {
    "silent": Answer(status=0, failure=Reason.CONNECT, seconds=15.0),
    "refused": Answer(status=0, failure=Reason.CONNECT, seconds=0.001),
    "reset": Answer(status=0, failure=Reason.RESET, seconds=0.05),
    "certificate": Answer(status=0, failure=Reason.TLS, seconds=0.1),
    "error": Answer(503, seconds=0.05),
    "forbidden": Answer(403, seconds=0.05),
}


class World:
    """`odd` says how single addresses answer."""

    def __init__(self, **odd):
        self.odd = odd
        self.asked = Counter()

    def __call__(self, request):
        self.asked[request.address] += 1
        answer = self.odd.get(request.address, FAST)
        return answer(request) if callable(answer) else answer


def rig_of(world, addresses=ADDRESSES, level=12, routes=("edge",)):
    rig = Rig(world, routes=routes, level=level, names={"edge:": addresses, "list:": addresses})
    rig.mount()
    return rig


def seconds_of(rig, count):
    rig.assign([part_of(b"d", {b"n%05d" % number: len(BODY) for number in range(count)})])
    rig.settle()
    assert (rig.outcomes[0].stored, rig.outcomes[0].failures, rig.outcomes[0].deferred) == (count, [], [])
    return rig.clock.seconds


def healthy(count, addresses=2, **options):
    return seconds_of(rig_of(World(), ADDRESSES[:addresses], **options), count)


def test_all_addresses_of_a_name_are_used_alike():
    world = World()
    seconds_of(rig_of(world), 3000)

    assert set(ADDRESSES) <= set(world.asked)
    assert min(world.asked[address] for address in ADDRESSES) > 800


def test_one_request_at_a_time_goes_to_all_addresses_that_are_about_as_quick():
    world = World(**{ADDRESSES[2]: Answer(body=BODY, seconds=0.07)})
    seconds_of(rig_of(world, level=1), 1000)

    assert min(world.asked[address] for address in ADDRESSES) > 100


def test_one_slow_answer_does_not_keep_an_address_from_being_used():
    """It was the first answer of that address: nothing else was known of it."""
    world = World()

    def slow_at_first(_):
        return Answer(body=BODY, seconds=3.0) if world.asked[ADDRESSES[0]] == 1 else FAST

    world.odd[ADDRESSES[0]] = slow_at_first
    seconds_of(rig_of(world, level=3), 3000)

    assert world.asked[ADDRESSES[0]] > 600


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_dead_address_costs_no_object_anything_and_gets_few_requests(trouble):
    world = World(**{ADDRESSES[0]: TROUBLES[trouble]})
    rig = rig_of(world, routes=("edge", "origin"))
    took = seconds_of(rig, 6000)

    assert took <= 1.3 * healthy(6000)
    assert world.asked[ADDRESSES[0]] <= 0.05 * 6000
    assert rig.judge.standings()["edge"].state is State.UP
    assert list(rig.judge.away()["edge"]) == [f" ({ADDRESSES[0]})"]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_one_that_dies_under_way_is_tried_now_and_then_and_used_again_when_it_is_back(trouble):
    world = World()
    rig = rig_of(world, routes=("edge", "origin"))
    parts = [part_of(b"d", {b"n%05d" % number: len(BODY) for number in range(60_000)})]
    rig.assign(parts)
    rig.run(lambda: rig.clock.seconds > 10)
    world.odd[ADDRESSES[1]], before = TROUBLES[trouble], world.asked[ADDRESSES[1]]
    rig.run(lambda: rig.clock.seconds > 130)
    assert world.asked[ADDRESSES[1]] - before < 50
    del world.odd[ADDRESSES[1]]
    rig.run(lambda: rig.clock.seconds > 200)
    assert "edge" not in rig.judge.away()
    before = world.asked.copy()
    rig.run(lambda: rig.clock.seconds > 210)

    assert world.asked[ADDRESSES[1]] - before[ADDRESSES[1]] > 500


def test_one_that_is_ten_times_slower_gets_few_requests_and_slows_nobody_down():
    world = World(**{ADDRESSES[2]: Answer(body=BODY, seconds=0.5)})
    took = seconds_of(rig_of(world), 6000)

    assert took <= 1.3 * healthy(6000)
    assert world.asked[ADDRESSES[2]] <= 0.05 * 6000


def test_one_that_is_ten_times_slower_gets_few_requests_also_where_this_machine_is_the_bottleneck():
    """The quick ones have as many requests under way as bring more, and the slow one would bear any number."""
    world = World(**{ADDRESSES[2]: Answer(body=BODY, seconds=0.5)})
    busy_until, noise = 0.0, random.Random(3)

    def through_this_machine(request):
        nonlocal busy_until
        now = rig.clock.seconds
        busy_until = max(now, busy_until) + 0.001
        answer = world(request)
        seconds = answer.seconds * (1.0 + noise.random()) + busy_until - now
        return msgspec.structs.replace(answer, seconds=seconds)

    rig = rig_of(through_this_machine, level=None)
    took = seconds_of(rig, 20_000)

    assert took <= 1.3 * 20
    assert world.asked[ADDRESSES[2]] <= 0.05 * 20_000


def test_a_quick_one_that_fails_often_keeps_nothing_from_one_that_is_slower_and_well():
    world = World(**{ADDRESSES[1]: Answer(body=BODY, seconds=0.5)})

    def often_fails(_):
        return FAST if world.asked[ADDRESSES[0]] % 4 else Answer(503, seconds=0.05)

    world.odd[ADDRESSES[0]] = often_fails
    rig = rig_of(world, addresses=ADDRESSES[:2], level=None)
    rig.assign([part_of(b"d", {b"n%05d" % number: len(BODY) for number in range(20_000)})])
    rig.settle()

    assert world.asked[ADDRESSES[1]] > 5_000


def test_one_that_refuses_above_a_rate_is_asked_less_and_the_others_are_not():
    world = World()
    rig = rig_of(world)
    granted = []

    def at_most_20_a_second(_):
        now = rig.clock.seconds
        if sum(at > now - 1.0 for at in granted[-20:]) >= 20:
            return Answer(429)
        granted.append(now)
        return FAST

    world.odd[ADDRESSES[0]] = at_most_20_a_second
    took = seconds_of(rig, 6000)

    assert took <= 1.3 * healthy(6000)
    assert world.asked[ADDRESSES[0]] < 0.25 * 6000


def test_where_all_addresses_are_dead_the_endpoint_is():
    world = World(**dict.fromkeys(ADDRESSES, TROUBLES["refused"]))
    rig = rig_of(world, routes=("edge", "origin"))
    seconds_of(rig, 2000)

    assert rig.judge.standings()["edge"].state is State.DOWN
    assert sum(world.asked[address] for address in ADDRESSES) < 200


def test_an_outage_of_all_addresses_fails_nothing_and_ends_with_all_in_use():
    dead = dict.fromkeys([*ADDRESSES, ""], TROUBLES["refused"])
    world = World()
    rig = rig_of(world)
    rig.assign([part_of(b"d", {b"n%05d" % number: len(BODY) for number in range(8000)})])
    rig.run(lambda: rig.clock.seconds > 5)
    world.odd |= dead
    rig.run(lambda: rig.clock.seconds > 80)
    world.odd.clear()
    before = rig.meter.objects
    rig.run(lambda: rig.clock.seconds > 110)
    assert rig.meter.objects > before
    rig.settle()

    assert (rig.outcomes[0].stored, rig.outcomes[0].failures) == (8000, [])


@pytest.mark.parametrize("trouble", ["forbidden", "refused"])
def test_an_address_that_gave_nothing_since_is_not_told_as_back_when_its_endpoint_is(trouble):
    """After an outage of all addresses each is tried again; one that still fails was never used again."""
    world = World(**{ADDRESSES[0]: TROUBLES[trouble]})
    rig = rig_of(world)
    rig.assign([part_of(b"d", {b"n%05d" % number: len(BODY) for number in range(60_000)})])
    rig.run(lambda: rig.clock.seconds > 5)
    world.odd |= dict.fromkeys([*ADDRESSES[1:], ""], TROUBLES["refused"])
    rig.run(lambda: rig.clock.seconds > 60)
    assert rig.judge.standings()["edge"].state is State.DOWN
    for address in (*ADDRESSES[1:], ""):
        del world.odd[address]
    label = f" ({ADDRESSES[0]})"
    told_away = []
    rig.run(lambda: told_away.append(label in rig.judge.away().get("edge", {})) or rig.clock.seconds > 90)

    assert rig.judge.standings()["edge"].state is State.UP
    assert all(told_away)


def test_an_address_that_its_name_no_longer_has_is_not_told_as_back():
    targets = Targets(("edge://a",), Limiter())
    targets.resolved("edge://a", ADDRESSES)
    dead = targets.all[1]
    dead.leave(10.0, Reason.CONNECT, "refused")
    targets.resolved("edge://a", ADDRESSES[1:])

    assert list(targets.away(20.0)) == [dead.label]


def test_a_listing_goes_on_by_the_addresses_that_are_left():
    world = World(**{ADDRESSES[0]: TROUBLES["reset"]})
    rig = rig_of(world)
    rig.memory.pages = {
        (b"%d" % number, ""): msgspec.structs.replace(
            rig.memory.pages[b"", ""], part=part_of(b"%d" % number, {b"a": 1})
        )
        for number in range(60)
    }
    rig.scan([Position(b"%d" % number) for number in range(60)])
    rig.run(lambda: rig.listed() == 60)

    assert [failure for receipt in rig.receipts for failure in receipt.failures] == []
    assert rig.clock.seconds < 10


class TwoSites(MemorySource):
    """The edge has two URLs."""

    endpoints = (
        MemorySource.endpoints[0],
        msgspec.structs.replace(MemorySource.endpoints[1], sites=("edge://a", "edge://b")),
        MemorySource.endpoints[2],
    )

    def object_request(self, wanted, endpoint, site, now, start=0, version=""):
        request = super().object_request(wanted, endpoint, site, now, start, version)
        return msgspec.structs.replace(request, url=request.url.replace("edge:", site + "/"))


@pytest.mark.parametrize("count", [1, 3000])
def test_of_two_families_one_that_leads_nowhere_keeps_the_first_requests_from_nothing(count):
    addresses = ["fd00::dead", "10.0.0.1"]
    world = World(**{"fd00::dead": TROUBLES["silent"]})
    seconds = seconds_of(rig_of(world, addresses), count)

    assert seconds < seconds_of(rig_of(World(), addresses), count) + 5.0
    if count == 1:
        assert seconds < 1.0


def test_several_urls_of_an_endpoint_are_used_and_a_dead_one_is_left_alone():
    asked = Counter()

    def answer(request):
        asked[request.url[:8]] += 1
        return TROUBLES["refused"] if request.url.startswith("edge://a") else FAST

    rig = Rig(answer, level=12, source=TwoSites())
    rig.mount()
    took = seconds_of(rig, 3000)

    assert took <= 1.3 * healthy(3000, 1)
    assert asked["edge://a"] <= 0.05 * 3000
    assert asked["edge://b"] >= 2900
    assert list(rig.judge.away()["edge"]) == ["a"]


def test_what_all_answers_wait_in_this_machine_is_no_reason_to_ask_a_slow_address():
    """30 transfers at a time, then 400, of which the machine takes up one every 0.5 ms, while the addresses bear any number."""
    targets = Targets(("http://a.test",), Limiter(fixed=1 << 20))
    targets.resolved("http://a.test", ADDRESSES)
    for target in targets:
        target.is_listed = bool(target.address)
    asked, answers, free_at, now = Counter(), [], 0.0, 0.0
    while asked.total() < 20_000:
        level = 30 if now < 0.5 else 400
        target = targets.choose(now) if len(answers) < level else None
        if target is None:
            came, _, target, started = heapq.heappop(answers)
            now = free_at = max(came, free_at + 0.0005)
            target.limiter.finished(now, None, now - started)
            target.finished(now, None, now - started, "")
            continue
        asked[target.address] += 1
        target.limiter.started(now)
        came = now + (0.05 if target.address == ADDRESSES[2] else 0.005)
        heapq.heappush(answers, (came, asked.total(), target, now))

    assert asked[ADDRESSES[2]] <= 0.12 * 20_000
    assert min(asked[address] for address in ADDRESSES[:2]) >= 0.3 * 20_000
