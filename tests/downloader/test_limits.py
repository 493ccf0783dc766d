"""Servers refuse with 429 or 503 what exceeds a limit, and all while they are out: what else they give tells which it is."""

import random

import pytest
from tests.downloader.rig import Rig, names_of
from tests.downloader.test_hosts import BODY, assign, rig_of
from tests.downloader.test_hosts import World as Hosts

from bucketpull.domain.endpoints import State
from bucketpull.domain.model import Part
from bucketpull.downloader.hosts import MOST_MADE_WAY, WAITED_SECONDS
from bucketpull.testing.virtual import Answer

GOOD = Answer(body=BODY, seconds=0.02)
HOSTS = ("a.test", "b.test", "c.test")
REFUSALS = [pytest.param(Answer(status, seconds=0.02), id=str(status)) for status in (503, 429)]
refusals = pytest.mark.parametrize("refusal", REFUSALS)


class Limit:
    """So many requests a second, and `burst` more at once, as nginx's `limit_req` with `nodelay` lets in."""

    def __init__(self, per_second, burst=0):
        self.per_second, self.most = per_second, burst + 1.0
        self.tokens, self.at = self.most, 0.0

    def lets_in(self, now):
        self.tokens = min(self.most, self.tokens + (now - self.at) * self.per_second)
        self.at = now
        if self.tokens < 1.0:
            return False
        self.tokens -= 1.0
        return True


def listed(answer, count, hosts=("a.test",), level=None, passes=0):
    """Have a list of URLs fetched; `answer` is given the time and the request."""
    rig = rig_of(Hosts(**dict.fromkeys(hosts, lambda request: answer(rig.clock.seconds, request))), {}, level)
    assign(rig, count, hosts, passes)
    rig.run(lambda: rig.outcomes, turns=400_000)
    return rig


def ended(rig):
    """Return how many objects came, are put off, and have failed."""
    outcome = rig.outcomes[0]
    return outcome.stored, len(names_of(outcome.deferred)), len(outcome.failures)


@pytest.mark.parametrize("burst", [0, 20])
@pytest.mark.parametrize(("per_second", "count"), [(20, 400), (200, 3000), (2000, 30_000)])
@refusals
def test_a_limit_is_found_and_no_object_is_put_off_for_it(refusal, per_second, count, burst):
    limit = Limit(per_second, burst)
    rig = listed(lambda now, _: GOOD if limit.lets_in(now) else refusal, count)

    assert ended(rig) == (count, 0, 0)
    assert rig.clock.seconds < 2.0 * count / per_second
    assert len(rig.fetcher.requests) - count < 0.35 * count


@refusals
def test_one_host_that_limits_costs_no_object_of_any(refusal):
    limit = Limit(20)

    def answer(now, request):
        return refusal if "b.test" in request.url and not limit.lets_in(now) else GOOD

    assert ended(listed(answer, 3000, HOSTS)) == (3000, 0, 0)


@refusals
def test_one_host_that_refuses_all_holds_up_no_object_of_others(refusal):
    rig = listed(lambda _, request: refusal if "b.test" in request.url else GOOD, 9000, HOSTS)

    assert ended(rig) == (6000, 3000, 0)
    assert rig.clock.seconds < 25
    assert list(rig.judge.away()["files"]) == ["b.test"]
    assert rig.judge.standings()["files"].state is State.UP


@pytest.mark.parametrize("hosts", [HOSTS, HOSTS[:1]])
@pytest.mark.parametrize("begins", [0.0, 1.0])
@refusals
def test_an_outage_of_all_fails_nothing_costs_little_and_ends_soon_after_it(refusal, begins, hosts):
    ends = begins + 900.0
    rig = listed(lambda now, _: refusal if begins <= now < ends else GOOD, 30_000, hosts)

    stored, put_off, failed = ended(rig)
    assert (stored + put_off, failed) == (30_000, 0)
    assert put_off <= MOST_MADE_WAY
    assert rig.clock.seconds < ends + 30
    assert len(rig.fetcher.requests) - 30_000 < 2000


@refusals
def test_an_outage_of_minutes_puts_nothing_off(refusal):
    rig = listed(lambda now, _: refusal if now < WAITED_SECONDS - 30 else GOOD, 30_000, HOSTS)

    assert ended(rig) == (30_000, 0, 0)
    assert rig.clock.seconds < WAITED_SECONDS


@pytest.mark.parametrize("share", [0.1, 0.3])
@refusals
def test_what_is_refused_at_random_does_not_hold_up_the_others(refusal, share):
    chance = random.Random(1)
    rig = listed(lambda *_: refusal if chance.random() < share else GOOD, 20_000)

    assert ended(rig) == (20_000, 0, 0)
    assert rig.clock.seconds < 25


@refusals
def test_an_object_that_is_always_refused_fails_alone_and_does_not_lower_the_pace(refusal):
    alone = listed(lambda *_: GOOD, 60_000).clock.seconds
    rig = listed(lambda _, request: refusal if request.url.endswith("/20000") else GOOD, 60_000)

    assert ended(rig) == (59_999, 1, 0)
    assert rig.clock.seconds < alone + 30  # its own tries


@pytest.mark.parametrize("number", [1, 5, 30])
@refusals
def test_last_objects_that_are_always_refused_end(refusal, number):
    odd = {f"http://a.test/{each}" for each in range(2000 - number, 2000)}
    rig = listed(lambda _, request: refusal if request.url in odd else GOOD, 2000, passes=3)

    assert ended(rig) == (2000 - number, 0, number)
    assert rig.clock.seconds < 60


@pytest.mark.parametrize("odd", [".gif", "d07/"])
def test_a_suffix_or_a_folder_that_the_edge_always_refuses_comes_from_the_origin(odd):
    def answer(request):
        return Answer(429, seconds=0.02) if request.url.startswith("edge:") and odd in request.url else GOOD

    rig = Rig(answer, level=None)
    rig.mount()
    names = [b"n%05d.%s" % (number, (b"jpg", b"gif")[number % 2]) for number in range(500)]
    rig.assign([Part(b"d%02d" % folder, "", names, [4] * 500, [1] * 500, []) for folder in range(20)])
    rig.settle()

    assert ended(rig) == (10_000, 0, 0)
    assert rig.clock.seconds < 30
