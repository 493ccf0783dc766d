"""An endpoint in trouble costs no object anything: what fails for all is the endpoint's fault, and the objects go elsewhere or wait."""

from collections import Counter

import pytest
from tests.downloader.rig import Rig, names_of

from bucketpull.domain.endpoints import State
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Page, Position
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer

BODY = b"jpeg"
HANGS = Answer(status=0, failure=Reason.CONNECT, seconds=15.0)
DEATHS = {
    "silent": HANGS,
    "refused": Answer(status=0, failure=Reason.CONNECT, seconds=0.001),
    "reset": Answer(status=0, failure=Reason.RESET, seconds=0.001),
    "certificate": Answer(status=0, failure=Reason.TLS, seconds=0.01),
    "error": Answer(503),
    "late error": Answer(503, seconds=5.0),
    "forbidden": Answer(403),
    "absent": Answer(404),
    "elsewhere": Answer(302),
}


def parts(count, directory=b"d"):
    return [part_of(directory, {b"n%04d" % number: len(BODY) for number in range(count)})]


def asked(rig, endpoint):
    return sum(request.url.startswith(endpoint) for request in rig.fetcher.requests)


class World:
    """The edge is as `edge` says, the origin as `origin`; both may change while a rig runs."""

    def __init__(self, edge=None, origin=None):
        self.edge = edge
        self.origin = origin
        self.odd = {}

    def __call__(self, request):
        for name, answer in self.odd.items():
            if name in request.url:
                return answer
        answer = self.edge if request.url.startswith("edge:") else self.origin
        return answer or Answer(body=BODY, seconds=0.05)


def seconds_of(rig, count, number=1):
    began = rig.clock.seconds
    rig.assign(parts(count, b"%d" % number), id=number)
    rig.run(lambda: any(outcome.id == number for outcome in rig.outcomes))
    return rig.clock.seconds - began


def alone(count):
    rig = Rig(World(), routes=("origin",), level=4)
    rig.mount()
    return seconds_of(rig, count)


@pytest.mark.parametrize("death", DEATHS)
def test_an_edge_that_is_dead_from_the_start_is_replaced_by_the_origin(death):
    rig = Rig(World(edge=DEATHS[death]), level=4)
    rig.mount()

    took = seconds_of(rig, 3000)

    assert rig.outcomes[-1].stored == 3000
    assert took <= 1.3 * alone(3000)
    assert asked(rig, "edge:") < 150
    assert rig.judge.standings()["edge"].state in {State.DOWN, State.REFUSING}


@pytest.mark.parametrize("death", DEATHS)
def test_an_edge_that_dies_under_way_is_replaced_and_used_again_when_it_is_back(death):
    world = World()
    rig = Rig(world, level=4)
    rig.mount()
    seconds_of(rig, 1000)
    before, world.edge = asked(rig, "edge:"), DEATHS[death]

    took = seconds_of(rig, 3000, 2)
    assert took <= 1.3 * alone(3000)
    assert asked(rig, "edge:") - before < 150
    world.edge = None
    back = rig.clock.seconds
    rig.assign(parts(8000, b"3"), id=3)
    rig.run(lambda: rig.judge.standings()["edge"].state is State.UP)

    assert rig.clock.seconds - back < 65
    rig.settle(3)
    assert [outcome.stored for outcome in rig.outcomes] == [1000, 3000, 8000]
    assert rig.fatals == []


@pytest.mark.parametrize("death", ["silent", "refused", "reset", "certificate", "error"])
def test_where_the_origin_and_its_listing_are_dead_the_edge_goes_on_and_listing_waits(death):
    world = World(origin=DEATHS[death])
    rig = Rig(world, level=4)
    rig.mount()
    folders = [Position(b"%d" % number) for number in range(5)]
    rig.memory.pages |= {
        (folder.directory, ""): Page(part_of(folder.directory, {b"a": 1}), [], []) for folder in folders
    }
    world.origin = None
    rig.scan([Position(b"")])
    rig.run(lambda: rig.receipts)
    rig.receipts.clear()
    world.origin = DEATHS[death]
    rig.scan(folders, 2)

    took = seconds_of(rig, 3000)
    rig.run(lambda: rig.clock.seconds > 3600)

    assert (rig.outcomes[0].stored, rig.outcomes[0].failures) == (3000, [])
    assert took <= 1.3 * alone(3000)
    assert asked(rig, "origin:") < 150
    assert (rig.receipts, rig.fatals) == ([], [])
    world.origin = None
    back = rig.clock.seconds
    rig.run(lambda: rig.receipts)
    assert rig.clock.seconds - back < 65
    assert (len(rig.receipts[0].pages), rig.receipts[0].failures) == (5, [])


@pytest.mark.parametrize("death", ["refused", "reset", "certificate", "error"])
def test_an_outage_of_everything_is_waited_for_and_no_object_fails_for_it(death):
    world = World(DEATHS[death], DEATHS[death])
    rig = Rig(world, level=8)
    rig.mount()
    rig.assign(parts(500))
    rig.run(lambda: rig.clock.seconds > 3600)

    assert rig.outcomes == []
    assert rig.fatals == []
    assert len(rig.fetcher.requests) < 3600 * 3
    world.edge = world.origin = None
    rig.settle()
    assert rig.clock.seconds < 3600 + 30
    assert (rig.outcomes[0].stored, rig.outcomes[0].failures) == (500, [])


def test_a_silent_outage_of_everything_fails_no_object_either():
    world = World(HANGS, HANGS)
    rig = Rig(world, level=8)
    rig.mount()
    rig.assign(parts(200))
    rig.run(lambda: rig.clock.seconds > 3600)
    world.edge = world.origin = None
    rig.settle()

    assert rig.clock.seconds < 3630
    assert rig.outcomes[0].stored == 200


def test_after_a_restart_with_stubborn_objects_only_the_job_ends_because_the_listing_answers():
    """Nothing ever came in this run: no object proves that the endpoints are well."""
    rig = Rig(lambda request: Answer(200 if request.url.startswith("list:") else 503), level=8)
    rig.mount()
    for passes in range(4):
        rig.assign(parts(40), id=passes, passes=passes)
        rig.settle(passes + 1)

    assert rig.clock.seconds < 1800
    assert [len(names_of(outcome.deferred)) for outcome in rig.outcomes] == [40, 40, 40, 0]
    assert {failure.reason for failure in rig.outcomes[-1].failures} == {Reason.SERVER_ERROR}
    assert asked(rig, "list:") < 60


def test_an_outage_across_a_restart_fails_nothing_however_long_it_lasts():
    world = World(Answer(503), Answer(503))
    rig = Rig(world, level=8)
    rig.mount()
    rig.assign(parts(40))
    rig.run(lambda: rig.clock.seconds > 7200)
    assert rig.outcomes == []
    assert len(rig.fetcher.requests) < 7200 * 3

    world.edge = world.origin = None
    rig.settle()
    assert (rig.outcomes[0].stored, rig.outcomes[0].failures) == (40, [])
    assert rig.clock.seconds < 7200 + 30


def test_stubborn_objects_are_at_fault_themselves_and_hold_nobody_up():
    world = World()
    world.odd = {"n00": Answer(503)}
    rig = Rig(world, routes=("origin",), level=8)
    rig.mount()
    took = seconds_of(rig, 2000)
    (outcome,) = rig.outcomes

    assert outcome.stored == 1900
    assert len(names_of(outcome.deferred)) == 100
    assert took < 60
    assert rig.judge.standings()["origin"].state is State.UP


def test_a_part_that_the_edge_refuses_comes_from_the_origin_and_the_edge_goes_on_with_the_others():
    world = World()
    world.odd = {"edge:video/": Answer(403)}
    rig = Rig(world, level=8)
    rig.mount()
    rig.assign([*parts(200, b"photos"), *parts(500, b"video"), *parts(1300, b"photos2")], id=1)
    rig.settle()

    assert rig.outcomes[0].stored == 2000
    assert rig.judge.standings()["edge"].state is State.UP
    assert rig.fatals == []
    assert asked(rig, "edge:photos2/") == 1300
    assert rig.clock.seconds < 2 * alone(2000) * 4 / 8


def test_a_new_folder_that_the_edge_does_not_know_does_not_end_the_job():
    world = World()
    world.odd = {"edge:new/": Answer(404)}
    rig = Rig(world, level=8)
    rig.mount()
    rig.assign(parts(300, b"new"), id=1)
    rig.settle()
    rig.assign(parts(300, b"old"), id=2)
    rig.settle(2)

    assert [outcome.stored for outcome in rig.outcomes] == [300, 300]
    assert rig.fatals == []


@pytest.mark.parametrize(
    ("status", "reason"), [(403, Reason.FORBIDDEN), (302, Reason.REDIRECTED), (404, Reason.MISSING)]
)
def test_an_edge_without_an_origin_that_refuses_everything_ends_the_job_within_seconds(status, reason):
    rig = Rig(World(edge=Answer(status)), routes=("edge",), level=8)
    rig.mount()
    rig.assign(parts(12_000))
    rig.run(lambda: rig.fatals, 1000)

    ((found, words),) = rig.fatals
    assert found is reason
    assert "the edge" in words
    assert rig.clock.seconds < 10
    assert len(rig.fetcher.requests) < 200


def test_credentials_that_give_nothing_end_the_job_within_seconds():
    rig = Rig(World(origin=Answer(401)), routes=("origin",), level=8)
    rig.mount()
    rig.assign(parts(12_000))
    rig.run(lambda: rig.fatals, 1000)

    assert rig.fatals[0][0] is Reason.CREDENTIALS
    assert rig.clock.seconds < 5
    assert len(rig.fetcher.requests) < 100


def test_a_few_objects_that_are_refused_everywhere_are_failures_and_the_job_goes_on():
    world = World()
    world.odd = {f"n{number:04}": Answer(403) for number in range(0, 2000, 200)}
    rig = Rig(world, level=8)
    rig.mount()
    rig.assign(parts(2000))
    rig.settle()
    (outcome,) = rig.outcomes

    assert outcome.stored == 1990
    assert Counter(failure.reason for failure in outcome.failures) == {Reason.FORBIDDEN: 10}
    assert rig.fatals == []


@pytest.mark.parametrize("throttled", [0, 3])
def test_an_origin_that_is_asked_only_for_what_the_edge_refuses_is_not_said_to_refuse_everything(throttled):
    """The first answers about others are throttled, or slow."""

    class Busy(World):
        left = throttled

        def __call__(self, request):
            answer = super().__call__(request)
            if request.url.startswith("edge:") or answer.status != 200:
                return answer
            self.left -= 1
            return Answer(429) if self.left >= 0 else Answer(body=BODY, seconds=1.0 if throttled else 3.0)

    world = Busy()
    world.odd = {f"n{number:04}": Answer(403, seconds=0.05) for number in range(0, 2000, 10)}
    rig = Rig(world, level=8)
    rig.mount()
    rig.assign(parts(2000))
    states = set()
    rig.run(lambda: states.add(rig.judge.standings()["origin"].state) or rig.outcomes)

    assert State.REFUSING not in states
    assert sum(len(outcome.failures) for outcome in rig.outcomes) == 200


def test_the_wait_that_a_dead_service_asks_for_is_heeded_whatever_the_status():
    rig = Rig(World(origin=Answer(503, headers=(("Retry-After", "7"),))), routes=("origin",), level=32)
    rig.mount()
    rig.assign(parts(2000))
    rig.run(lambda: rig.clock.seconds > 21)

    assert len(rig.fetcher.requests) < 150


@pytest.mark.parametrize("odd", [(1, 7, 90), (1, 2, 3), tuple(range(40, 60))])
def test_a_huge_wait_asked_for_by_a_few_objects_does_not_hold_the_others(odd):
    """Not even where they follow each other, and nothing comes between them."""
    world = World()
    world.odd = {f"n{number:04}": Answer(503, headers=(("Retry-After", "999999"),)) for number in odd}
    rig = Rig(world, routes=("origin",), level=8)
    rig.mount()
    rig.assign(parts(2000))
    rig.run(lambda: rig.clock.seconds > 60)

    assert rig.meter.objects == 2000 - len(odd)


def test_a_huge_wait_asked_for_by_a_few_objects_does_not_hold_the_job():
    world = World()
    world.odd = {f"n{number:04}": Answer(503, headers=(("Retry-After", "999999"),)) for number in (1, 7, 90)}
    rig = Rig(world, routes=("origin",), level=8)
    rig.mount()
    rig.assign(parts(2000))
    rig.run(lambda: sum(outcome.stored for outcome in rig.outcomes) or rig.clock.seconds > 3000)
    rig.settle()

    assert rig.clock.seconds < 5 * 300 + 60
    assert rig.outcomes[0].stored == 1997


@pytest.mark.parametrize("asked", [(), (("Retry-After", "7"),)], ids=["error", "asked-to-wait"])
def test_after_an_outage_the_pace_is_what_it_was_within_ten_seconds(asked):
    well = Answer(body=BODY, seconds=0.5)
    world = World(origin=well)
    rig = Rig(world, routes=("origin",), level=None)
    rig.mount()
    rig.assign(parts(40_000))

    def stored_within(seconds):
        before, until = rig.meter.objects, rig.clock.seconds + seconds
        rig.run(lambda: rig.clock.seconds > until)
        return rig.meter.objects - before

    stored_within(6)
    rate = stored_within(1)
    world.origin = Answer(503, headers=asked)
    stored_within(20)
    world.origin = well
    stored_within(10)

    assert stored_within(1) >= 0.8 * rate > 500


def test_connections_that_are_reset_above_a_number_lower_the_level():
    def answer(_):
        over = rig.fetcher.in_flight > 10
        return (
            Answer(status=0, failure=Reason.RESET, seconds=0.005) if over else Answer(body=BODY, seconds=0.05)
        )

    rig = Rig(answer, routes=("origin",), level=None)
    rig.mount()
    rig.assign(parts(3000))
    rig.settle()

    assert rig.outcomes[0].stored == 3000
    assert rig.clock.seconds < 5 * 3000 / (10 / 0.05)
    assert len(rig.fetcher.requests) < 2 * 3000


REFUSED = Answer(429, seconds=0.02)
MIX = (REFUSED, Answer(503, seconds=0.02), Answer(status=0, failure=Reason.RESET, seconds=0.02))


def _seconds(is_listing, at_first=()):
    """Return how long 3,000 pages or objects take of a source that bears 1,000 a second.

    All first requests but a few are answered as told, in turn.
    """

    def answer(request):
        is_first = request.url not in known
        known.add(request.url)
        if at_first and is_first and len(known) > 10:
            return at_first[len(known) % len(at_first)]
        return Answer(body=BODY, seconds=max(0.02, rig.fetcher.in_flight / 1000))

    known: set[str] = set()
    folders = {(b"d%d" % number, ""): Page(part_of(b"d%d" % number, {}), [], []) for number in range(3000)}
    folders[b"", ""] = Page(part_of(b"", {}), [], [])  # which is asked for as a witness
    rig = Rig(answer, routes=("origin",), level=None, pages=folders)
    if is_listing:
        rig.scan([Position(directory) for directory, _ in folders])
        rig.run(lambda: rig.listed() == len(folders))
    else:
        rig.mount()
        rig.assign(parts(3000))
        rig.settle()
    return rig.clock.seconds


@pytest.mark.parametrize("at_first", [(REFUSED,), MIX], ids=["refused", "a-mix"])
@pytest.mark.parametrize("is_listing", [False, True], ids=["objects", "pages"])
def test_where_each_first_request_fails_a_job_takes_at_most_three_times_as_long(is_listing, at_first):
    """Retries came at another pace, which was taken for what helped: eight times as long."""
    assert _seconds(is_listing, at_first) <= 3 * _seconds(is_listing)


def test_objects_of_unknown_size_prove_a_service_well_too():
    """A list of URLs without sizes, a few of them of a dead host, never ended."""
    world = World()
    world.odd = {f"n{number:04}": Answer(failure=Reason.CONNECT) for number in range(5)}
    rig = Rig(world, routes=("origin",), level=4)
    rig.mount()
    rig.assign([part_of(b"d", {b"n%04d" % number: -1 for number in range(40)})], passes=9)
    (outcome,) = rig.settle()
    assert (outcome.stored, {failure.reason for failure in outcome.failures}) == (35, {Reason.CONNECT})
    assert rig.clock.seconds < 120
