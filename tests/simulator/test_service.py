"""Limits, delays, counters, the control listener, and the connection itself."""

import http.client
import socket
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upyun_simulator import Settings, content
from upyun_simulator.cdn import CdnService
from upyun_simulator.message import Request
from upyun_simulator.rest import RestService
from upyun_simulator.service import World


def timed(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def test_each_kind_has_its_own_latency(host):
    hosted = host(list_latency=0.15, cdn_latency=0.3)

    assert timed(lambda: hosted.rest("")) > 0.14
    assert timed(lambda: hosted.get("img-1.jpg")) > 0.29
    assert min(timed(lambda: hosted.rest("img-1.jpg")) for _ in range(9)) < 0.14


def test_jitter_lengthens(host):
    hosted = host(cdn_latency=0.01, jitter=0.05)

    delays = [timed(lambda: hosted.get("img-1.jpg")) for _ in range(10)]

    assert min(delays) >= 0.01
    assert max(delays) - min(delays) > 0.005


def test_slots_make_requests_wait_their_turn(host):
    hosted = host(cdn_latency=0.1, cdn_slots=2)
    threads = [threading.Thread(target=hosted.get, args=("img-1.jpg",)) for _ in range(6)]

    took = timed(lambda: [thread.start() for thread in threads] + [thread.join() for thread in threads])

    assert took > 0.28


@pytest.mark.parametrize(
    ("option", "code"), [("list_rate", 42900001), ("api_rate", 42900001), ("cdn_rate", 40310003)]
)
def test_above_a_rate_requests_are_refused(host, option, code):
    hosted = host(**{option: 8})
    ask = {
        "list_rate": lambda: hosted.rest(""),
        "api_rate": lambda: hosted.rest("img-1.jpg"),
        "cdn_rate": lambda: hosted.get("img-1.jpg"),
    }[option]

    replies = [ask() for _ in range(12)]

    refused = [reply for reply in replies if reply.status != 200]
    assert len(refused) >= 8
    assert {reply.code for reply in refused} == {code}


@pytest.mark.parametrize("option", ["bandwidth", "connection_bandwidth"])
def test_bandwidth_is_capped(host, option):
    hosted = host(spec="flat:1,size=300000", **{option: 1_000_000})

    assert 0.2 < timed(lambda: hosted.get("img-0.jpg")) < 1


def test_the_whole_bandwidth_is_shared_by_small_replies_too(host):
    hosted = host(spec="flat:10,size=20000", bandwidth=500_000)

    assert timed(lambda: [hosted.get(f"img-{n}.jpg") for n in range(10)]) > 0.3


def test_counters_tell_kinds_bytes_faults_and_duplicates(host):
    hosted = host(track_keys=True, faults=["503:on=cdn,path=img-2*,first=1"])
    hosted.rest("")
    hosted.rest("missing")
    for key in ("img-1.jpg", "img-2.jpg", "img-2.jpg", "img-2.jpg"):
        hosted.get(key)

    report = hosted.order("GET", "/counters")[1]

    assert report["requests"] == {
        "rest.list": {"200": 1},
        "rest.get": {"404": 1},
        "cdn.get": {"200": 3, "503": 1},
    }
    assert report["total"] == 6
    assert report["faults"] == {"503": 1}
    assert report["peak"]["cdn.get"] == 1
    assert (report["duplicates"], report["repeated"]) == (2, {"img-2.jpg": 3})
    assert report["bytes"]["cdn.get"] > 3000
    hosted.order("POST", "/reset")
    assert hosted.order("GET", "/counters")[1]["total"] == 0


def test_peak_concurrency_is_counted(host):
    hosted = host(cdn_latency=0.2)
    threads = [threading.Thread(target=hosted.get, args=("img-1.jpg",)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert hosted.order("GET", "/counters")[1]["peak"]["cdn.get"] == 5


def test_faults_come_and_go_while_it_runs(host):
    hosted = host()

    assert hosted.order("POST", "/faults", ["503:on=cdn", "429:on=list"])[1] == ["503:on=cdn", "429:on=list"]
    assert (hosted.get("img-1.jpg").status, hosted.rest("").status) == (503, 429)
    hosted.order("DELETE", "/faults?503")
    assert (hosted.get("img-1.jpg").status, hosted.rest("").status) == (200, 429)
    hosted.order("DELETE", "/faults")
    assert hosted.rest("").status == 200
    assert hosted.order("GET", "/faults")[1] == []


def test_settings_change_while_it_runs(host):
    hosted = host()

    assert hosted.order("POST", "/settings", {"cdn_latency": 0.2, "clock_offset": 4000})[0] == 200

    assert timed(lambda: hosted.get("img-1.jpg")) > 0.19


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/faults", ["explode"]),
        ("POST", "/faults", {"a": 1}),
        ("POST", "/objects", {"rename": []}),
        ("POST", "/settings", {"spec": 1}),
        ("POST", "/objects", []),
    ],
)
def test_a_wrong_order_is_answered_with_what_is_wrong(host, method, path, body):
    status, reply = host().order(method, path, body)

    assert status == 400
    assert reply["error"]


def test_an_unknown_route_lists_the_routes(host):
    status, reply = host().order("GET", "/nothing")

    assert status == 404
    assert "GET /counters" in reply["routes"]


def test_a_connection_is_kept_and_takes_pipelined_requests_in_order(host, send_raw):
    hosted = host()
    connection = http.client.HTTPConnection("127.0.0.1", hosted.cdn)
    for n in range(3):
        connection.request("GET", f"/img-{n}.jpg")
        assert connection.getresponse().read() == content(f"img-{n}.jpg", 1000)
    connection.close()
    assert hosted.order("GET", "/counters")[1]["peak_connections"] == 1

    ends = {1: b"", 2: b"", 3: b"Connection: close\r\n"}
    requests = [b"GET /img-%d.jpg HTTP/1.1\r\nHost: x\r\n%b\r\n" % item for item in ends.items()]
    received, _ = send_raw(hosted.cdn, b"".join(requests))
    assert [received.find(content(f"img-{n}.jpg", 1000)) for n in (1, 2, 3)] == sorted(
        received.find(content(f"img-{n}.jpg", 1000)) for n in (1, 2, 3)
    )
    assert received.count(b"HTTP/1.1 200 OK") == 3


def test_what_is_no_http_is_refused(host, send_raw):
    received, ending = send_raw(host().cdn, b"\x16\x03\x01 nonsense\r\n\r\n")

    assert received.startswith(b"HTTP/1.1 400")
    assert ending == "end"


def test_http_1_0_is_answered_and_closed(host, send_raw):
    received, ending = send_raw(host().cdn, b"GET /img-1.jpg HTTP/1.0\r\n\r\n")

    assert received.endswith(content("img-1.jpg", 1000))
    assert ending == "end"


def test_a_client_that_leaves_in_the_middle_is_counted(host):
    hosted = host(spec="flat:1,size=50MiB")
    with socket.create_connection(("127.0.0.1", hosted.cdn)) as connection:
        connection.sendall(b"GET /img-0.jpg HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.recv(1000)

    deadline = time.monotonic() + 60
    while not (report := hosted.order("GET", "/counters")[1])["unfinished"]:
        assert time.monotonic() < deadline
    assert report["in_flight"] == {}
    assert report["connections"] == 0


def test_an_access_log_is_written_when_asked_for(host, tmp_path):
    hosted = host(access_log=str(tmp_path / "log"), faults=["429:on=cdn"])
    hosted.get("img-1.jpg")
    hosted.rest("")

    lines = (tmp_path / "log").read_text().splitlines()
    assert 'cdn.get "GET /img-1.jpg" 429' in lines[0]
    assert lines[0].endswith(" 429")
    assert 'rest.list "GET /demo-bucket/" 200' in lines[1]


HEADERS = [
    b"range", b"if-match", b"if-none-match", b"if-range", b"if-modified-since", b"x-list-limit", b"x-list-iter", b"x-list-order",
    b"x-upyun-folder", b"accept", b"authorization", b"date", b"x-date", b"x-upyun-expire", b"x-upyun-uri-prefix", b"cookie", b"referer",
    b"user-agent", b"accept-encoding", b"content-md5",
]  # fmt: skip
TEXT = st.one_of(
    st.binary(max_size=30),
    st.from_regex(rb"bytes=[0-9,-]{0,9}", fullmatch=True),
    st.sampled_from(
        [
            b"",
            b"true",
            b"false",
            b"5",
            b"desc",
            b"application/json",
            b"gzip",
            b"Basic b3BlcmF0b3I6cGFzc3dvcmQ=",
            b"UPYUN operator:x",
        ]
    ),
)
TARGETS = st.one_of(
    st.binary(max_size=30).map(lambda tail: b"/" + tail),
    st.sampled_from(
        [
            b"/demo-bucket/",
            b"/demo-bucket/img-1.jpg",
            b"/img-1.jpg",
            b"/img-1.jpg!s400",
            b"/demo-bucket/?usage",
            b"*",
            b"",
        ]
    ),
)
WORLD = World(Settings(spec="flat:5,size=100", token_secret="", referers=("a",), blocked_agents=("*x",)))


@given(
    st.sampled_from(["GET", "HEAD", "PUT"]),
    TARGETS,
    st.dictionaries(st.sampled_from(HEADERS), TEXT, max_size=6),
    st.booleans(),
)
def test_any_request_is_answered(method, target, headers, allowed):
    if allowed:
        headers = {**headers, b"authorization": b"Basic b3BlcmF0b3I6cGFzc3dvcmQ="}
    for service in (RestService(WORLD), CdnService(WORLD)):
        reply = service.respond(Request(method, target, headers))

        assert 200 <= reply.status < 600
        assert reply.head().startswith(b"HTTP/1.1 ")
