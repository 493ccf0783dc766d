"""A service that lists without end: whatever it does with pages and tokens, the listing ends, in virtual time, with its word."""

import re
from itertools import count
from random import Random

import msgspec
import pytest
from tests.downloader.rig import Rig

from bucketpull.domain.errors import Reason
from bucketpull.domain.model import Position
from bucketpull.domain.retry import LAST_PASS, next_page_try
from bucketpull.sources import cycle_detection
from bucketpull.sources.registry import settings_of
from bucketpull.testing.virtual import Answer

MOST_SECONDS = 3600.0
MOST_REQUESTS = 1_000


def s3():
    keys = {"access_key": "a", "secret_key": "s"}
    return (
        settings_of("s3://b", {"api_url": "https://s3.example.com", "region": "r", **keys}).checked().open()
    )


def page(keys=(), token="", truncated=True):
    entries = "".join(
        f"<Contents><Key>{key}</Key><LastModified>2020-01-01T00:00:00.000Z</LastModified><ETag></ETag><Size>5</Size></Contents>"
        for key in keys
    )
    return Answer(
        body=f"<ListBucketResult><Name>b</Name><KeyCount>{len(keys)}</KeyCount><IsTruncated>{str(truncated).lower()}</IsTruncated>"
        f"<NextContinuationToken>{token}</NextContinuationToken>{entries}</ListBucketResult>".encode()
    )


def listed(answer):
    """List a bucket to its end as a job does: new positions at once, failed ones when they are due. Return the rig, keys and failures."""
    rig = Rig(answer, source=s3())
    waiting, failures, keys = [(0.0, rig.source.root())], [], 0
    while waiting and not rig.fatals:
        waiting.sort(key=lambda each: each[0])
        due, position = waiting.pop(0)
        rig.run(lambda due=due: due == LAST_PASS or rig.clock.seconds >= due)
        done = len(rig.receipts)
        rig.scan([position], work=done)
        rig.run(lambda done=done: len(rig.receipts) > done or rig.fatals)
        assert len(rig.fetcher.requests) < MOST_REQUESTS, "no end in sight"
        for receipt in rig.receipts[done:]:
            keys += sum(record.objects for record in receipt.pages)
            failures += receipt.failures
            waiting += [(due_of(rig, receipt, again), again) for again in receipt.positions]
    return rig, keys, failures


def due_of(rig, receipt, position: Position):
    if not position.passes:
        return rig.clock.seconds
    wait = next_page_try(Reason(next(iter(receipt.retries))), position.passes - 1)
    assert wait is not None, "it was put off after the last pass"
    return rig.clock.seconds + wait


def numbered(number, size=3):
    return [f"{number * size + index:09d}" for index in range(size)]


def same_page_same_token(turns):
    return lambda request: page(numbered(0), "t")


def same_page_new_tokens(turns):
    return lambda request: page(numbered(0), f"t{next(turns)}")


def new_pages_in_a_circle_of_tokens(turns):
    def answer(request):
        _, _, token = request.url.partition("continuation-token=t")
        return page(numbered(next(turns))[::-1], f"t{(int(token.partition('&')[0] or 0) + 1) % 50}")

    return answer


def backwards(turns):
    return lambda request: page(numbered(10**6 - next(turns)), "t")


def truncated_without_a_word_where_to(turns):
    return lambda request: page(truncated=True)


def empty_pages_with_new_tokens(turns):
    return lambda request: page(token=f"t{next(turns)}")


def empty_pages_after_a_first_one(turns):
    return lambda request: page(numbered(0) if not (number := next(turns)) else [], f"t{number}")


def the_same_keys_shuffled_with_new_tokens(turns):
    chance = Random(1)

    def answer(request):
        return page(chance.sample(numbered(0, 40), 5), f"t{next(turns)}")

    return answer


HOSTILE = {
    same_page_same_token: Reason.CURSOR,
    same_page_new_tokens: Reason.CURSOR,
    new_pages_in_a_circle_of_tokens: Reason.CURSOR,
    backwards: Reason.CURSOR,
    truncated_without_a_word_where_to: Reason.CURSOR,
    empty_pages_with_new_tokens: Reason.CURSOR,
    empty_pages_after_a_first_one: Reason.CURSOR,
    the_same_keys_shuffled_with_new_tokens: Reason.CURSOR,
}


@pytest.mark.parametrize("mode", HOSTILE, ids=lambda mode: mode.__name__)
def test_a_listing_without_end_ends_with_its_word(mode, monkeypatch):
    monkeypatch.setattr(cycle_detection, "MOST_EMPTY", 200)
    rig, _, failures = listed(mode(count()))

    assert rig.fatals == []
    assert [failure.reason for failure in failures] == [HOSTILE[mode]]
    assert rig.clock.seconds < MOST_SECONDS


def test_what_is_odd_on_a_page_costs_itself_and_the_pages_behind_it_are_listed():
    """A size below zero, none, and one that no disk holds; an entry without a key; keys that are kept back as a group."""
    odd = (
        "<Contents><Key>000000000x</Key><Size>-1</Size></Contents><Contents><Key>000000000y</Key></Contents>"
        "<Contents><Size>5</Size></Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>"
    )

    def answer(request):
        if "start" in request.url:
            return page(numbered(1), truncated=False)
        first = page(["000000000"], "t")
        return Answer(body=first.body.replace(b"</ListBucketResult>", f"{odd}</ListBucketResult>".encode()))

    rig, keys, failures = listed(answer)

    assert (keys, rig.fatals) == (6, [])
    assert [(failure.reason, failure.detail.count("; ")) for failure in failures] == [(Reason.GARBAGE, 1)]
    assert "'p/'" in failures[0].detail


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(302, headers=(("Location", "https://elsewhere.example.com/"),)), Reason.REDIRECTED),
        (Answer(failure=Reason.STALLED), Reason.STALLED),
        (Answer(failure=Reason.RESET), Reason.RESET),
        (Answer(body=b"x" * (9 << 20)), Reason.GARBAGE),
    ],
    ids=["redirects", "headers and bodies that drip", "cut off", "a body without end"],
)
def test_a_bucket_whose_later_pages_only_fail_is_a_failure_of_the_listing(answer, reason):
    rig, keys, failures = listed(
        lambda request: (
            page(numbered(0), "t") if "token" not in request.url and "start" not in request.url else answer
        )
    )

    assert (keys, rig.fatals) == (3, [])
    assert [failure.reason for failure in failures] == [reason]
    assert rig.clock.seconds < MOST_SECONDS


def test_a_listing_by_token_need_not_count_its_keys():
    """`KeyCount` is left out, and the keys are in no order: taken for ListObjects, it was asked for by markers, which led nowhere."""

    def answer(request):
        _, _, token = request.url.partition("continuation-token=t")
        number = int(token.partition("&")[0] or 0)
        listed = page(numbered(number)[::-1], f"t{number + 1}", truncated=number < 9)
        return msgspec.structs.replace(listed, body=re.sub(rb"<KeyCount>.*</KeyCount>", b"", listed.body))

    _, keys, failures = listed(answer)

    assert (keys, failures) == (30, [])
