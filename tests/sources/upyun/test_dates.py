"""Which copies are stale: those older than listed, unless the server's dates mean something else."""

from email.utils import formatdate

from hypothesis import given
from hypothesis import strategies as st
from listing_world import answer, judge_of, source

from bucketpull.domain.errors import Reason
from bucketpull.sources.upyun.source import Dates

LISTED = 1_600_000_000
HOUR = 3600


def judged(bucket, changed, listed=LISTED, endpoint="cdn", start=0):
    headers = {"Content-Type": "image/jpeg", "Last-Modified": formatdate(changed, usegmt=True)}
    headers |= {"Content-Range": f"bytes {start}-{start + 3}/{start + 4}"} if start else {}
    return judge_of(
        bucket,
        b"a.jpg",
        start + 4,
        endpoint,
        answer(206 if start else 200, b"jpeg", headers),
        1e9,
        start,
        mtime=listed,
    )


def bucket():
    return source(cdn_url="https://cdn.example.com")


@given(st.integers(0, 253_402_300_799))
def test_times_are_written_as_headers_do(seconds):
    assert Dates().stamp(seconds).decode() == formatdate(seconds, usegmt=True)


def test_a_copy_older_than_listed_is_stale_though_it_is_as_long():
    verdict = judged(bucket(), LISTED - HOUR)

    assert verdict.reason is Reason.STALE
    assert verdict.detail == "of Sun, 13 Sep 2020 11:26:40 GMT, listed is Sun, 13 Sep 2020 12:26:40 GMT"
    assert judged(bucket(), LISTED - HOUR, start=4).reason is Reason.STALE


def test_a_copy_as_old_as_listed_or_younger_is_none_nor_one_of_unknown_age():
    assert judged(bucket(), LISTED).reason is None
    assert judged(bucket(), LISTED + HOUR).reason is None
    assert judged(bucket(), LISTED - HOUR, listed=-1).reason is None


def test_the_origin_is_believed_whatever_its_date():
    assert judged(bucket(), LISTED - HOUR, endpoint="rest").reason is None


def test_image_versions_have_dates_of_their_own():
    assert judged(source(cdn_url="https://cdn.example.com", style="!s400"), LISTED - HOUR).reason is None


def test_a_stale_copy_among_many_young_ones_is_found_however_late():
    here = bucket()
    for _ in range(1000):
        assert judged(here, LISTED).reason is None
    assert judged(here, LISTED - HOUR).reason is Reason.STALE
    assert judged(here, LISTED).reason is None


def test_dates_that_differ_for_nearly_all_objects_are_believed_no_more():
    for off in (-HOUR, HOUR):
        here = bucket()
        stale = [judged(here, LISTED + off).reason is Reason.STALE for _ in range(100)]
        assert sum(stale) <= Dates.FREE
        assert judged(here, LISTED - HOUR).reason is None
