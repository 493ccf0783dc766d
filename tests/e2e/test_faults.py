"""Every answer the service can give, named row by row: what becomes of the objects and pages that meet it, and what it costs.

All rows of a table share one bucket and one run, a folder each, so that what one row suffers must not harm another.
"""

import json
from collections import Counter
from dataclasses import dataclass, field

from tests.e2e.conftest import Job

from bucketpull.domain.endpoints import OUTAGE, THROTTLES
from upyun_simulator import content, effects

OBJECTS = 3
SMALL = 3_000
LARGE = 9 << 20  # above 8 MiB objects go to disk as they come, and go on where they broke off
ENTRIES = 130
PAGE = 50


@dataclass(frozen=True)
class Row:
    """Faults (joined by `;`) of one folder's objects or pages, and their end.

    `end` is `stored`, `new` (stored as the version that the origin has), `odd` (stored as both endpoints have it), `vanished`, or
    the reason of a failure. `retries` are those of each object; where the fault hits a connection that was used before, or an
    answer that is asked again in another way at once, they are not told (`silent`).
    """

    faults: str
    end: str = "stored"
    retries: dict[str, int] = field(default_factory=dict)
    size: int = SMALL
    silent: bool = False

    @property
    def names(self) -> set[str]:
        return {rule.partition(":")[0] for rule in self.faults.split(";")}

    @property
    def objects(self) -> int:
        return 1 if self.size == LARGE else OBJECTS

    def rules(self, path: str) -> list[str]:
        return [rule + (",path=" if ":" in rule else ":path=") + path for rule in self.faults.split(";")]


PASSING = [
    Row("429:code=42900001,first=1", retries={"throttled": 1}),
    Row("429:code=42900002,first=1", retries={"throttled": 1}),
    Row("429:code=42900003,first=1", retries={"throttled": 1}),
    Row("429:code=42900005,first=1", retries={"throttled": 1}),
    Row("429:code=42900006,first=1", retries={"throttled": 1}),
    Row("429:code=42900007,first=1", retries={"throttled": 1}),
    Row("429:first=2,retry_after=1", retries={"throttled": 2}),
    Row("json-200:first=1", retries={"throttled": 1}),
    Row("503:first=1", retries={"server-error": 1}),
    Row("503:code=50300006,first=3", retries={"server-error": 3}),
    Row("error:code=50300044,first=1", retries={"server-error": 1}),
    Row("error:code=50001001,first=1", retries={"server-error": 1}),
    Row("error:code=50400001,first=1", retries={"server-error": 1}),
    Row("499:first=1", retries={"server-error": 1}),
    Row("502-html:first=1", retries={"server-error": 1}),
    Row("500-empty:first=1", retries={"server-error": 1}),
    Row("error:code=40800001,first=1", retries={"timeout": 1}),
    Row("reset:first=1", retries={"reset": 1}, silent=True),
    Row("hang-up:first=1", retries={"reset": 1}, silent=True),
    Row("silence:first=1", retries={"timeout": 1}),
    Row("reset-body:first=1", retries={"reset": 1}),
    Row("truncate:first=1", retries={"truncated": 1}),
    Row("stall:first=1", retries={"stalled": 1}),
    Row("chunked-cut:first=1", retries={"truncated": 1}, silent=True),
    Row("drip:rate=1500"),
    Row("drip:rate=1,first=1", retries={"stalled": 1}),
    Row("slow:seconds=0.3"),
    Row("chunked"),
    Row("no-md5"),
    # The edge's doubtful answers: the origin is asked, once.
    Row("403:code=40310003,first=1,on=cdn", retries={"throttled": 1}),
    Row("403:code=40310013,on=cdn", retries={"forbidden": 1}),
    Row("403:code=40310014,on=cdn", retries={"forbidden": 1}),
    Row("403:code=40310011,on=cdn", retries={"forbidden": 1}),
    Row("401:on=cdn", retries={"forbidden": 1}),
    Row("404:on=cdn", retries={"missing": 1}),
    Row("redirect:on=cdn", retries={"redirected": 1}),
    Row("html:on=cdn", retries={"wrong-content": 1}),
    Row("hidden-error:on=cdn", retries={"wrong-content": 1}),
    Row("gzip:on=cdn", retries={"transformed": 1}),
    Row("weak-etag:on=cdn"),
    Row("weak-etag"),
    Row("stale:on=cdn", retries={"stale": 1}),
    Row("stale:same=1,on=cdn", retries={"stale": 1}),
    Row("short:on=cdn", retries={"size": 1}),
    Row("corrupt:on=cdn", retries={"checksum": 1}),
    # What only looks odd: the MD5 and the listed length prove it at once, without them the origin's listed length.
    Row("content-type:type=text/html"),
    Row("content-type:type=application/json,md5=0", retries={"wrong-content": 1}),
    Row("stored-encoding:as=aws-chunked"),
    Row("stored-encoding:as=gzip,md5=0", retries={"transformed": 1}),
    Row("stored-encoding:as=utf-8,md5=0", retries={"transformed": 1}, size=LARGE),
    Row("begins-with:text=<svg", "odd"),
    Row("begins-with:text={,md5=0", "odd", {"wrong-content": 1}),
    Row("multipart-etag", retries={"checksum": 1}),
    Row("multipart-etag", retries={"checksum": 1}, size=LARGE),
    Row("early-hints"),
    Row("early-hints", size=LARGE),
    Row("header:name=Last-Modified"),
    Row("header:name=Last-Modified,value=Sun 06 Nov 99999999999999999999 08:49:37 GMT"),
    Row("header:name=ETag,value="),
    # Trouble with one object at the edge that does not pass: patience, then the origin.
    Row("truncate:on=cdn", retries={"truncated": 4}),
    Row("503:on=cdn", retries={"server-error": 4}),
    # Gone, moved or changed since the listing.
    Row("gone", "vanished", {"missing": 1}),
    Row("404", "vanished", {"missing": 1}),
    Row("expired", "vanished", {"missing": 1}),
    Row("now-folder", "vanished", {"missing": 1}),
    Row("size-differs:by=7", "new", {"size": 1}),
    Row("size-differs:by=-7", "new", {"size": 1}),
    # Large objects: resumed, never a mixture.
    Row("reset-body:first=1", retries={"reset": 1}, size=LARGE),
    Row("reset-body:first=1,on=cdn;416:first=1", retries={"reset": 1, "range": 1}, size=LARGE),
    Row("truncate:first=1,on=cdn;ignore-range:first=1", retries={"truncated": 1, "range": 1}, size=LARGE),
    Row("stall:first=1,on=cdn;replaced:first=1", retries={"stalled": 1, "range": 1}, size=LARGE),
    Row("truncate:first=1,on=cdn;503:nth=1", retries={"truncated": 1, "server-error": 1}, size=LARGE),
    Row("stale:on=cdn", retries={"stale": 1}, size=LARGE),
    Row("stale:same=1,on=cdn", retries={"stale": 1}, size=LARGE),
]  # fmt: skip

LASTING = [
    Row("error:code=40000030", "rejected", {"forbidden": 1}),
    Row("error:code=40300003", "rejected", {"forbidden": 1}),
    Row("now-folder:code=40300015", "not-a-file", {"missing": 1}),
    Row("gzip", "transformed", {"transformed": 1}),
    Row("short", "checksum", {"size": 1}),
    Row("503", "server-error"),
    Row("html", "garbage"),
    Row("truncate", "truncated"),
    Row("reset", "reset"),
]

LISTED = [
    Row("429:code=42900001,first=2"),
    Row("429:code=42900002,nth=1"),
    Row("429:code=42900003,first=1,retry_after=1"),
    Row("503:first=1"),
    Row("error:code=50300044,first=2"),
    Row("499:first=1"),
    Row("502-html:first=1"),
    Row("500-empty:first=1"),
    Row("reset:first=1"),
    Row("hang-up:first=1"),
    Row("silence:page=1"),
    Row("html:first=1"),
    Row("json-200:first=1"),
    Row("redirect:first=1"),
    Row("reset-body:first=1"),
    Row("truncate:first=1"),
    Row("stall:page=2"),
    Row("chunked-cut:first=1"),
    Row("hidden-error:first=1"),
    Row("gzip:first=1"),
    Row("slow:seconds=0.3"),
    Row("drip:rate=20000"),
    Row("chunked"),
    Row("same-cursor:first=1"),
    Row("older-cursor:first=1"),
    Row("no-cursor:first=1"),
    Row("body-cursor"),
    Row("header-cursor"),
    Row("padded-end"),
    Row("bare-cursor"),
    Row("short-page:entries=20"),
    Row("empty-page"),
    Row("end-page"),
    Row("duplicate"),
    Row("overlap:entries=15"),
    Row("garbage:first=1"),
    Row("blank:first=1"),
    Row("file-instead:first=1"),
    Row("tsv"),
    Row("unordered"),
    Row("forged-fails"),
    Row("forged-restarts"),
    Row("forged-skips"),
    Row("bad-cursor:first=1"),
    Row("folder-gone", "vanished"),
]


LISTED_BADLY = [
    "garbage",
    "blank",
    "file-instead",
    "html",
    "redirect",
    "truncate",
    "same-cursor",
    "older-cursor",
    "same-page",
    "bad-cursor",
]


def test_every_fault_of_the_simulator_is_in_a_row():
    listed = {rule.partition(":")[0] for rule in LISTED_BADLY}
    named = set().union(*(row.names for row in PASSING + LASTING + LISTED)) | listed

    assert named | {"hostile", "odd-entry"} == set(effects.describe())  # these are in test_listing


def folders(rows: list[Row]) -> dict[str, Row]:
    return {f"{number:02}-{min(row.names)}": row for number, row in enumerate(rows)}


def job_of(make_job, rows: list[Row], unlistable: list[str] = ()) -> tuple[Job, dict[str, Row]]:
    """Make a job of a folder a row, with the row's faults on the folder's objects; and of folders that cannot be listed."""
    named = folders(rows)
    spec = ";".join(f"{name}=flat:{row.objects},size={row.size}" for name, row in named.items())
    faults = [rule for name, row in named.items() for rule in row.rules(f"{name}/img*")]
    for number, rule in enumerate(unlistable):
        spec += f";unlistable-{number}=flat:{ENTRIES},size=10"
        faults += Row(rule).rules(f"unlistable-{number}/")
    return make_job(spec, faults=faults, max_limit=PAGE), named


def retries_of(rows: list[Row]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for row in rows:
        total.update({reason: count * row.objects for reason, count in row.retries.items()})
    return dict(total)


def least_of(rows: list[Row]) -> dict[str, int]:
    """Count as `retries_of`, but only what either endpoint would have.

    While it looks as if the edge were in trouble, objects go to the origin at once: what lasts, or is the edge's alone, is met once
    less then.
    """
    return retries_of([row for row in rows if "first=" in row.faults and "on=cdn" not in row.faults])


def doubts_of(rows: list[Row]) -> dict[str, int]:
    """Count what is stored although the origin's answer was odd, too."""
    total: Counter[str] = Counter()
    for row in rows:
        if row.names & {"multipart-etag"}:
            total["checksum"] += row.objects
        elif "md5=0" in row.faults:
            total["transformed" if "encoding" in row.faults else "garbage"] += row.objects
    return dict(total)


def check_objects(job: Job, name: str, row: Row) -> None:
    files = {key: data for key, data in job.files().items() if key.startswith(name + "/")}
    if row.end not in {"stored", "new", "odd"}:
        assert files == {}, name
        return
    for item in job.simulator.contents.walk():
        if item.key.startswith(name + "/"):
            data = files.pop(item.key, None)
            assert data is not None, item.key
            assert data == wanted(item, row), item.key
    assert files == {}


def wanted(item, row: Row) -> bytes:
    if row.end == "stored":
        return content(item.key, item.size, item.version)
    if row.end == "odd":
        first = row.faults.partition("text=")[2].partition(",")[0].encode()
        return first + content(item.key, item.size, item.version)[len(first) :]
    by = int(row.faults.partition("by=")[2])
    return content(item.key, item.size + by, item.version + 1)


def test_what_passes_or_is_had_from_the_origin_ends_complete_with_each_retry_counted(make_job):
    job, named = job_of(make_job, PASSING)

    summary = job.sync()

    for name, row in named.items():
        check_objects(job, name, row)
    gone = sum(row.objects for row in PASSING if row.end == "vanished")
    assert summary["complete"] is True
    assert (summary["vanished"], summary["failed"]) == (gone, 0)
    assert summary["listed"] == summary["stored"] + gone
    assert summary["doubts"] == doubts_of(PASSING)
    told, at_most = least_of([row for row in PASSING if not row.silent]), retries_of(PASSING)
    assert told.keys() <= summary["retries"].keys() <= at_most.keys()
    for reason, count in summary["retries"].items():
        # What looked as if the endpoint were in trouble is asked for again without being counted against the object.
        more = 2 if reason in OUTAGE | THROTTLES else 1
        assert told.get(reason, 0) <= count <= at_most[reason] * more, (reason, count)


def test_a_directory_whose_pages_suffer_is_listed_whole_and_each_object_once(make_job):
    named = folders(LISTED)
    spec = ";".join(f"{name}=flat:{ENTRIES},size=10" for name in named)
    faults = [rule for name, row in named.items() for rule in row.rules(f"{name}/")]
    job = make_job(spec, faults=faults, max_limit=PAGE)

    summary = job.sync()

    found = Counter(key.partition("/")[0] for key in job.files())
    assert {name: found[name] for name in named if found[name] != ENTRIES} == {
        name: PAGE for name, row in named.items() if row.end == "vanished"
    }
    assert summary["complete"] is True
    assert summary["listed"] == summary["stored"] == job.count()
    assert {
        "throttled",
        "server-error",
        "garbage",
        "cursor",
        "reset",
        "truncated",
        "stalled",
        "timeout",
    } <= set(summary["retries"])
    (good,) = job.simulator.counters()["requests"]["cdn.get"].items()
    assert good[0] == "200"
    # An answer that a busy machine is late to read is asked for again, and told as that.
    assert (
        job.count() <= good[1] <= job.count() + summary["retries"]["stalled"] + summary["retries"]["timeout"]
    )


def test_what_lasts_is_a_failure_with_its_reason_and_harms_nothing_else(make_job):
    job, named = job_of(make_job, [*LASTING, Row("no-md5"), Row("503:first=1")], unlistable=LISTED_BADLY)

    summary = job.sync(expect=3)

    lines = [
        json.loads(line) for line in job.command("failures", "--json", "--state", str(job.state)).splitlines()
    ]
    objects = {line["key"]: line["reason"] for line in lines if not line["page"]}
    assert objects == {
        f"{name}/img-{number}.jpg": row.end
        for name, row in named.items()
        if row.end != "stored"
        for number in range(OBJECTS)
    }
    unlisted = {line["key"].split("/")[0] for line in lines if line["page"]}
    assert unlisted == {f"unlistable-{number}" for number in range(len(LISTED_BADLY))}
    assert len(lines) == sum(summary["failures"].values())
    assert summary["failed"] == len(objects)
    assert summary["listed"] == summary["stored"] + summary["failed"]
    assert all(line["attempts"] and line["detail"] for line in lines)
    for name, row in named.items():
        check_objects(job, name, row)

    job.simulator.clear_faults()
    job.simulator.reset_counters()
    job.command("retry", "--state", str(job.state))
    again = job.sync()

    assert (
        again["listed"] == again["stored"] + again["skipped"] == sum(1 for _ in job.simulator.contents.walk())
    )
    asked = job.simulator.counters()["requests"]["cdn.get"]["200"]
    assert asked <= len(objects) + ENTRIES * len(LISTED_BADLY)  # what failed, and nothing else
    job.check_every_byte()
