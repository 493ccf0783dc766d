"""Files of others in an object's place: the source is asked whether they are the object, and what is not is put aside before it is stored."""

import hashlib

import pytest
from tests.downloader.rig import Rig, encode, records_of

from bucketpull.domain.messages import Assignment
from bucketpull.domain.record import Claim
from bucketpull.downloader.parameters import Bounds
from bucketpull.testing.memory import part_of
from bucketpull.testing.virtual import Answer

BODY = b"x" * 10
THERE = b"y" * 10


def md5(body):
    return hashlib.md5(body).digest()


def pull(answer, there=THERE, **options):
    """Fetch one object of which a file of others has the place; return the rig and the outcome."""
    rig = Rig(answer, routes=("origin",), **options)
    rig.mount().files[b"d/a"] = there
    parts = encode([part_of(b"d", {b"a": len(BODY)})])
    rig.transfers.assign(Assignment(1, "v1", 0, parts, [Claim(b"d", b"a", md5(there))]))
    (outcome,) = rig.settle()
    return rig, outcome


streamed = pytest.mark.parametrize("bounds", [Bounds(), Bounds(streamed=5)], ids=["in memory", "streamed"])


@streamed
def test_a_file_that_the_source_has_too_is_taken_over(bounds):
    rig, outcome = pull(lambda _: Answer(304), bounds=bounds)

    (request,) = rig.fetcher.requests
    assert f'If-None-Match: "{md5(THERE).hex()}"' in request.headers
    assert (outcome.stored, outcome.claimed, outcome.claimed_bytes, outcome.stored_bytes) == (1, 1, 10, 0)
    (record,) = records_of(outcome)
    assert (record.names, record.md5s) == ([b"a"], [md5(THERE)])
    assert rig.writers["v1"].files == {b"d/a": THERE}
    assert rig.transfers.memory.held == 0


@streamed
def test_a_file_that_differs_is_put_aside_before_the_object_is_stored(bounds):
    rig, outcome = pull(lambda _: Answer(body=BODY), bounds=bounds)

    assert (outcome.stored, outcome.claimed, outcome.stored_bytes) == (1, 0, 10)
    assert rig.writers["v1"].files == {b"d/a": BODY, b"d/a.kept": THERE}


def test_a_file_that_is_what_came_is_not_written_again():
    """Not every service heeds conditions, and not every ETag is an MD5."""
    rig, outcome = pull(lambda _: Answer(body=BODY), there=BODY)

    assert (outcome.stored, outcome.claimed) == (1, 1)
    assert rig.writers["v1"].files == {b"d/a": BODY}


def test_a_large_file_whose_md5_is_stated_is_not_written_again():
    answer = Answer(body=BODY, headers=(("Content-MD5", md5(BODY).hex()),))
    rig, outcome = pull(lambda _: answer, there=BODY, bounds=Bounds(streamed=5))

    assert outcome.claimed == 1
    assert rig.writers["v1"].files == {b"d/a": BODY}


@streamed
def test_trouble_on_the_way_changes_nothing(bounds):
    answers = [Answer(503), Answer(304)]
    rig, outcome = pull(lambda _: answers.pop(0), bounds=bounds)

    assert (outcome.stored, outcome.claimed) == (1, 1)
    assert rig.writers["v1"].files == {b"d/a": THERE}


def test_an_object_that_is_gone_leaves_the_file_alone():
    rig, outcome = pull(lambda _: Answer(404))

    assert [failure.name for failure in outcome.failures] == [b"a"]
    assert rig.writers["v1"].files == {b"d/a": THERE}


def test_a_file_that_cannot_be_put_aside_fails_its_object_alone():
    rig = Rig(lambda _: Answer(body=BODY), routes=("origin",))
    writer = rig.mount()
    writer.set_aside = lambda *_: False
    parts = encode([part_of(b"d", {b"a": 10, b"b": 10})])
    rig.transfers.assign(Assignment(1, "v1", 0, parts, [Claim(b"d", b"a", md5(THERE))]))
    (outcome,) = rig.settle()

    assert [(each.name, each.reason) for each in outcome.failures] == [(b"a", "unstorable")]
    assert writer.files == {b"d/b": BODY}
