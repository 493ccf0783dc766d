"""Objects with URLs of their own: all addresses of each host are used, and a host that does not answer holds up nobody else's objects."""

from collections import Counter

import pytest
from tests.downloader.rig import Rig, names_of

from bucketpull.domain.endpoints import State
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Part
from bucketpull.downloader.hosts import RESOLVED_FROM, WAITED_SECONDS, Hosts
from bucketpull.downloader.parameters import Bounds
from bucketpull.sources.plain import PlainSource
from bucketpull.testing.virtual import Answer

BODY = b"jpeg"
ADDRESSES = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
FAST = Answer(body=BODY, seconds=0.05)
TROUBLES = {
    "silent": Answer(status=0, failure=Reason.CONNECT, seconds=15.0),
    "deaf": Answer(status=0, failure=Reason.TIMEOUT, seconds=60.0),
    "refused": Answer(status=0, failure=Reason.CONNECT, seconds=0.001),
    "reset": Answer(status=0, failure=Reason.RESET, seconds=0.05),
    "error": Answer(503, seconds=0.05),
    "refusals": Answer(429, seconds=0.05),
}
UNANSWERED = {
    **{name: TROUBLES[name] for name in ("silent", "deaf", "refused", "reset")},
    "unknown": Answer(status=0, failure=Reason.DNS, seconds=0.01),
}


class World:
    """`odd` says how single addresses, or hosts, answer."""

    def __init__(self, **odd):
        self.odd = odd
        self.asked = Counter()

    def __call__(self, request):
        host = request.url.split("/")[2]
        self.asked[request.address] += 1
        self.asked[host] += 1
        answer = self.odd.get(request.address) or self.odd.get(host, FAST)
        return answer(request) if callable(answer) else answer


def rig_of(world, names, level=12):
    rig = Rig(world, level=level, source=PlainSource((), "the servers of the list"), names=names)
    rig.mount()
    return rig


def assign(rig, count, hosts=("a.test",), passes=0, first=0):
    """Have so many objects fetched, of hosts in turn."""
    numbers = range(first, first + count)
    names = [b"n%06d" % number for number in numbers]
    urls = [f"http://{hosts[number % len(hosts)]}/{number}" for number in numbers]
    rig.assign([Part(b"", "", names, [len(BODY)] * count, [-1] * count, [], urls)], passes=passes)


def seconds_of(world, count, addresses=ADDRESSES):
    rig = rig_of(world, {"http://a.test": addresses})
    assign(rig, count)
    rig.settle()
    assert (rig.outcomes[0].stored, rig.outcomes[0].failures, rig.outcomes[0].deferred) == (count, [], [])
    return rig.clock.seconds


def test_all_addresses_of_a_host_are_used():
    world = World()
    seconds_of(world, 3000)

    assert min(world.asked[address] for address in ADDRESSES) > 800


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_dead_address_costs_no_object_anything_and_gets_few_requests(trouble):
    world = World(**{ADDRESSES[0]: TROUBLES[trouble]})
    took = seconds_of(world, 6000)

    assert took <= 1.3 * seconds_of(World(), 6000, ADDRESSES[1:])
    assert world.asked[ADDRESSES[0]] <= 0.05 * 6000


def test_an_address_that_is_ten_times_slower_gets_few_requests():
    world = World(**{ADDRESSES[2]: Answer(body=BODY, seconds=0.5)})
    took = seconds_of(world, 6000)

    assert took <= 1.3 * seconds_of(World(), 6000, ADDRESSES[1:])
    assert world.asked[ADDRESSES[2]] <= 0.05 * 6000


def test_an_address_that_refuses_above_a_rate_is_asked_less_and_the_others_are_not():
    world, granted = World(), []
    rig = rig_of(world, {"http://a.test": ADDRESSES})

    def at_most_20_a_second(_):
        now = rig.clock.seconds
        if sum(at > now - 1.0 for at in granted[-20:]) >= 20:
            return Answer(429)
        granted.append(now)
        return FAST

    world.odd[ADDRESSES[0]] = at_most_20_a_second
    assign(rig, 6000)
    rig.settle()

    assert (rig.outcomes[0].stored, rig.outcomes[0].failures, rig.outcomes[0].deferred) == (6000, [], [])
    assert rig.clock.seconds <= 1.3 * seconds_of(World(), 6000, ADDRESSES[1:])
    assert world.asked[ADDRESSES[0]] < 0.25 * 6000


def test_an_address_that_is_back_is_used_again():
    world = World(**{ADDRESSES[1]: TROUBLES["refused"]})
    rig = rig_of(world, {"http://a.test": ADDRESSES})
    assign(rig, 60_000)
    rig.run(lambda: rig.clock.seconds > 20)
    assert list(rig.judge.away()["files"]) == [f"a.test ({ADDRESSES[1]})"]
    del world.odd[ADDRESSES[1]]
    rig.run(lambda: rig.clock.seconds > 90)
    before = world.asked[ADDRESSES[1]]
    rig.run(lambda: rig.clock.seconds > 100)

    assert world.asked[ADDRESSES[1]] - before > 300
    assert "files" not in rig.judge.away()


@pytest.mark.parametrize("trouble", TROUBLES)
def test_a_host_that_does_not_answer_holds_up_no_object_of_others(trouble):
    """Its own objects are put off: they cost no time-out each."""
    hosts = ("a.test", "b.test", "c.test")
    world = World(**{"b.test": TROUBLES[trouble]})
    rig = rig_of(world, {})
    assign(rig, 9000, hosts)
    rig.settle()

    alone = rig_of(World(), {})
    assign(alone, 6000, hosts[::2])
    alone.settle()

    assert rig.outcomes[0].stored == 6000
    assert len(names_of(rig.outcomes[0].deferred)) == 3000
    assert rig.clock.seconds <= 1.3 * alone.clock.seconds + 8.0
    assert world.asked["b.test"] <= 0.05 * 9000
    assert rig.judge.standings()["files"].state is State.UP
    [(label, why)] = rig.judge.away()["files"].items()
    assert (label, why.count(str(Reason.TIMEOUT)) < 2) == ("b.test", True)


def test_a_host_that_stays_dead_is_given_up_in_the_last_pass_and_the_job_ends():
    world = World(**{"b.test": TROUBLES["deaf"]})
    rig = rig_of(world, {})
    assign(rig, 1000)
    rig.settle()
    assign(rig, 2000, ("b.test",), passes=3, first=1000)
    rig.run(lambda: len(rig.outcomes) == 2)

    assert {each.reason for each in rig.outcomes[1].failures} == {Reason.TIMEOUT}
    assert len(rig.outcomes[1].failures) == 2000
    assert rig.clock.seconds < 600


def test_a_host_that_thinks_for_long_each_time_is_fetched_from():
    world = World(**{"b.test": Answer(body=BODY, seconds=12.0)})
    rig = rig_of(world, {})
    assign(rig, 900, ("a.test", "b.test", "c.test"))
    rig.settle()
    for passes in (1, 2):
        late = rig.outcomes[-1].deferred
        assign(rig, len(names_of(late)), ("b.test",), passes=passes, first=1000 * passes)
        rig.run(lambda seen=passes: len(rig.outcomes) == seen + 1)
        rig.run(lambda until=rig.clock.seconds + 60: rig.clock.seconds > until)

    assert sum(outcome.stored for outcome in rig.outcomes) == 900


@pytest.mark.parametrize("trouble", TROUBLES)
def test_dead_hosts_at_the_head_of_a_list_make_way_for_others(trouble):
    """While nothing had come from any host, the first objects alone were tried, for hours. An outage of minutes is waited for."""
    dead = [f"d{number}.test" for number in range(40)]
    world = World(**dict.fromkeys(dead, TROUBLES[trouble]))
    rig = rig_of(world, {})
    assign(rig, 1000, dead[:1])
    assign(rig, 1000, dead, first=1000)
    assign(rig, 1000, first=2000)
    rig.run(lambda: sum(outcome.stored for outcome in rig.outcomes) == 1000)

    assert rig.clock.seconds < 3 * WAITED_SECONDS
    assert world.asked["d0.test"] < 1500


def assigned(rig, hosts, each=1000):
    """Have one object of each of these hosts fetched, so many in a batch."""
    for first in range(0, len(hosts), each):
        numbers = range(first, min(first + each, len(hosts)))
        urls = [f"http://{hosts[number]}/{number}" for number in numbers]
        names = [b"n%06d" % number for number in numbers]
        rig.assign([Part(b"", "", names, [len(BODY)] * len(urls), [-1] * len(urls), [], urls)])


@pytest.mark.parametrize("batch", [500, 100_000])
@pytest.mark.parametrize(("dead", "lines"), [(1, 20), (1, 5000), (3, 20), (50, 20), (50, 200)])
@pytest.mark.parametrize("trouble", UNANSWERED)
def test_hosts_that_never_answer_cost_those_behind_them_seconds(trouble, dead, lines, batch):
    """Of the objects before them: the first is seen to be dead while others are asked."""
    names = [f"d{number}.test" for number in range(dead)]
    world = World(**dict.fromkeys(names, UNANSWERED[trouble]))
    rig = rig_of(world, {})
    assigned(rig, [name for name in names for _ in range(lines)] + ["a.test"] * 1000, batch)
    rig.run(lambda: world.asked["a.test"] >= 1000)

    assert rig.clock.seconds < 5.0 + (1.0 if dead < 5 else 12.0)
    assert sum(world.asked[name] for name in names) < 12 * dead


def test_objects_of_a_dead_host_that_are_too_many_to_wait_make_way():
    world = World(**{"d.test": UNANSWERED["deaf"]})
    rig = Rig(
        world,
        level=12,
        source=PlainSource((), "the servers of the list"),
        bounds=Bounds(stranded=500),
    )
    rig.mount()
    assigned(rig, ["d.test"] * 6000 + ["a.test"] * 1000)
    rig.run(lambda: world.asked["a.test"] >= 1000)

    assert rig.clock.seconds < 30
    assert world.asked["d.test"] < 10


def test_a_host_whose_first_body_takes_long_holds_back_its_objects_alone():
    """What has begun to come is no silence: nothing is put off for it."""
    rig = rig_of(World(**{"b.test": Answer(body=BODY, seconds=7.0)}), {})
    rig.fetcher.waits = lambda *_: (0.0, 0)
    assigned(rig, ["a.test", "b.test"] * 500)
    rig.settle()

    assert (rig.outcomes[-1].deferred, sum(outcome.stored for outcome in rig.outcomes)) == ([], 1000)


def test_in_the_last_pass_no_object_waits_for_another_of_its_host():
    """One after the other they would take a time-out each."""
    world = World(**{"b.test": TROUBLES["deaf"]})
    rig = rig_of(world, {})
    assign(rig, 10, ("b.test",), passes=3)
    rig.run(lambda: world.asked["b.test"] == 10 or rig.clock.seconds > 60)

    assert rig.clock.seconds < 1


def test_a_host_that_dies_for_good_makes_way_for_others():
    world = World()
    rig = rig_of(world, {})
    assign(rig, 1000)
    rig.settle()
    world.odd["a.test"] = TROUBLES["refused"]
    assign(rig, 4000, first=1000)
    assign(rig, 1000, ("b.test",), first=5000)
    rig.run(lambda: sum(outcome.stored for outcome in rig.outcomes) == 2000)

    assert WAITED_SECONDS < rig.clock.seconds < 2 * WAITED_SECONDS


def test_in_the_last_pass_an_outage_of_all_hosts_is_waited_for():
    hosts = ("a.test", "b.test")
    world = World(**dict.fromkeys(hosts, TROUBLES["refused"]))
    rig = rig_of(world, {})
    assign(rig, 2000, hosts, passes=3)
    rig.run(lambda: rig.clock.seconds > 3600)
    assert rig.outcomes == []
    world.odd.clear()
    rig.settle()

    assert rig.outcomes[0].stored == 2000
    assert rig.clock.seconds < 3700


def test_where_the_only_host_is_dead_its_objects_wait_for_it():
    world = World()
    rig = rig_of(world, {"http://a.test": ADDRESSES})
    assign(rig, 20_000)
    rig.run(lambda: rig.clock.seconds > 5)
    world.odd.update(dict.fromkeys(ADDRESSES, TROUBLES["refused"]))
    rig.run(lambda: rig.clock.seconds > 60)
    assert rig.judge.standings()["files"].state is State.DOWN
    assert sum(world.asked[address] for address in ADDRESSES) < 20_000
    world.odd.clear()
    rig.settle()

    assert (rig.outcomes[0].stored, rig.outcomes[0].failures, rig.outcomes[0].deferred) == (20_000, [], [])


def test_a_list_of_many_hosts_asks_for_the_addresses_of_those_alone_that_have_many_objects():
    world = World()
    asked = []
    rig = rig_of(world, {})
    rig.fetcher.resolve = lambda site, found: asked.append(site)
    assign(rig, 4000, [f"h{n}.test" for n in range(2000)])
    assign(rig, 4000, ["a.test", "b.test"], first=10_000)
    rig.run(lambda: len(rig.outcomes) == 2)

    assert sorted(asked)[:2] == ["http://a.test", "http://b.test"]
    assert len(asked) < 10


def test_the_addresses_of_a_host_are_asked_for_from_its_16th_request_on():
    """A look at whether it is well is no request."""
    hosts, url = Hosts(), "http://a.test/1"
    for _ in range(RESOLVED_FROM - 1):
        assert hosts.trouble(url, 0.0, False) is None
        hosts.start(url, 0.0)
    assert hosts.unresolved(0.0) == []
    hosts.start(url, 0.0)
    assert hosts.unresolved(0.0) == ["http://a.test"]


def test_the_only_host_is_not_left_alone_while_it_answers_the_look_at_it():
    """A server with a short queue loses many connections at once; those that asked are told so a minute later."""
    lost = {f"http://a.test/{number}" for number in range(200, 400)}

    def answer(request):
        if request.url in lost:
            lost.discard(request.url)
            return TROUBLES["deaf"]
        return FAST

    rig = rig_of(World(**{"a.test": answer}), {}, level=400)
    assign(rig, 400)
    rig.settle()
    assert (rig.outcomes[-1].deferred, rig.outcomes[-1].failures, rig.outcomes[-1].rest) == ([], [], [])
    assert sum(outcome.stored for outcome in rig.outcomes) == 400
