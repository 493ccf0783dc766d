"""Where one page or one object is all that is left, nothing that differs speaks for it: a probe is asked, and decides."""

import pytest
from tests.downloader.rig import Rig

from bucketpull.domain.endpoints import State
from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Page, Position
from bucketpull.downloader.routing import PROBE_BYTES
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer

BODY = b"jpeg"
OUTAGE_SECONDS = 3600.0
DEATHS = {
    "silent": Answer(status=0, failure=Reason.TIMEOUT, seconds=15.0),
    "refused": Answer(status=0, failure=Reason.CONNECT, seconds=0.001),
    "reset": Answer(status=0, failure=Reason.RESET, seconds=0.001),
    "certificate": Answer(status=0, failure=Reason.TLS, seconds=0.01),
    "error": Answer(503),
    "refusals": Answer(429),
}
SILENT, SILENT_FOR_LONG = (
    Answer(status=0, failure=Reason.TIMEOUT, seconds=seconds) for seconds in (60.0, 300.0)
)
PAGES = {
    (b"", ""): Page(part_of(b"", {b"x": 1}), [b"a"], []),
    (b"a", ""): Page(part_of(b"a", {b"y": 1}), [], []),
}


class Service:
    """All of it is as `dead` says, or else only what has a word of `odd` in its URL."""

    def __init__(self, dead=None):
        self.dead = dead
        self.odd = {}

    def __call__(self, request):
        given = next((answer for word, answer in self.odd.items() if word in request.url), None)
        return self.dead or given or Answer(body=b"" if request.url.startswith("list:") else BODY)


def outage_ends(rig, service, ended):
    """Let an hour pass in which nothing may end, then end the outage; return how long it took from there to the end."""
    rig.run(lambda: ended() or rig.clock.seconds >= OUTAGE_SECONDS)
    assert not ended()
    service.dead = None
    rig.run(ended)
    return rig.clock.seconds - OUTAGE_SECONDS


@pytest.mark.parametrize("death", DEATHS)
def test_a_listing_that_dies_under_a_single_page_is_waited_for(death):
    service = Service()
    rig = Rig(service, pages=PAGES)
    rig.scan([Position(b"")])
    rig.run(lambda: rig.receipts)
    service.dead = DEATHS[death]
    rig.scan([Position(b"a")], work=2)

    back = outage_ends(rig, service, lambda: len(rig.receipts) > 1)

    assert back < 30
    assert [page.directory for page in rig.receipts[1].pages] == [b"a"]


@pytest.mark.parametrize("position", [Position(b""), Position(b"a")])
@pytest.mark.parametrize("death", DEATHS)
def test_so_is_one_that_is_dead_when_a_run_begins_or_begins_again_with_one_page(death, position):
    service = Service(DEATHS[death])
    rig = Rig(service, pages=PAGES)
    rig.scan([position])

    back = outage_ends(rig, service, lambda: rig.receipts)

    assert back < 30
    assert [page.directory for page in rig.receipts[0].pages] == [position.directory]


@pytest.mark.parametrize("death", DEATHS)
def test_a_single_page_that_fails_while_the_root_is_listed_is_at_fault_itself(death):
    service = Service()
    service.odd["list:a"] = DEATHS[death]
    rig = Rig(service, pages=PAGES)
    rig.scan([Position(b"a", passes=50)])
    rig.run(lambda: rig.receipts)

    assert [failure.directory for failure in rig.receipts[0].failures] == [b"a"]
    assert rig.judge.standings()["list"].state is State.UP
    assert rig.clock.seconds < 120


@pytest.mark.parametrize("death", DEATHS)
def test_a_service_that_dies_under_a_single_object_is_waited_for(death):
    service = Service()
    rig = Rig(service, routes=("origin",))
    rig.mount()
    rig.assign([part_of(b"d", {b"a": len(BODY)})])
    rig.settle(1)
    service.dead = DEATHS[death]
    rig.assign([part_of(b"d", {b"b": len(BODY)})], id=2, passes=3)

    back = outage_ends(rig, service, lambda: len(rig.outcomes) > 1)

    assert back < 30
    assert (rig.outcomes[1].stored, rig.outcomes[1].failures) == (1, [])


@pytest.mark.parametrize("death", DEATHS)
def test_a_single_object_that_fails_while_another_is_given_is_at_fault_itself(death):
    service = Service()
    service.odd["d/b"] = DEATHS[death]
    rig = Rig(service, routes=("origin",))
    rig.mount()
    rig.assign([part_of(b"d", {b"a": len(BODY)})])
    rig.settle(1)
    rig.assign([part_of(b"d", {b"b": len(BODY)})], id=2, passes=3)
    rig.settle(2)

    assert [failure.name for failure in rig.outcomes[1].failures] == [b"b"]
    assert rig.judge.standings()["origin"].state is State.UP
    assert rig.clock.seconds < 120


@pytest.mark.parametrize("objects", [2, 3, 30])
@pytest.mark.parametrize(
    "death", [*DEATHS.values(), SILENT, SILENT_FOR_LONG], ids=[*DEATHS, "a minute", "long"]
)
def test_objects_that_fail_at_both_endpoints_while_another_is_given_are_at_fault_themselves(death, objects):
    """Silence of several looks like an outage: the endpoint is given up after seconds, found well, and given up again."""
    service = Service()
    service.odd["d/b"] = death
    rig = Rig(service)
    rig.mount()
    rig.assign([part_of(b"d", {b"a": len(BODY)})])
    rig.settle(1)
    rig.assign([part_of(b"d", {b"b%d" % number: len(BODY) for number in range(objects)})], id=2, passes=3)
    rig.run(lambda: sum(len(outcome.failures) for outcome in rig.outcomes) == objects)

    assert rig.clock.seconds < (900 if death.seconds < 20 else 60 * death.seconds)


class Large(Service):
    """Has one object of 9 MiB, in parts where `ranges`; of the others, all are `odd`."""

    SIZE = 9 << 20

    def __init__(self, death, *, ranges):
        super().__init__()
        self.odd["d/b"] = death
        self.bounds = []
        """How many bytes each request for the large object allows."""
        self._ranges = ranges

    def __call__(self, request):
        answer = super().__call__(request)
        if answer.body != BODY:
            return answer
        self.bounds.append(request.max_bytes)
        asked = next((line for line in request.headers if line.startswith("Range: ")), "bytes=0-")
        start = int(asked.partition("=")[2].rstrip("-")) if self._ranges else 0
        return Answer(206 if start else 200, bytes(self.SIZE - start))


@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "whole"])
@pytest.mark.parametrize("size", [Large.SIZE, 2 << 20], ids=["streamed", "in memory"])
@pytest.mark.parametrize("death", DEATHS)
def test_objects_that_fail_when_only_a_large_one_came_are_at_fault_themselves(
    death, size, ranges, monkeypatch
):
    """No large object is fetched anew to find that out."""
    monkeypatch.setattr(Large, "SIZE", size)
    service = Large(DEATHS[death], ranges=ranges)
    rig = Rig(service, routes=("origin",))
    rig.mount()
    rig.assign([part_of(b"d", {b"a": size})])
    rig.settle(1)
    rig.assign([part_of(b"d", {b"b%d" % number: len(BODY) for number in range(30)})], id=2, passes=3)
    rig.run(lambda: sum(len(outcome.failures) for outcome in rig.outcomes) == 30)

    assert rig.clock.seconds < 900
    assert set(service.bounds[1:]) == {PROBE_BYTES}


@pytest.mark.parametrize("size", [Large.SIZE, 2 << 20], ids=["streamed", "in memory"])
@pytest.mark.parametrize("death", DEATHS)
def test_a_service_that_dies_when_it_has_given_large_objects_only_is_waited_for(death, size, monkeypatch):
    monkeypatch.setattr(Large, "SIZE", size)
    service = Large(Answer(body=BODY), ranges=True)
    service.odd.clear()
    rig = Rig(service, routes=("origin",))
    rig.mount()
    rig.assign([part_of(b"d", {b"a": size})])
    rig.settle(1)
    service.dead = DEATHS[death]
    rig.assign([part_of(b"d", {b"b": size})], id=2, passes=3)

    back = outage_ends(rig, service, lambda: len(rig.outcomes) > 1)

    assert back < 60
    assert (rig.outcomes[1].stored, rig.outcomes[1].failures) == (1, [])


@pytest.mark.parametrize("objects", [1, 2])
@pytest.mark.parametrize("death", DEATHS)
def test_a_service_that_is_dead_when_a_run_begins_again_with_an_object_or_two_is_waited_for(death, objects):
    service = Service(DEATHS[death])
    rig = Rig(service, routes=("origin",))
    rig.mount()
    rig.assign([part_of(b"d", dict.fromkeys([b"a", b"b"][:objects], len(BODY)))], passes=3)

    back = outage_ends(rig, service, lambda: rig.outcomes)

    assert back < 30
    assert (rig.outcomes[0].stored, rig.outcomes[0].failures) == (objects, [])


@pytest.mark.parametrize("death", DEATHS)
def test_an_object_that_fails_alone_after_a_restart_is_at_fault_when_the_listing_has_answered_for_long(death):
    service = Service()
    service.odd["d/a"] = DEATHS[death]
    rig = Rig(service, routes=("origin",), pages=PAGES)
    rig.mount()
    rig.assign([part_of(b"d", {b"a": len(BODY)})], passes=3)
    rig.settle(1)

    assert [failure.name for failure in rig.outcomes[0].failures] == [b"a"]
    assert rig.clock.seconds < 1200
