import itertools
import select
import socket
import threading
import time
from contextlib import ExitStack

import pytest
from tests.fetch.conftest import Fetch
from tests.fetch.origin import always, origin

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request
from bucketpull.fetch.connection import LEAST_SECONDS
from bucketpull.fetch.direct import MOST_REPEATS, REST_SECONDS, Direct, Site
from bucketpull.fetch.fetch_options import FetchOptions

OPTIONS = FetchOptions(connect_seconds=5.0, first_byte_seconds=5.0, stall_seconds=5.0)


@pytest.fixture
def fetch():
    """A loop that goes directly to every site of a test, from the first request on."""
    made = Fetch(OPTIONS, True)
    yield made
    made.loop.close()


def pieces(data, size):
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.mark.parametrize("size", [1, 7, 64])
def test_an_answer_may_come_in_any_pieces(fetch, size):
    def script(peer):
        while peer.request():
            for piece in pieces(
                b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\nETag: x\r\n\r\n" + b"b" * 50, size
            ):
                peer.send(piece)

    with origin(script) as site:
        for _ in range(3):
            response = fetch.ask(site.url())
            assert (response.status, response.body) == (200, b"b" * 50)
            assert response.headers() == {"content-length": "50", "etag": "x"}
        assert site.connections == 1


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
INTERIM = b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"
OLD = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nabc"
BARE = b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc"


@pytest.mark.parametrize("answer", [CHUNKED, INTERIM, OLD, BARE])
def test_an_unusual_answer_is_had_by_libcurl(fetch, answer):
    def script(peer):
        while peer.request():
            peer.send(answer)

    with origin(script) as site:
        response = fetch.ask(site.url())
        assert (response.status, response.failure, response.body) == (200, None, b"abc")
        assert (site.connections, len(site.requests)) == (2, 2)


def test_a_site_that_is_always_unusual_is_left_to_libcurl(fetch):
    def script(peer):
        while peer.request():
            peer.send(CHUNKED)

    with origin(script) as site:
        for _ in range(MOST_REPEATS + 20):
            assert fetch.ask(site.url()).body == b"abc"
        assert len(site.requests) == 2 * MOST_REPEATS + 20


def test_while_a_site_is_left_to_libcurl_no_idle_connections_take_places_there(fetch):
    """A server that takes so many connections refused libcurl all of its own."""

    def script(peer):
        while head := peer.request():
            peer.answer(b"ok") if b"/usual" in head else peer.send(CHUNKED)

    with origin(script) as site:
        answers = []
        for _ in range(MOST_REPEATS + 3):  # each repeated request costs one of them
            fetch.submit(site.url("/usual"), answers.append)
        fetch.until(lambda: len(answers) == MOST_REPEATS + 3)
        assert len(fetch.loop.direct.connections) == MOST_REPEATS + 3
        for _ in range(MOST_REPEATS):
            assert fetch.ask(site.url("/odd")).body == b"abc"
        assert not fetch.loop.direct.connections


def test_where_no_more_connections_are_let_in_libcurl_uses_the_one_that_it_has(fetch):
    fetch.is_taught = False

    def script(peer):
        is_first = site.connections == 1
        while peer.request():
            peer.answer(b"ok") if is_first else peer.reset()

    with origin(script) as site:
        assert [fetch.ask(site.url()).body for _ in range(3)] == [b"ok"] * 3


def test_after_a_rest_the_direct_way_is_tried_again():
    site = Site("http://objects.example")
    for _ in range(MOST_REPEATS):
        assert site.rests_until < 100.0
        site.failed(100.0)
    assert site.rests_until == 100.0 + REST_SECONDS


def test_a_connection_that_ended_unnoticed_costs_no_request(fetch):
    ended = threading.Event()

    def script(peer):
        peer.request()
        peer.answer(b"first")
        peer.sock.close()
        ended.set()

    with origin(script) as site:
        assert fetch.ask(site.url()).body == b"first"
        assert ended.wait(60)
        assert fetch.ask(site.url()).body == b"first"


def test_a_connection_that_ends_just_as_it_is_chosen_for_a_request_costs_nothing(fetch):
    chosen, ended = threading.Event(), threading.Event()
    answers = []

    def script(peer):
        peer.request()
        peer.answer(b"first")
        chosen.wait(60)
        peer.reset()
        ended.set()

    # The loop hears of both at once: first of an event that makes the next request, then of the end of the idle connection.
    ours, theirs = socket.socketpair()
    with origin(script) as site, ours, theirs:

        def ask():
            ours.recv(1)
            fetch.submit(site.url(), answers.append)

        assert fetch.ask(site.url()).body == b"first"
        fetch.loop.run_once(0.0)  # else epoll still has the connection at the head of its list
        fetch.loop.watch(ours.fileno(), ask)
        theirs.send(b".")
        chosen.set()
        assert ended.wait(60)
        fetch.until(lambda: answers)
        fetch.loop.unwatch(ours.fileno())
    assert answers[0].body == b"first"


def test_bytes_after_the_declared_end_are_not_taken_for_the_next_answer(fetch):
    answers = itertools.count()

    def script(peer):
        while peer.request():
            body = b"%d" % next(answers)
            peer.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
                + body
                + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nX"
            )

    with origin(script) as site:
        bodies = [fetch.ask(site.url()).body for _ in range(5)]
    assert bodies == [b"0", b"1", b"2", b"3", b"4"]


def test_an_answer_to_nothing_is_not_taken_for_the_next_one(fetch):
    def script(peer):
        peer.request()
        peer.answer(b"asked")
        peer.answer(b"not asked")
        peer.request()
        peer.answer(b"too late")

    with origin(script) as site:
        assert fetch.ask(site.url()).body == b"asked"
        site.threads[1].join(0.2)
        fetch.loop.run_once(0.1)
        assert fetch.ask(site.url()).body == b"asked"


def test_what_came_before_a_request_is_not_taken_for_its_answer(fetch):
    """Else each answer after it over that connection would be taken for the one before."""
    may_send, was_sent = threading.Event(), threading.Event()

    def script(peer):
        while head := peer.request():
            path = head.split(b" ")[1]
            peer.answer(path)
            if path == b"/first":
                may_send.wait(60)
                peer.answer(b"/late")
                was_sent.set()

    with origin(script) as site:
        assert fetch.ask(site.url("/first")).body == b"/first"
        may_send.set()
        assert was_sent.wait(60)
        paths = [b"/%d" % number for number in range(3)]
        assert [fetch.ask(site.url(path.decode())).body for path in paths] == paths


def test_a_request_is_sent_once_over_a_connection_that_opens_before_its_turn(fetch):
    """What libcurl calls back for between two turns may begin requests. Sent twice, each answer after it is taken for the one before."""

    def script(peer):
        while head := peer.request():
            peer.answer(head.split(b" ")[1])

    bodies = []
    with origin(script) as site:

        def submit_next(_):
            fetch.submit(site.url("/first"), lambda response: bodies.append(response.body))

        fetch.submit("unheard-of://host/", submit_next)  # libcurl refuses it at once
        fetch.until(lambda: bodies)
        paths = [b"/%d" % number for number in range(3)]
        assert [fetch.ask(site.url(path.decode())).body for path in paths] == paths
        assert bodies == [b"/first"]
        assert (site.connections, len(site.requests)) == (1, 4)


def test_a_site_that_lets_nobody_in_any_more_is_found_again_by_libcurl(fetch):
    with origin(always(b"here")) as site:
        url = site.url(host="localhost")
        fetch.loop.direct.learn(Request(url, (), 0), "127.0.0.77", time.monotonic())
        fetch.is_taught = False
        for _ in range(3):
            assert fetch.ask(url).body == b"here"
        assert {f.sock.getpeername()[0] for f in fetch.loop.direct.connections.values()} == {"127.0.0.1"}


def test_a_connection_that_is_not_made_in_time_is_told_and_the_site_left_to_libcurl():
    import socket

    fetch = Fetch(FetchOptions(connect_seconds=0.2), True)
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as deaf,
        socket.socket() as a,
        socket.socket() as b,
    ):
        for filler in (a, b):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/"
        assert fetch.ask(url).failure is Reason.CONNECT
        assert fetch.loop.direct.is_unknown(Request(url, (), 0), time.monotonic())
    fetch.loop.close()


@pytest.mark.parametrize("url", ["/a b", "/a#b", "/中", "/a\x7f", "/a\r\nX: y"])
def test_a_url_that_needs_care_is_libcurls(url):
    by_curl = []
    direct = Direct(OPTIONS, None, None, {}, lambda *asked: by_curl.append(asked), lambda *_: None, {})
    direct.learn(Request("http://127.0.0.1:1/", (), 0), "127.0.0.1", 0.0)
    request = Fetch.request("http://127.0.0.1:1" + url)
    direct.submit(request, None)
    assert by_curl == [(request, None, None, None)]


@pytest.mark.parametrize("line", ["Host: other", "Accept:", "X-Empty;", "X: a\r\nY: b", "X: \u00e9"])
def test_a_header_that_needs_care_is_libcurls(line):
    assert Site("http://127.0.0.1").message("/", (line,)) is None


def test_what_was_written_for_an_earlier_request_changes_no_later_one():
    """Signed requests differ in their first header, and every second in others too."""
    tuples = [
        (first, *others)
        for first in ("A: 1", "A: 2", "Accept: x")
        for others in ((), ("B: 1",), ("B: 2", "Accept: y"))
    ]
    site = Site("http://127.0.0.1")

    for headers in [*itertools.chain.from_iterable(itertools.permutations(tuples, 2)), ()]:
        assert site.message("/", headers) == Site("http://127.0.0.1").message("/", headers)
    assert (
        site.message("/", ("A: 1", "B: 1"))
        == b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: */*\r\nA: 1\r\nB: 1\r\n\r\n"
    )


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy"])
def test_where_a_proxy_is_set_all_is_libcurls(name):
    by_curl = []
    proxied = {name: "http://127.0.0.1:1"}
    direct = Direct(OPTIONS, None, None, {}, lambda *asked: by_curl.append(asked), lambda *_: None, proxied)
    direct.learn(Request("http://127.0.0.1:1/", (), 0), "127.0.0.1", 0.0)
    request = Fetch.request("http://127.0.0.1:1/x")
    direct.submit(request, None)
    assert by_curl == [(request, None, None, None)]


def test_no_request_goes_to_an_address_that_is_out_of_date():
    site = Site("https://objects.example")
    assert site.address[1] == 443
    site.learn("192.0.2.7", 100.0)
    assert site.is_known(159.0)
    assert not site.is_known(161.0)


def test_while_the_first_contact_is_made_the_others_wait(fetch):
    fetch.is_taught = False
    ended = []
    with origin(always(b"ok")) as site:
        for _ in range(40):
            fetch.submit(site.url(), ended.append)
        assert fetch.loop.in_flight == 40
        fetch.until(lambda: len(ended) == 40)
        assert site.connections <= 40
        assert len(fetch.loop.direct.connections) == 39


def test_when_the_first_contact_takes_long_nobody_waits_for_it(fetch):
    fetch.is_taught = False
    ended, first = [], threading.Lock()

    def script(peer):
        if first.acquire(blocking=False):
            peer.hold()
        while peer.request():
            peer.answer(b"ok")

    with origin(script) as site:
        for _ in range(10):
            fetch.submit(site.url(), ended.append)
        fetch.until(lambda: len(ended) == 9)
        assert fetch.loop.in_flight == 1


def test_what_stands_before_a_slash_in_a_query_is_no_host(fetch):
    """It was asked for as the path alone, and what came was taken for the object."""

    def script(peer):
        while head := peer.request():
            peer.answer(head.split(b" ")[1])

    with origin(script) as site:
        for _ in range(3):
            assert fetch.ask(site.url("?u=/x")).body == b"/?u=/x"


def test_of_many_hosts_only_so_many_idle_connections_are_kept(fetching, monkeypatch):
    monkeypatch.setattr("bucketpull.fetch.direct.MOST_SITES", 16)
    fetch = fetching(kept_connections=8)
    with ExitStack() as stack:
        sites = [stack.enter_context(origin(always(b"ok"), host=f"127.0.0.{n}")) for n in range(1, 41)]
        for number, site in enumerate(sites, 1):
            for _ in range(3):
                assert fetch.ask(site.url(host=f"127.0.0.{number}")).body == b"ok"
        direct = fetch.loop.direct
        assert len(direct.connections) <= 8
        assert len(direct._sites) <= 16
        assert fetch.ask(sites[0].url()).body == b"ok"


def test_the_time_in_which_nobody_looked_is_not_the_servers(fetch):
    """A busy process reads late: of how quick servers are it would learn only how busy it is. A look may be interrupted: not each counts."""
    may_answer = threading.Semaphore()

    def script(peer):
        while peer.request():
            may_answer.acquire()
            peer.answer(b"abc")

    beyond = []
    with origin(script) as site:
        fetch.ask(site.url())
        [connection] = fetch.loop.direct.connections.values()
        readable = select.poll()
        readable.register(connection.sock, select.POLLIN)
        for _ in range(20):
            answers, before = [], time.monotonic()
            fetch.submit(site.url(), answers.append)
            fetch.loop.run_once(0.0)
            looked = time.monotonic()
            may_answer.release()
            assert readable.poll(30_000)
            fetch.until(lambda found=answers: found)
            beyond.append(answers[0].seconds - (looked - before) - LEAST_SECONDS)
    assert min(beyond) <= 0.0
