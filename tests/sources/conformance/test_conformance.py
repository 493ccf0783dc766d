"""What every source promises, held against a real service: see `ports.Source` and `sources.settings`."""

import time
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bucketpull.domain.endpoints import Purpose
from bucketpull.domain.errors import AnswerError, Reason
from bucketpull.domain.http_exchange import Response, Wanted
from bucketpull.domain.model import Position, key_of
from bucketpull.fetch.fetch_options import FetchOptions
from bucketpull.fetch.loop import FetchLoop
from bucketpull.sources.registry import pack, settings_of, unpack
from bucketpull.wiring.source_client import Patience, SourceClient, site_of, wanted_of

MANY = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def client(world):
    loop = FetchLoop(FetchOptions())
    yield SourceClient(world.settings.checked().open(), loop, Patience("conformance"))
    loop.close()


def listed(client):
    """List everything; return the objects by key, and how many were given twice."""
    found, waiting, twice = {}, [client.source.root()], 0
    while waiting:
        position = waiting.pop()
        page = client.page(position)
        for wanted in wanted_of(page.part):
            key = key_of(wanted.directory, wanted.name)
            twice += key in found
            found[key] = wanted
        waiting += page.following
        waiting += [Position(key_of(position.directory, name)) for name in page.directories]
    return found, twice


def answers_of(client, wanted, start=0, version=""):
    """Ask each endpoint that may have an object; yield its name, the answer and the verdict."""
    source = client.source
    for name in client.routes(wanted):
        site = site_of(client.fetching[name])
        request = source.object_request(wanted, name, site, time.time(), start, version)
        response = client.ask(request)
        yield name, response, source.judge(wanted, name, response, time.time(), start, version)


def test_one_endpoint_lists_others_fetch_and_each_has_a_name_of_its_own(world):
    endpoints = world.settings.open().endpoints

    assert [spec.name for spec in endpoints if spec.purpose is Purpose.LIST] == [Purpose.LIST]
    assert [spec for spec in endpoints if spec.purpose is Purpose.FETCH]
    assert len({spec.name for spec in endpoints}) == len(endpoints)
    for spec in endpoints:
        assert spec.title
        assert 1 <= spec.first <= spec.highest
        assert all(
            urlsplit(site).hostname and urlsplit(site).scheme in {"http", "https"} for site in spec.sites
        )


def test_everything_is_listed_once(world, client):
    found, twice = listed(client)

    assert set(found) == set(world.objects)
    assert twice == 0
    for key, wanted in found.items():
        assert wanted.size == (len(world.objects[key]) if world.has_sizes else -1)
        assert wanted.mtime > 0 or not world.has_sizes


def test_an_unchanged_directory_is_listed_alike(client):
    first, second = (client.page(client.source.root()).part for _ in range(2))

    assert first == second


def test_every_object_comes_whole_from_each_endpoint_that_may_have_it(world, client):
    for key, wanted in listed(client)[0].items():
        assert client.routes(wanted)
        for name, response, verdict in answers_of(client, wanted):
            assert verdict.reason is None, (key, name, verdict)
            assert response.body == world.objects[key], (key, name)
            assert verdict.size in {-1, len(response.body)}
            assert verdict.start == 0


def test_the_rest_of_an_object_comes_or_the_whole_in_its_place_is_refused(world, client):
    key, wanted = max(listed(client)[0].items(), key=lambda item: len(world.objects[item[0]]))
    versions = {name: verdict.version for name, _, verdict in answers_of(client, wanted, 5)}

    for name, version in versions.items():
        assert version or not world.has_parts
        for asked, response, verdict in answers_of(client, wanted, 5, version):
            if asked == name and world.has_parts:
                assert (verdict.reason, verdict.start, verdict.version) == (None, 5, version)
                assert response.body == world.objects[key][5:]
            elif asked == name:
                assert (verdict.reason, verdict.start) == (Reason.RANGE, 0)


def test_a_part_of_another_version_is_never_taken(world, client):
    wanted = max(
        listed(client)[0].values(),
        key=lambda wanted: len(world.objects[key_of(wanted.directory, wanted.name)]),
    )

    for _, _, verdict in answers_of(client, wanted, 5, '"another"'):
        assert verdict.reason is Reason.RANGE


def test_what_is_not_there_is_gone_or_missing_and_never_stored(client):
    absent = Wanted(b"", b"no such object.jpg", 10, -1, "", "")

    for name, _, verdict in answers_of(client, absent):
        assert verdict.reason is (Reason.GONE if client.fetching[name].is_origin else Reason.MISSING)


def test_a_directory_that_is_not_there_is_no_empty_one(client):
    with pytest.raises(AnswerError) as refused:
        client.page(Position(b"no such directory"))

    assert refused.value.reason is Reason.GONE


STATUSES = st.sampled_from(
    [0, 100, 200, 204, 206, 301, 307, 400, 401, 403, 404, 412, 416, 429, 500, 503, 599]
)
LINES = st.sampled_from(
    [
        b"ETag: \r\n",
        b'ETag: W/"\r\n',
        b"Content-Range: bytes 1-\r\n",
        b"Content-Range: bytes 5-9/10\r\n",
        b"Content-Type: text/html\r\n",
        b"Content-Encoding: gzip\r\n",
        b"Retry-After: \xff\r\n",
        b"Retry-After: 99999999999999\r\n",
        b"Last-Modified: 9999\r\n",
        b"Location: http://elsewhere/\r\n",
        b":\r\n",
        b"\xff\xfe\r\n",
    ]
)
BODIES = st.one_of(
    st.binary(max_size=40), st.sampled_from([b"[" * 100_000, b"<" * 1000, b"{}", b"<html>", b"null"])
)


@st.composite
def responses(draw):
    status, body = draw(STATUSES), draw(BODIES)
    lines = [b"HTTP/1.1 %d Some\r\n" % status, *draw(st.lists(LINES, max_size=4)), b"\r\n"]
    failure = (
        draw(st.sampled_from([None, None, Reason.RESET, Reason.TRUNCATED])) if status else Reason.CONNECT
    )
    return Response(status, lines if status else [], [body] if body else [], len(body), 0.1, failure)


@MANY
@given(response=responses(), start=st.sampled_from([0, 5]), size=st.sampled_from([-1, 0, 10]))
def test_any_answer_to_a_request_for_an_object_can_be_judged(world, response, start, size):
    source = world.settings.open()
    wanted = Wanted(b"d", b"a.jpg", size, 1_600_000_000, "", "")
    for name in source.routes(wanted.directory, wanted.name, size):
        verdict = source.judge(wanted, name, response, 1e9, start, '"v"')
        if verdict.reason is None:
            assert response.failure is None
            assert response.status in {200, 206}
        assert verdict.retry_after_seconds is None or verdict.retry_after_seconds >= 0


@MANY
@given(response=responses())
def test_any_answer_to_a_listing_request_is_a_page_or_an_error_of_its_own_kind(world, response):
    source = world.settings.open()
    try:
        page = source.read_page(source.root(), response, 1e9)
    except AnswerError:
        return
    assert response.status == 200
    assert len(page.part.names) == len(page.part.sizes) == len(page.part.mtimes)


def test_a_configuration_travels_and_its_secrets_do_not_show(world):
    own = world.settings
    secrets = [
        str(getattr(own, option.name))
        for option in own.OPTIONS
        if option.secret and getattr(own, option.name)
    ]

    assert unpack(pack(own)) == own
    assert own.public().with_secrets_of(own) == own
    for text in (
        repr(own),
        repr(own.remembered()),
        pack(own.public()).decode(),
        own.label(),
        repr(own.identity()),
    ):
        assert not [secret for secret in secrets if secret in text]
    assert "/" not in own.label()
    assert {"source", "prefix"} <= set(own.identity())
    assert settings_of(f"{own.USAGE.partition(':')[0]}:{own.place()}", own.remembered()) == own.public()
