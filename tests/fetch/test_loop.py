import os
import random
import re
import resource
import socket
import time
import types
from contextlib import suppress

import pytest
from tests.fetch.origin import always, first, origin

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request
from bucketpull.fetch import loop
from bucketpull.fetch.curl_handle import BUFFER_BYTES

# --- what comes back


def test_an_answer_comes_with_status_raw_headers_and_the_whole_body(fetch):
    with origin(always(b"x" * 20_000, "200 OK", 'ETag: "ab"')) as site:
        response = fetch.ask(site.url("/a.jpg"))
    assert (response.status, response.failure, response.received) == (200, None, 20_000)
    assert response.body == b"x" * 20_000
    assert b"".join(response.header_lines).startswith(b"HTTP/1.1 200 OK\r\n")
    assert response.headers()["etag"] == '"ab"'
    assert 0 < response.seconds < 20
    assert fetch.loop.in_flight == 0


def test_the_url_is_sent_as_it_is(fetch):
    path = "/b/../a/./%2F%E4%B8%AD//x;y&z!s400?_upt=1%2B"
    with origin(always(b"")) as site:
        fetch.ask(site.url(path))
        assert site.requests[0].split(b"\r\n")[0] == f"GET {path} HTTP/1.1".encode()


def test_each_request_has_the_headers_it_was_given_and_no_others_of_libcurl_than_host_and_accept(fetch):
    with origin(always(b"")) as site:
        fetch.ask(site.url(), "X-One: 1", "Accept: */*")
        fetch.ask(site.url(), "X-Two: 2")
        heads = [set(head.split(b"\r\n")[1:]) for head in site.requests]
        host = f"Host: 127.0.0.1:{site.port}".encode()
    assert heads == [{host, b"X-One: 1", b"Accept: */*"}, {host, b"X-Two: 2", b"Accept: */*"}]


def test_refusals_are_answers_not_failures(fetch):
    with origin(always(b'{"code":40400001}', "404 Not Found")) as site:
        response = fetch.ask(site.url())
    assert (response.status, response.failure, response.body) == (404, None, b'{"code":40400001}')


def test_a_connection_is_used_again_also_while_others_come_and_go(fetch):
    with origin(always(b"ok")) as site:
        for _ in range(50):
            assert fetch.ask(site.url()).body == b"ok"
        assert site.connections <= 2  # libcurl's first contact, and the direct one


def test_connections_that_nobody_needs_are_closed(fetching, monkeypatch):
    """A server may take only so many, of all processes together."""
    monkeypatch.setattr("bucketpull.fetch.loop._SLOWEST_LOOK_SECONDS", 0.05)
    for module in ("direct", "curl"):
        monkeypatch.setattr(f"bucketpull.fetch.{module}.IDLE_SECONDS", 0.05)
    fetch = fetching()
    left = []

    def script(peer):
        while peer.request():
            peer.answer(b"ok")
        left.append(peer)

    with origin(script) as site:
        for _ in range(2):
            answers = []
            for _ in range(6):
                fetch.submit(site.url(), answers.append)
            fetch.until(lambda found=answers: len(found) == 6)
            fetch.until(lambda: len(left) == site.connections)
            assert [answer.body for answer in answers] == [b"ok"] * 6


def test_a_body_without_length_ends_with_the_connection(fetch):
    with origin(first(b"HTTP/1.1 200 OK\r\n\r\nabc")) as site:
        response = fetch.ask(site.url())
    assert (response.failure, response.body) == (None, b"abc")


def test_many_transfers_at_once_all_end(fetch):
    ended = []
    with origin(always(b"y" * 5_000)) as site:
        left = iter(range(1_000))

        def next_one(response=None):
            if response is not None:
                ended.append(response)
            if next(left, None) is not None:
                fetch.submit(site.url(), next_one)

        for _ in range(100):
            next_one()
        fetch.until(lambda: len(ended) == 1_000)
        assert (
            site.connections <= 200
        )  # as many first contacts as there were requests before the first answer
    assert all(r.failure is None and r.received == 5_000 for r in ended)


def test_trailers_are_no_cut(fetch):
    with origin(
        first(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n")
    ) as site:
        response = fetch.ask(site.url())
    assert (response.failure, response.body) == (None, b"abc")


def test_a_trailer_is_no_header(fetch):
    """Behind a body anything may be said: an error, another checksum. Whoever takes it for a header takes the object for gone."""
    trailers = b"ETag: later\r\nX-Error-Code: 40400001\r\nHTTP/1.1 404: no\r\n"
    with origin(
        first(
            b"HTTP/1.1 200 OK\r\nETag: first\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n"
            + trailers
            + b"\r\n"
        )
    ) as site:
        response = fetch.ask(site.url())
    assert (response.failure, response.body) == (None, b"abc")
    assert response.headers() == {"etag": "first", "transfer-encoding": "chunked"}


def test_a_trailer_is_no_header_of_an_answer_that_is_cut_within_it(fetch):
    """Another ETag would be asked for when the object goes on, and what there is of it be thrown away."""
    cut = b"HTTP/1.1 200 OK\r\nETag: first\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nETag: later\r\n"
    with origin(first(cut)) as site:
        response = fetch.ask(site.url())
    assert (response.failure, response.body) == (Reason.TRUNCATED, b"abc")
    assert response.headers() == {"etag": "first", "transfer-encoding": "chunked"}


# --- what goes wrong on the wire


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Reason.TRUNCATED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", Reason.TRUNCATED),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nzz\r\n", Reason.RESET),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9", Reason.RESET),
        (b"HTTP/1.1 200 OK\r\nETag: x\r\n", Reason.RESET),
        (b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nETag: x\r\n", Reason.RESET),
        (b"", Reason.RESET),
        (b"what is this\r\n\r\n", Reason.GARBAGE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", Reason.GARBAGE),
    ],
)
def test_an_answer_that_is_cut_or_no_answer_has_its_reason(fetch, sent, reason):
    with origin(first(sent)) as site:
        response = fetch.ask(site.url())
    assert response.failure is reason, response
    assert response.detail


def test_what_came_before_the_cut_is_told(fetch):
    with origin(first(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")) as site:
        response = fetch.ask(site.url())
    assert (response.status, response.received) == (200, 3)


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 90000\r\n\r\n" + b"z" * 1_000])
def test_a_reset_is_told(fetch, sent):
    with origin(first(sent, lambda peer: peer.reset())) as site:
        assert fetch.ask(site.url()).failure is Reason.RESET


def test_a_refused_connection_is_told(fetch):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert fetch.ask(f"http://127.0.0.1:{port}/").failure is Reason.CONNECT


def test_an_address_that_never_answers_is_no_connection(fetching):
    with (
        socket.create_server(("127.0.0.1", 0), backlog=0) as deaf,
        socket.socket() as a,
        socket.socket() as b,
    ):
        for filler in (a, b):
            filler.setblocking(False)
            filler.connect_ex(deaf.getsockname())
        response = fetching(connect_seconds=0.2).ask(f"http://127.0.0.1:{deaf.getsockname()[1]}/")
    assert response.failure is Reason.CONNECT


def test_a_name_that_does_not_exist_is_told(fetch):
    assert fetch.ask("http://no-such-host.invalid/").failure is Reason.DNS


@pytest.mark.parametrize("url", ["http://[::/", "file:///etc/passwd", "ftp://127.0.0.1/x"])
def test_a_url_that_is_none_of_http_is_never_fetched(fetch, url):
    assert fetch.ask(url).failure in {Reason.REJECTED, Reason.GARBAGE}


# --- what does not come


def test_a_url_that_is_longer_than_libcurl_takes_fails_and_nothing_else_does(fetch):
    with origin(always(b"x")) as site:
        refused = fetch.ask(site.url("/" + "a" * 8_000_000))
        response = fetch.ask(site.url())

    assert (refused.status, refused.failure) == (0, Reason.REJECTED)
    assert response.body == b"x"


def test_no_answer_in_time_is_a_timeout(fetching):
    fetch = fetching(first_byte_seconds=0.2)
    with origin(first(b"", lambda peer: peer.hold())) as site:
        response = fetch.ask(site.url())
        assert response.failure is Reason.TIMEOUT
        assert re.search(r"no answer within \d+\.\d", response.detail)
        assert response.seconds >= 0.19  # a timer may fire a millisecond early
        assert fetch.loop.in_flight == 0


@pytest.mark.parametrize("body", [b"", b"z" * 1_000])
def test_a_body_that_stops_is_stalled(fetching, body):
    window = 1.0
    fetch = fetching(stall_seconds=window)
    with origin(
        first(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n" + body, lambda peer: peer.hold())
    ) as site:
        response = fetch.ask(site.url())
    assert (response.failure, response.status, response.received) == (Reason.STALLED, 200, len(body))
    # The window begins with the first look, a quarter of one after the head; a timer may fire a millisecond early.
    assert window - 0.01 <= response.seconds < 5 * window


def drip(piece, pause):
    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (len(piece) * 50))
        for _ in range(50):
            peer.send(piece)
            peer.origin.over.wait(pause)

    return script


def test_a_drip_below_the_least_speed_is_stalled(fetching):
    with origin(drip(b"z", 0.02)) as site:
        response = fetching(stall_seconds=0.2, stall_bytes_per_second=1_000).ask(site.url())
    assert response.failure is Reason.STALLED


def test_a_drip_above_the_least_speed_takes_what_it_takes(fetching):
    with origin(drip(b"z" * 100, 0.02)) as site:
        response = fetching(stall_seconds=0.2, first_byte_seconds=0.2, stall_bytes_per_second=500).ask(
            site.url()
        )
    assert (response.failure, response.received) == (None, 5_000)


def test_an_answer_whose_whole_is_bounded_ends_though_it_gets_on(fetch):
    answers = []
    with origin(drip(b"z" * 100, 0.5)) as site:
        fetch.loop.submit(Request(site.url(), (), 1 << 20, most_seconds=0.2), answers.append)
        fetch.until(lambda: answers)
    assert answers[0].failure is Reason.STALLED
    assert "and no end" in answers[0].detail


@pytest.mark.parametrize("piece", [b"HTTP/1.1 100 Continue\r\n\r\n", b"X-Filler: " + b"x" * 500 + b"\r\n"])
def test_heads_without_end_are_no_answer(fetch, piece):
    def script(peer):
        peer.request()
        peer.send(b"" if piece.startswith(b"HTTP") else b"HTTP/1.1 200 OK\r\n")
        with suppress(OSError):
            for _ in range(100_000):
                peer.send(piece)

    with origin(script) as site:
        assert fetch.ask(site.url()).failure is not None


@pytest.mark.parametrize(
    "lines",
    [
        [b"X-%d: %s" % (number, b"a" * 1000) for number in range(400)],
        [b"X-One: " + b"a" * 400_000],
        [b"X-%d: a" % number for number in range(20_000)],
    ],
    ids=["in all", "of one line", "of lines"],
)
def test_a_head_that_is_too_large_is_garbage_in_words_of_its_own(fetch, lines):
    head = b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: 5", *lines, b"", b""])
    with origin(first(head + b"hello")) as site:
        response = fetch.ask(site.url())
    assert response.failure is Reason.GARBAGE
    assert response.detail.startswith("the head of the answer is too large")


def test_the_time_in_which_a_process_did_not_look_is_no_silence_of_the_server(fetch, monkeypatch):
    """It was stopped, or its disk held it: what has come meanwhile lies in the socket, unread."""
    started, answers, ahead = time.monotonic, [], [0.0]
    with origin(lambda peer: peer.request() and peer.request()) as site:
        fetch.submit(site.url(), answers.append)
        fetch.until(lambda: fetch.loop.waits(site.url("").rstrip("/"))[1])
        monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: started() + ahead[0]))
        ahead[0] = 3000.0
        fetch.loop.run_once(0.0)
        seconds, waiting = fetch.loop.waits(site.url("").rstrip("/"))
    assert (answers, waiting) == ([], 1)
    assert seconds < 1000.0


def test_nor_is_the_time_in_which_what_the_loop_called_did_not_come_back(fetch, monkeypatch):
    started, answers, silent, ahead = time.monotonic, [], [], [0.0]
    reading, writing = os.pipe()

    def held():
        os.read(reading, 1)
        ahead[0] = 3000.0

    with origin(lambda peer: peer.request() and peer.request()) as site:
        at = site.url("").rstrip("/")
        fetch.submit(site.url(), answers.append)
        fetch.until(lambda: fetch.loop.waits(at)[1])
        monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: started() + ahead[0]))
        fetch.loop.call_later(2000.0, lambda: silent.append(fetch.loop.waits(at)))
        fetch.loop.watch(reading, held)
        os.write(writing, b".")
        fetch.until(lambda: silent)
        fetch.loop.unwatch(reading)
    os.close(reading)
    os.close(writing)
    ((seconds, waiting),) = silent
    assert (answers, waiting) == ([], 1)
    assert seconds < 1000.0


def test_one_that_stalls_holds_up_no_other(fetching):
    fetch = fetching(stall_seconds=3.0)
    stuck = []

    def script(peer):
        while head := peer.request():
            if b"/stuck" in head:
                peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
                peer.hold()
            else:
                peer.answer(b"ok")

    with origin(script) as site:
        fetch.submit(site.url("/stuck"), stuck.append)
        for _ in range(200):
            assert fetch.ask(site.url("/ok")).body == b"ok"
        assert not stuck
        assert fetch.loop.in_flight == 1


def test_what_has_come_of_a_body_is_told_while_it_is_in_transfer(fetch):
    ended = []
    with origin(first(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabcd", lambda peer: peer.hold())) as site:
        fetch.submit(site.url(), ended.append)
        fetch.until(lambda: fetch.loop.arriving)
        assert fetch.loop.arriving == 4
    fetch.until(lambda: ended)
    assert fetch.loop.arriving == 0


# --- bounds


def test_a_body_declared_above_the_bound_is_refused_unread(fetch):
    with origin(always(b"z" * 5_000)) as site:
        response = fetch.ask(site.url(), most=4_999)
        assert (response.failure, response.received) == (Reason.SIZE, 0)
        assert fetch.ask(site.url(), most=5_000).failure is None


def test_a_body_without_length_is_cut_at_the_bound(fetch):
    def endless(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            peer.send(b"10000\r\n" + b"z" * 65_536 + b"\r\n")

    with origin(endless) as site:
        response = fetch.ask(site.url(), most=1 << 20)
    assert response.failure is Reason.SIZE
    assert response.received <= 1 << 20


def test_the_cap_holds_for_all_transfers_together(fetch):
    fetch.loop.limit_bandwidth(2_000_000)
    took = []
    with origin(always(b"z" * 100_000)) as site:
        while not took or (took[-1] > 1.6 and len(took) < 10):  # a busy machine may be late once
            ended, began = [], time.monotonic()
            for _ in range(16):
                fetch.submit(site.url(), ended.append)
            fetch.until(lambda found=ended: len(found) == 16)
            ended.append(fetch.ask(site.url()))  # waits off what the last ones read at once
            took.append(time.monotonic() - began)
            assert all(r.failure is None for r in ended)
    assert min(took) >= 0.65  # 1.7 MB, of which 0.2 MB are saved up and the last 0.1 MB may be owed
    assert took[-1] <= 1.6


def test_a_cap_that_is_lifted_is_lifted_for_what_is_under_way(fetch):
    fetch.loop.limit_bandwidth(10_000)
    ended = []
    with origin(always(b"z" * 1_000_000)) as site:
        fetch.submit(site.url(), ended.append)
        fetch.loop.run_once(0.1)
        fetch.loop.limit_bandwidth(None)
        fetch.until(lambda: ended)
    assert ended[0].seconds < 10


@pytest.mark.parametrize("higher", [None, 100_000_000])
def test_the_buffer_of_a_transfer_under_way_does_not_grow(fetch, higher):
    fetch.loop.limit_bandwidth(1_000_000)
    ended = []
    with origin(always(b"z" * 300_000)) as site:
        fetch.submit(site.url(), ended.append, sink=lambda _: None)
        [handle] = fetch.loop._curl._busy
        small = handle.buffer_bytes
        fetch.loop.limit_bandwidth(higher)
        assert handle.buffer_bytes == small < 2 * small < BUFFER_BYTES
        fetch.loop.limit_bandwidth(None)
        fetch.until(lambda: ended)
        fetch.submit(site.url(), ended.append, sink=lambda _: None)
        assert handle.buffer_bytes == BUFFER_BYTES
        fetch.until(lambda: len(ended) == 2)


def test_a_cap_that_changes_lets_nothing_more_through_than_it_says(fetch):
    fetch.loop.limit_bandwidth(1_000)
    fetch.loop.direct.counted(1_000_000)
    fetch.loop.limit_bandwidth(2_000)
    fetch.loop.run_once(0.0)
    assert fetch.loop._allowance.delay() > 400


def test_waiting_for_the_cap_is_no_stall(fetching):
    fetch = fetching(stall_seconds=1.0, first_byte_seconds=1.0, stall_bytes_per_second=100_000)
    fetch.loop.limit_bandwidth(800_000)
    ended = []
    with origin(always(b"z" * 400_000)) as site:
        for _ in range(4):
            fetch.submit(site.url(), ended.append)
        fetch.until(lambda: len(ended) == 4)
    assert [r.failure for r in ended] == [None] * 4


def test_of_a_transfer_that_has_not_begun_nothing_is_arriving(fetch):
    with origin(always(b"z" * 300_000)) as site:
        fetch.ask(site.url(), sink=lambda _: None)
        fetch.submit(site.url(), lambda _: None, sink=lambda _: None)
        assert (fetch.loop.in_flight, fetch.loop.arriving) == (1, 0)


def test_what_libcurl_reads_in_one_turn_is_no_more_than_a_cap_saves_up(fetch):
    fetch.loop.limit_bandwidth(1_000_000)
    turns = []
    with origin(always(b"z" * 10_000_000)) as site:
        fetch.submit(site.url(), lambda _: None, most=10_000_000, sink=lambda piece: turns.append(len(piece)))
        read = []
        while sum(read) < 500_000:
            turns.clear()
            fetch.loop.run_once(0.5)
            read.append(sum(turns))
    assert max(read) <= 100_000


def test_under_a_cap_several_sockets_get_their_turn_however_little_is_left(fetch):
    fetch.loop.limit_bandwidth(1_000_000)
    heard = []
    pipes = [os.pipe() for _ in range(6)]
    for reader, writer in pipes:
        fetch.loop.watch(reader, lambda reader=reader: heard.append(os.read(reader, 100)))
        os.write(writer, b"word")
    fetch.loop.direct.counted(99_000)
    fetch.loop.run_once(0.0)
    assert len(heard) == 6
    for pipe in pipes:
        for end in pipe:
            os.close(end)


# --- redirects


@pytest.mark.parametrize(
    "status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"]
)
def test_a_redirect_is_an_answer_and_nothing_is_asked_of_where_it_leads(fetch, status):
    with origin(always(b"there")) as other:
        with origin(always(b"", status, f"Location: {other.url('/x')}")) as site:
            response = fetch.ask(site.url(), "Authorization: Basic c2VjcmV0")
        assert (response.status, response.failure) == (int(status[:3]), None)
        assert response.headers()["location"] == other.url("/x")
        assert (len(site.requests), other.requests) == (1, [])


# --- sinks


def test_a_sink_gets_the_body_and_the_next_transfer_is_kept_again(fetch):
    taken = []
    with origin(always(b"z" * 300_000)) as site:
        poured = fetch.ask(site.url(), sink=taken.append)
        kept = fetch.ask(site.url())
    assert b"".join(taken) == b"z" * 300_000
    assert (poured.chunks, poured.received, poured.failure) == ([], 300_000, None)
    assert kept.received == len(kept.body) == 300_000


def test_what_a_sink_does_not_take_is_offered_again_and_waiting_for_it_is_no_stall(fetching):
    fetch = fetching(stall_seconds=0.2, first_byte_seconds=0.2, stall_bytes_per_second=1_000_000)
    taken, offers = bytearray(), 0

    def sink(chunk):
        nonlocal offers
        offers += 1
        if offers % 7 == 3 and offers < 100:
            return False
        taken.extend(chunk)
        return True

    body = random.Random(3).randbytes(2_000_000)
    with origin(always(body)) as site:
        response = fetch.ask(site.url(), sink=sink, most=1 << 24)

    assert (response.failure, response.received) == (None, len(body))
    assert taken == body
    assert offers > 7


def test_a_transfer_whose_sink_takes_nothing_for_long_reads_nothing_and_lets_others_through(fetching):
    fetch = fetching(stall_seconds=0.2, first_byte_seconds=0.2)
    is_open, taken = False, bytearray()

    def sink(chunk):
        if is_open:
            taken.extend(chunk)
        return is_open

    ended = []
    body = random.Random(4).randbytes(8_000_000)
    with origin(always(body)) as site:
        fetch.submit(site.url("/large"), ended.append, sink=sink, most=1 << 24)
        for _ in range(10):
            assert fetch.ask(site.url("/small"), most=1 << 24).received == len(body)
        assert ended == []
        is_open = True
        fetch.until(lambda: ended)

    assert (ended[0].failure, taken == body) == (None, True)


def test_a_connection_that_is_cut_while_its_sink_takes_nothing_ends_as_cut(fetch):
    ended, is_open = [], False

    def sink(chunk):
        return is_open

    with origin(first(b"HTTP/1.1 200 OK\r\nContent-Length: 500000\r\n\r\n" + bytes(100_000))) as site:
        fetch.submit(site.url(), ended.append, sink=sink)
        for _ in range(10):
            fetch.loop.run_once(0.05)
        is_open = True
        fetch.until(lambda: ended)

    assert ended[0].failure in {Reason.TRUNCATED, Reason.RESET}


def test_a_sink_never_gets_the_words_of_a_refusal(fetch):
    taken = []
    with origin(always(b'{"msg":"too many"}', "429 Too Many Requests")) as site:
        response = fetch.ask(site.url(), sink=taken.append)
    assert not taken
    assert (response.status, response.body, response.received) == (429, b'{"msg":"too many"}', 18)


def test_a_sink_that_raises_ends_its_transfer_and_no_other(fetch):
    def full(_):
        raise OSError(28, "no space left on device")

    with origin(always(b"z" * 300_000)) as site:
        response = fetch.ask(site.url(), sink=full)
        assert (response.failure, response.received) == (Reason.INTERRUPTED, 0)
        assert fetch.ask(site.url()).failure is None


def test_the_head_is_told_once_before_the_body_goes_to_a_sink_and_not_that_of_a_refusal(fetch):
    told = []

    def begun(head):
        told.append((head.status, head.headers()["content-length"], head.received, head.failure))

    with origin(always(b"z" * 300_000)) as site:
        fetch.ask(site.url(), sink=lambda _: told.append("body"), begun=begun)
        fetch.ask(site.url(), sink=lambda _: None)
    assert told[0] == (200, "300000", 0, Reason.INTERRUPTED)
    assert set(told[1:]) == {"body"}
    with origin(always(b"no", status="404 Not Found")) as site:
        fetch.ask(site.url(), sink=told.append, begun=told.append)
    assert set(told[1:]) == {"body"}


def test_a_head_that_is_not_welcome_ends_its_transfer_before_the_body(fetch):
    taken = []

    def refuse(_):
        raise ValueError

    with origin(always(b"z" * 300_000)) as site:
        response = fetch.ask(site.url(), sink=taken.append, begun=refuse)
        assert (response.status, response.failure, response.received) == (200, Reason.INTERRUPTED, 0)
        assert fetch.ask(site.url()).failure is None
    assert taken == []


# --- the loop's other duties


def test_descriptors_are_watched_beside_transfers(fetch):
    heard, ended = [], []
    reader, writer = os.pipe()
    fetch.loop.watch(reader, lambda: heard.append(os.read(reader, 100)))
    with origin(first(b"", lambda peer: peer.hold())) as site:
        fetch.submit(site.url(), ended.append)
        os.write(writer, b"word")
        fetch.until(lambda: heard)
    assert (heard, ended) == ([b"word"], [])
    os.close(reader)
    os.close(writer)


def test_descriptors_are_heard_while_the_cap_holds_transfers_back(fetch):
    heard = []
    reader, writer = os.pipe()
    fetch.loop.watch(reader, lambda: heard.append(os.read(reader, 100)))
    fetch.loop.limit_bandwidth(1_000)
    with origin(always(b"z" * 500_000)) as site:
        fetch.submit(site.url(), lambda _: None)
        for _ in range(20):
            fetch.loop.run_once(0.05)
        os.write(writer, b"word")
        fetch.loop.run_once(0.0)
        assert heard
        assert fetch.loop.in_flight == 1
    os.close(reader)
    os.close(writer)


def test_a_number_whose_owner_closed_it_may_become_a_socket(fetch):
    heard = []
    reader, writer = os.pipe()
    fetch.loop.watch(reader, lambda: heard.append(1))
    os.close(reader)
    with origin(always(b"ok")) as site:
        assert [fetch.ask(site.url()).body for _ in range(3)] == [b"ok"] * 3
    assert not heard
    os.close(writer)


def test_timers_ring_in_order_and_the_loop_waits_no_longer_than_told(fetch):
    rung = []
    fetch.loop.call_later(0.06, lambda: rung.append("b"))
    fetch.loop.call_later(0.03, lambda: rung.append("a"))
    fetch.loop.call_later(0.06, lambda: rung.append("c"))
    fetch.until(lambda: len(rung) == 3)
    assert rung == ["a", "b", "c"]

    waits = []
    for _ in range(9):
        began = time.monotonic()
        fetch.loop.run_once(0.0)
        waits.append(time.monotonic() - began)
    assert min(waits) < 0.03


def test_an_idle_connection_that_the_server_closes_wakes_the_loop_once(fetch):
    def script(peer):
        peer.request()
        peer.answer(b"ok")
        peer.origin.closed.set()

    import threading

    with origin(script) as site:
        site.closed = threading.Event()
        assert fetch.ask(site.url()).body == b"ok"
        site.closed.wait(60)
        for thread in site.threads[1:]:
            thread.join(60)
        turns, end = 0, time.monotonic() + 0.4
        while time.monotonic() < end:
            fetch.loop.run_once(0.2)
            turns += 1
        assert turns <= 6
        assert fetch.ask(site.url()).body == b"ok"


def test_connections_that_close_after_each_answer_are_no_trouble(fetch):
    def script(peer):
        peer.request()
        peer.answer(b"ok", "200 OK", "Connection: close")

    with origin(script) as site:
        for turn in range(60):
            host = ("127.0.0.1", "localhost")[turn % 2]
            assert fetch.ask(site.url(host=host)).body == b"ok"
        assert site.connections == 60


def test_when_a_callback_raises_the_others_keep_their_turn(fetch):
    ended = []

    def broken(response):
        raise ZeroDivisionError

    with origin(always(b"ok")) as site:
        fetch.submit(site.url(), broken)
        fetch.submit(site.url(), ended.append)
        with pytest.raises(ZeroDivisionError):
            fetch.until(lambda: False)
        fetch.until(lambda: ended)
    assert ended[0].body == b"ok"


def test_closing_abandons_without_a_word(fetching):
    ended = []
    with origin(first(b"", lambda peer: peer.hold())) as site:
        fetch = fetching()
        for _ in range(5):
            fetch.submit(site.url(), ended.append)
        fetch.loop.run_once(0.05)
        fetch.loop.close()
    assert not ended
    assert fetch.loop.in_flight == 0


# --- ways to the other side


def test_ipv6(fetch):
    with origin(always(b"six"), host="::1") as site:
        assert fetch.ask(site.url(host="[::1]")).body == b"six"


def test_the_proxy_of_the_environment_is_used_save_for_its_exceptions(fetching, monkeypatch):
    with origin(always(b"proxied")) as proxy, origin(always(b"direct")) as site:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        fetch = fetching()
        assert fetch.ask("http://objects.example/a.jpg").body == b"proxied"
        assert proxy.requests[0].startswith(b"GET http://objects.example/a.jpg HTTP/1.1")
        assert fetch.ask(site.url()).body == b"direct"


def test_a_process_out_of_descriptors_blames_itself_not_the_server(fetch):
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with origin(always(b"x")) as site:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(map(int, os.listdir("/proc/self/fd"))), before[1]))
        spare = []
        try:
            with suppress(OSError):
                while True:
                    spare.append(os.dup(0))
            answer = fetch.ask(site.url())
        finally:
            for fd in spare:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, before)
        assert answer.failure is Reason.MACHINE
        assert fetch.ask(site.url()).body == b"x"
