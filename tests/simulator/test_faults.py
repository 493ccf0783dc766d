"""Each fault does what its name says, as seen on the wire; and rules choose the requests that they say."""

import gzip
import hashlib
import json
import time
from collections import Counter
from pathlib import Path

import pytest

from upyun_simulator import content, effects
from upyun_simulator.bodies import md5_hex
from upyun_simulator.cursor import END, Position, RowKeys
from upyun_simulator.faults import Call, Faults
from upyun_simulator.message import Request

KEY, SIZE = "img-3.jpg", 1000
WHOLE = content(KEY, SIZE)
CURSORS = RowKeys("demo-bucket")


def cursor(name):
    return CURSORS.encode("", Position(False, name))


def answer(hosted, send_raw, path=KEY, extra="", comes=None):
    """Get an object of the CDN by hand: return status, headers (lower case), body, and how the connection ended.

    After `comes` bytes of body nothing more is expected, and before the head if it is negative; the default is an end.
    """
    request = f"GET /{path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{extra}\r\n"

    def has_all(received):
        _, end, body = received.partition(b"\r\n\r\n")
        return comes is not None and (comes < 0 or (end != b"" and len(body) >= comes))

    received, ending = send_raw(hosted.cdn, request.encode(), has_all)
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if ": " in line)
    return [*lines[0].split(" "), ""][1], headers, body, ending


CODES = {
    "429": 42900001,
    "503": 50300000,
    "499": 49900001,
    "403": 40310003,
    "401": 40100005,
    "404": 40400001,
    "error": 50300044,
}


@pytest.mark.parametrize(("name", "code"), CODES.items())
def test_codes(host, name, code):
    hosted = host(faults=[name])

    for reply in (hosted.get(KEY), hosted.rest(KEY), hosted.rest("")):
        assert (reply.status, reply.code) == (code // 100_000, code)
        assert reply.headers["retry-after"] is None
    assert hosted.rest(KEY, "HEAD").headers["x-error-code"] == str(code)


@pytest.mark.parametrize("code", [*range(42900001, 42900008), 40310013, 40310014, 40310011, 50200001])
def test_any_code_can_be_asked_for_with_a_retry_after(host, code):
    reply = host(faults=[f"error:code={code},retry_after=7"]).get(KEY)

    assert (reply.status, reply.code, reply.headers["retry-after"]) == (code // 100_000, code, "7")


def test_502_html_and_500_empty(host):
    assert b"502 Bad Gateway" in host(faults=["502-html"]).rest("").body
    reply = host(faults=["500-empty"]).get(KEY)
    assert (reply.status, reply.body) == (500, b"")


@pytest.mark.parametrize(("name", "ending"), [("reset", "reset"), ("hang-up", "end"), ("silence", "silence")])
def test_no_answer_at_all(host, send_raw, name, ending):
    comes = -1 if ending == "silence" else None
    assert answer(host(faults=[name]), send_raw, comes=comes) == ("", {}, b"", ending)


@pytest.mark.parametrize(
    ("name", "ending"), [("reset-body", "reset"), ("truncate", "end"), ("stall", "silence")]
)
@pytest.mark.parametrize("after", [0, 1, 400, 999, 5000])
def test_a_body_that_breaks_off(host, send_raw, name, ending, after):
    comes = min(after, SIZE - 1) if ending == "silence" else None
    status, headers, body, ended = answer(host(faults=[f"{name}:after={after}"]), send_raw, comes=comes)

    assert ended == ending
    if ended != "reset":  # a reset may overtake what was sent before it
        assert (status, headers["content-length"]) == ("200", "1000")
        assert body == WHOLE[: min(after, SIZE - 1)]
    assert len(body) < SIZE


def test_chunked_with_and_without_its_end(host, send_raw):
    status, headers, body, _ = answer(host(faults=["chunked"]), send_raw)
    assert (status, headers.get("transfer-encoding"), "content-length" in headers) == (
        "200",
        "chunked",
        False,
    )
    assert body == b"3e8\r\n" + WHOLE + b"\r\n0\r\n\r\n"

    _, headers, body, ended = answer(host(faults=["chunked-cut:after=100"]), send_raw)
    assert ("content-length" in headers, ended) == (False, "end")
    assert body == b"64\r\n" + WHOLE[:100] + b"\r\n"


def test_drip_and_slow_take_their_time(host):
    began = time.perf_counter()
    assert host(faults=["drip:rate=4000"]).get(KEY).body == WHOLE
    assert time.perf_counter() - began > 0.15

    began = time.perf_counter()
    assert host(faults=["slow:seconds=0.2"]).rest("").status == 200
    assert time.perf_counter() - began > 0.18


def test_a_hidden_error(host):
    reply = host(faults=["hidden-error:after=10"]).rest(KEY)

    assert (reply.status, reply.headers["x-error-code"], reply.headers["content-length"]) == (
        200,
        "50300006",
        None,
    )
    assert reply.body == WHOLE[:10]


def test_the_same_bytes_under_odd_headers(host):
    reply = host(faults=["content-type:type=text/plain"]).get(KEY)
    assert (reply.body, reply.headers["content-type"]) == (WHOLE, "text/plain")
    reply = host(faults=["stored-encoding:as=utf-8,md5=0"]).get(KEY)
    assert (reply.body, reply.headers["content-encoding"]) == (WHOLE, "utf-8")
    assert reply.headers["etag"].startswith('"v-')
    reply = host(faults=["header:name=Last-Modified,value=x"]).get(KEY)
    assert (reply.body, reply.headers["last-modified"]) == (WHOLE, "x")


def test_an_object_that_begins_otherwise(host):
    reply = host(faults=["begins-with:text={"]).get(KEY)

    assert reply.body == b"{" + WHOLE[1:]
    assert reply.headers["etag"] == f'"{hashlib.md5(reply.body).hexdigest()}"'


def test_an_early_hint_comes_before_the_answer(host, send_raw):
    hosted = host(faults=["early-hints:etag=abc"])
    request = f"GET /{KEY} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    raw, _ = send_raw(hosted.cdn, request)

    hint, final = raw.split(b"\r\n\r\n")[:2]
    assert hint.startswith(b'HTTP/1.1 103 Early Hints\r\nETag: "abc"')
    assert final.startswith(b"HTTP/1.1 200 OK\r\n")


def test_pages_that_are_no_object(host):
    reply = host(faults=["html"]).get(KEY)
    assert (reply.status, reply.headers["content-type"].split(";")[0]) == (200, "text/html")
    reply = host(faults=["json-200"]).get(KEY)
    assert (reply.status, json.loads(reply.body)["code"]) == (200, "42900001")
    reply = host(faults=["redirect:to=/oops.png"]).get(KEY)
    assert (reply.status, reply.headers["location"]) == (302, "/oops.png")
    reply = host(faults=["redirect:status=308,to=http://b.example/{key}"]).get(KEY)
    assert (reply.status, reply.headers["location"]) == (308, f"http://b.example/{KEY}")


def test_now_folder(host):
    hosted = host(faults=["now-folder"])

    assert hosted.rest(KEY).headers["x-upyun-list-iter"] == END
    assert hosted.rest(KEY, **{"x-upyun-folder": "false"}).code == 40400001
    assert hosted.rest(KEY, "HEAD").headers["x-upyun-file-type"] == "folder"
    assert hosted.get(KEY).code == 40400001


def test_a_416_with_a_valid_content_range_only_for_ranges(host):
    hosted = host(faults=["416"])

    reply = hosted.get(KEY, range="bytes=0-9")
    assert (reply.status, reply.headers["content-range"]) == (416, "bytes 0-0/1000")
    assert hosted.get(KEY).status == 200


def test_gone_is_listed_but_404_and_expired_is_no_longer_listed(host):
    hosted = host(faults=[f"gone:path={KEY}", "expired:path=img-4*"])

    assert [hosted.get(KEY).code, hosted.rest(KEY).code, hosted.rest(KEY, "HEAD").status] == [
        40400001,
        40400001,
        404,
    ]
    assert KEY in hosted.page()[0]
    assert "img-4.jpg" in hosted.page()[0]
    assert hosted.get("img-4.jpg").status == 404
    assert "img-4.jpg" not in hosted.page()[0]


def test_size_differs_everywhere_but_in_the_listing(host):
    hosted = host(faults=["size-differs:by=5"])

    for reply in (hosted.get(KEY), hosted.rest(KEY)):
        assert reply.body == content(KEY, SIZE + 5, 1)
    assert hosted.rest(KEY, "HEAD").headers["x-upyun-file-size"] == "1005"
    assert json.loads(hosted.rest("", accept="application/json").body)["files"][3]["length"] == SIZE


def test_stale_is_an_older_version(host):
    fresh, stale = host().get(KEY), host(faults=["stale:on=cdn"]).get(KEY)

    assert stale.body == content(KEY, 750, 1000)
    assert stale.headers["etag"] == f'"{hashlib.md5(stale.body).hexdigest()}"'
    assert stale.headers["last-modified"] != fresh.headers["last-modified"]
    assert host(faults=["stale:same=1"]).get(KEY).body == content(KEY, SIZE, 1000)


def test_etags_that_are_no_md5(host):
    right = md5_hex(KEY, SIZE)

    reply = host(faults=["multipart-etag"]).rest(KEY)
    assert len(reply.headers["content-md5"]) == 32
    assert right not in reply.headers["etag"] + reply.headers["content-md5"]
    reply = host(faults=["no-md5"]).rest(KEY)
    assert (reply.headers["etag"], reply.headers["content-md5"], reply.body) == (None, None, WHOLE)
    assert host(faults=["weak-etag"]).get(KEY).headers["etag"] == f'W/"{right}"'


def test_bodies_that_are_wrong(host):
    wrong = host(faults=["corrupt:at=10"]).get(KEY).body
    assert [n for n in range(SIZE) if wrong[n] != WHOLE[n]] == [10]
    assert host(faults=["short:after=999"]).get(KEY).body == WHOLE[:999]
    reply = host(faults=["gzip"]).get(KEY, **{"accept-encoding": "identity"})
    assert (reply.headers["content-encoding"], gzip.decompress(reply.body)) == ("gzip", WHOLE)


def test_ranges_that_are_wrong(host):
    reply = host(faults=["ignore-range"]).get(KEY, range="bytes=10-19")
    assert (reply.status, reply.body, reply.headers["content-range"]) == (200, WHOLE, None)
    reply = host(faults=["replaced"]).get(KEY, range="bytes=10-19")
    assert (reply.status, reply.body) == (206, content(KEY, SIZE, 1)[10:20])
    assert reply.headers["etag"] == f'"{md5_hex(KEY, SIZE, 1)}"'


FIRST, LATER = {"x-list-limit": "4"}, {"x-list-limit": "4", "x-list-iter": cursor("img-3.jpg")}
LAST = {"x-list-limit": "4", "x-list-iter": cursor("img-7.jpg")}
FORGED = {"x-list-limit": "4", "x-list-iter": cursor("img-3a.jpg")}


def names(*numbers):
    return [f"img-{n}.jpg" for n in numbers]


@pytest.mark.parametrize(
    ("fault", "asked", "expected"),
    [
        ("same-cursor", FIRST, (names(0, 1, 2, 3), cursor("img-3.jpg"))),
        ("same-cursor", LATER, (names(4, 5, 6, 7), cursor("img-3.jpg"))),
        ("older-cursor", LATER, (names(4, 5, 6, 7), cursor("img-0.jpg"))),
        ("bare-cursor", LATER, (names(4, 5, 6, 7), cursor("img-7.jpg").rstrip("="))),
        ("padded-end", LAST, (names(8, 9), END + "==")),
        ("padded-end", FIRST, (names(0, 1, 2, 3), cursor("img-3.jpg"))),
        ("short-page:entries=2", FIRST, (names(0, 1), cursor("img-1.jpg"))),
        ("short-page", FIRST, (names(0), cursor("img-0.jpg"))),
        ("end-page", {"x-list-limit": "10"}, (names(*range(10)), cursor("img-9.jpg"))),
        ("end-page", {"x-list-iter": cursor("img-9.jpg")}, ([], END)),
        ("duplicate", LATER, (names(3, 4, 5, 6, 7), cursor("img-7.jpg"))),
        ("duplicate", FIRST, (names(0, 1, 2, 3), cursor("img-3.jpg"))),
        ("overlap:entries=2", LATER, (names(2, 3, 4, 5, 6, 7), cursor("img-7.jpg"))),
        ("overlap", FIRST, (names(0, 1, 2, 3), cursor("img-3.jpg"))),
        ("same-page", LATER, (names(0, 1, 2, 3), cursor("img-3.jpg\x01"))),
        ("unordered", FIRST, (names(0, 2, 1, 3), cursor("img-3.jpg"))),
        ("forged-restarts", FORGED, (names(0, 1, 2, 3), cursor("img-3.jpg"))),
        ("forged-restarts", LATER, (names(4, 5, 6, 7), cursor("img-7.jpg"))),
        ("forged-skips", LATER, (names(4, 5, 6, 7), cursor("img-7.jpg"))),
        ("forged-skips:entries=1", FORGED, (names(5, 6, 7), cursor("img-7.jpg"))),
        ("forged-fails", LATER, (names(4, 5, 6, 7), cursor("img-7.jpg"))),
        ("bad-cursor", FIRST, (names(0, 1, 2, 3), cursor("img-3.jpg"))),
        ("folder-gone", FIRST, (names(0, 1, 2, 3), cursor("img-3.jpg"))),
    ],
)
def test_pages_with_other_entries_or_cursors(host, fault, asked, expected):
    assert host(faults=[fault]).page(**asked) == expected


@pytest.mark.parametrize(
    ("fault", "asked", "code"),
    [("forged-fails", FORGED, 40001005), ("bad-cursor", LATER, 40001005), ("folder-gone", LATER, 40400001)],
)
def test_pages_that_are_refused(host, fault, asked, code):
    assert host(faults=[fault]).rest("", **asked).code == code


@pytest.mark.parametrize(
    ("fault", "body", "header"),
    [("no-cursor", False, False), ("body-cursor", True, False), ("header-cursor", False, True)],
)
def test_where_the_cursor_is(host, fault, body, header):
    reply = host(faults=[fault]).rest("", accept="application/json", **FIRST)

    assert (("iter" in json.loads(reply.body)), reply.headers["x-upyun-list-iter"] is not None) == (
        body,
        header,
    )


def test_an_empty_page_comes_before_each_page_and_goes_on(host):
    hosted, found, position = host(faults=["empty-page"]), [], None
    cursors = []
    while position != END:
        page, position = hosted.page(**FIRST, **({"x-list-iter": position} if position else {}))
        found.append(page)
        cursors.append(position)

    assert found == [[], names(0, 1, 2, 3), [], names(4, 5, 6, 7), [], names(8, 9)]
    assert len(set(cursors)) == len(cursors)


def test_pages_that_are_no_listing(host):
    asked = {"accept": "application/json", "x-upyun-folder": "true"}
    with pytest.raises(ValueError, match=r"Unterminated|Expecting|delimiter"):
        json.loads(host(faults=["garbage"]).rest("", **asked).body)
    reply = host(faults=["blank"]).rest("", **asked)
    assert (reply.status, reply.body, reply.headers["x-upyun-list-iter"]) == (200, b"", None)
    reply = host(faults=["file-instead"]).rest("", **asked)
    assert (reply.body[:2], reply.headers["x-upyun-list-iter"]) == (b"\xff\xd8", None)
    assert host(faults=["tsv"]).rest("", **asked).body.split(b"\n")[0].split(b"\t")[:2] == [
        b"img-0.jpg",
        b"N",
    ]


@pytest.mark.parametrize(
    ("fault", "odd"),
    [
        ("odd-entry:field=length,value=-1", {"length": -1}),
        ("odd-entry:field=last_modified,value=null", {"last_modified": None}),
        ("odd-entry:field=type", {}),
    ],
)
def test_one_entry_of_a_page_is_odd(host, fault, odd):
    asked = {"accept": "application/json", **FIRST}
    usual = json.loads(host().rest("", **asked).body)
    reply = json.loads(host(faults=[fault]).rest("", **asked).body)

    field = fault.partition("field=")[2].partition(",")[0]
    expected = {name: value for name, value in usual["files"][2].items() if name != field} | odd
    assert reply["files"][2] == expected
    assert reply["files"][:2] + reply["files"][3:] == usual["files"][:2] + usual["files"][3:]
    assert reply["iter"] == usual["iter"]


def test_hostile_names(host):
    reply = host(faults=["hostile:utf8=1"]).rest("", accept="application/json")
    hostile = [entry["name"] for entry in json.loads(reply.body)["files"]][10:]
    assert {"..", ".", "", "../../escape.jpg", "/etc/passwd", "nul\0byte.jpg"} <= set(hostile)

    for accept in ("application/json", "text/plain"):
        with pytest.raises(UnicodeDecodeError):
            host(faults=["hostile"]).rest("", accept=accept).body.decode()


def test_every_fault_is_described_and_has_a_test_here():
    source = Path(__file__).read_text(encoding="utf-8")

    assert [name for name in effects.describe() if f'"{name}' not in source] == []
    assert all(effects.describe().values())


@pytest.mark.parametrize("name", sorted(effects.describe()))
def test_every_fault_counts_what_it_did_and_leaves_the_server_well(host, send_raw, name):
    hosted = host(faults=[f"{name}:count=1"])
    listing = name in effects.page_effects.EFFECTS
    port = hosted.api if listing else hosted.cdn
    path = (
        f"/demo-bucket/ HTTP/1.1\r\nx-list-iter: {cursor('img-1.jpg')}"
        if listing
        else f"/{KEY} HTTP/1.1\r\nRange: bytes=0-9"
    )
    extra = "Authorization: Basic b3BlcmF0b3I6cGFzc3dvcmQ=\r\nConnection: close"

    send_raw(port, f"GET {path}\r\n{extra}\r\n\r\n".encode(), lambda _: True, 0.2)

    counted = {} if name in {"gzip", "begins-with"} else {name: 1}  # these two not for a range
    deadline = time.monotonic() + 60
    while (found := hosted.order("GET", "/counters")[1]["faults"]) != counted:
        assert time.monotonic() < deadline, found
    assert hosted.get("img-5.jpg").status == 200


def calls(n, attempts=1, label="cdn.get"):
    listener, kind = label.split(".")
    return [
        Call(listener, kind, f"photos/{i}.jpg", Request("GET", b"/", {}), None)
        for i in range(n)
        for _ in range(attempts)
    ]


def suffered(texts, requests, seed=0):
    faults = Faults(seed)
    for text in texts:
        faults.add(effects.parse(text))
    return [rule.name if (rule := faults.match(call)) else None for call in requests]


@pytest.mark.parametrize(
    ("text", "each"),
    [
        ("429", [True, True, True, True]),
        ("429:first=2", [True, True, False, False]),
        ("429:nth=3", [False, False, True, False]),
        ("429:path=photos/*", [True, True, True, True]),
        ("429:path=videos/*", [False, False, False, False]),
        ("429:on=cdn", [True, True, True, True]),
        ("429:on=get", [True, True, True, True]),
        ("429:on=cdn.get+rest.list", [True, True, True, True]),
        ("429:on=rest", [False, False, False, False]),
        ("429:on=head", [False, False, False, False]),
        ("429:p=0", [False, False, False, False]),
    ],
)
def test_a_rule_chooses_requests_by_attempt_path_and_kind(text, each):
    assert [name is not None for name in suffered([text], calls(3, attempts=4))] == each * 3


def test_count_and_burst_choose_by_the_number_of_requests():
    assert suffered(["503:count=3"], calls(10)).count("503") == 3
    assert suffered(["503:burst=2/5"], calls(10)) == [None, None, None, "503", "503"] * 2


def test_a_chance_is_seeded_and_as_great_as_it_says():
    requests = calls(20_000)

    once = suffered(["429:p=0.1", "reset:p=0.02"], requests, seed=1)

    assert once == suffered(["429:p=0.1", "reset:p=0.02"], requests, seed=1)
    assert once != suffered(["429:p=0.1", "reset:p=0.02"], requests, seed=2)
    assert Counter(once)["429"] == pytest.approx(2000, rel=0.1)
    assert Counter(once)["reset"] == pytest.approx(0.9 * 400, rel=0.2)


def test_a_chance_does_not_depend_on_the_order_of_requests():
    requests = calls(200)
    forwards = dict(zip((c.key for c in requests), suffered(["429:p=0.3"], requests), strict=True))
    backwards = dict(
        zip((c.key for c in requests[::-1]), suffered(["429:p=0.3"], requests[::-1]), strict=True)
    )

    assert forwards == backwards


def test_a_sticky_fault_stays_with_its_keys_on_both_listeners():
    requests = [call for label in ("cdn.get", "rest.get", "cdn.get") for call in calls(300, label=label)]

    hit = suffered(["gone:p=0.2"], requests)

    assert hit[:300] == hit[300:600] == hit[600:]
    assert 30 < hit[:300].count("gone") < 90


def test_memory_follows_the_faults_not_the_bucket():
    faults = Faults(0)
    faults.add(effects.parse("429:p=0.01"))
    for call in calls(5000):
        faults.match(call)

    assert len(faults._suffered) < 100
    assert not faults._seen


def test_faults_of_ranges_wait_for_a_range(host):
    hosted = host(faults=["ignore-range:first=1"])

    assert [
        hosted.get(KEY, **headers).status for headers in ({}, {"range": "bytes=1-2"}, {"range": "bytes=1-2"})
    ] == [200, 200, 206]
    assert hosted.order("GET", "/counters")[1]["faults"] == {"ignore-range": 1}


def test_page_chooses_a_page_of_each_folder(host):
    hosted = host(faults=["503:on=list,page=2"])

    assert [hosted.rest("", **asked).status for asked in (FIRST, LATER, LATER, LAST)] == [200, 503, 200, 200]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("explode", "unknown fault 'explode'"),
        ("429:p=often", "not understood"),
        ("429:on=ftp", "never concerns ftp"),
        ("garbage:on=cdn", "never concerns cdn"),
        ("429:first=x", "not understood"),
        ("429:match=*.jpg", "no key 'match', only path, on, p, .*, sticky, code, retry_after"),
        ("gone:after=1", "no key 'after', only path, on, p, .*, sticky"),
    ],
)
def test_a_wrong_rule_says_what_is_wrong(text, says):
    with pytest.raises(ValueError, match=says):
        effects.parse(text)
