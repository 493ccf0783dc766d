"""Objects that are never answered end together and in time; a server that leaves without an answer what is too much is asked for less."""

import pytest
from tests.downloader.rig import Rig

from bucketpull.domain.errors import Reason
from bucketpull.domain.retry import PASSES
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer

BODY = b"jpeg"


def silence(seconds):
    return Answer(status=0, failure=Reason.TIMEOUT, seconds=seconds)


def passed(answer, count, routes=("edge", "origin")):
    """Let a folder of so many objects have all its passes, one right after the other; return the rig."""
    rig = Rig(answer, routes=routes, level=None)
    if isinstance(answer, Server):
        answer.rig = rig
    rig.mount()
    parts = [part_of(b"d", {b"n%04d" % number: len(BODY) for number in range(count)})]
    for passes in range(len(PASSES) + 1):
        if parts:
            rig.assign(parts, id=passes, passes=passes)
            rig.settle(passes + 1)
            parts = rig.outcomes[-1].deferred
    return rig


@pytest.mark.parametrize("routes", [("origin",), ("edge", "origin")])
@pytest.mark.parametrize("seconds", [2.0, 4.0, 5.0, 15.0, 60.0])
def test_a_tenth_of_objects_that_is_never_answered_ends_within_the_time_of_its_tries(seconds, routes):
    """All are asked for together in each try: one after the other, four at a time, they took three to five times as long."""
    never = silence(seconds)
    rig = passed(lambda request: never if request.url.endswith("0") else Answer(body=BODY), 500, routes)

    assert [sum(outcome.stored for outcome in rig.outcomes), len(rig.outcomes[-1].failures)] == [450, 50]
    tries = 4 * (len(PASSES) + 1) * len(routes)
    assert rig.clock.seconds < 1.2 * tries * seconds + 60


class Server:
    """Answers as `answer` says of what is in flight at the moment; objects alone are work."""

    rig = None

    def __call__(self, request):
        return Answer() if request.url.startswith("list:") else self.answer(self.rig.clock.seconds)


class Slower(Server):
    """Needs the longer the more it is asked at once, after a while so long that it bears ten requests; gives up after five seconds."""

    def answer(self, now):
        seconds = (0.002 if now < 0.2 else 0.5) * self.rig.fetcher.in_flight
        return silence(5.0) if seconds > 5.0 else Answer(body=BODY, seconds=seconds)


class Deaf(Server):
    """Works on six requests at a time, and never answers those beyond."""

    def __init__(self):
        self.ends = []

    def answer(self, now):
        self.ends = [end for end in self.ends if end > now]
        if len(self.ends) >= 6:
            return silence(60.0)
        self.ends.append(now + 0.1)
        return Answer(body=BODY, seconds=0.1)


@pytest.mark.parametrize(
    ("server", "routes"), [(Slower, ("origin",)), (Slower, ("edge", "origin")), (Deaf, ("edge", "origin"))]
)
def test_where_silence_comes_of_load_fewer_are_asked_for_and_no_object_fails(server, routes):
    rig = passed(server(), 2000, routes)

    assert [sum(outcome.stored for outcome in rig.outcomes), len(rig.outcomes[-1].failures)] == [2000, 0]
