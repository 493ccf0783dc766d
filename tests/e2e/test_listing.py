"""Listing through the installed command: giant directories, many directories, kills, loops, changes, hostile names."""

import json
import os
import signal
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from upyun_simulator import content

PATIENCE_SECONDS = 90


def until(job, process, ready, seconds=PATIENCE_SECONDS):
    """Wait until something is so while a job runs."""
    deadline = time.monotonic() + seconds
    while not ready():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process, number=signal.SIGKILL):
    process.send_signal(number)
    process.communicate(timeout=60)


def pages(job) -> int:
    """Return how many listing pages were served since the last reset."""
    return job.simulator.counters()["requests"].get("rest.list", {}).get("200", 0)


def fetched(job) -> int:
    return sum(job.simulator.counters()["requests"].get("cdn.get", {}).values())


def family(pid: int) -> list[int]:
    """Return a process and all below it."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    return [pid, *(each for child in children for each in family(child))]


def own_bytes(pid: int) -> int:
    """Return the memory of a job: what its processes do not share, and once what they do (PSS)."""
    total = 0
    for each in family(pid):
        lines = Path(f"/proc/{each}/smaps_rollup").read_text().splitlines()
        total += next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024
    return total


def test_of_fifty_million_entries_the_first_is_fetched_after_the_first_page(make_job):
    job = make_job("flat:50000000,size=100", list_latency=0.3)
    process = job.start()

    until(job, process, lambda: fetched(job) > 0)
    listed = pages(job)
    end(process)

    assert (
        listed <= 5
    )  # two before the job begins or ends its first page, the others while the first objects are placed


@pytest.mark.parametrize(
    "millions", [1, pytest.param(10, marks=pytest.mark.soak), pytest.param(50, marks=pytest.mark.soak)]
)
def test_memory_is_flat_however_many_entries_are_listed(make_job, millions):
    job = make_job(f"flat:{millions}000000,size=100", cdn_latency=5)
    process = job.start()

    until(job, process, lambda: pages(job) >= 25)
    early = own_bytes(process.pid)
    until(job, process, lambda: pages(job) >= 100)
    late = own_bytes(process.pid)
    end(process)

    print(f"{early >> 20} MiB, later {late >> 20} MiB")
    assert late - early < 50 << 20
    assert late < 500 << 20


@pytest.mark.parametrize("directories", [4_000, pytest.param(1_000_000, marks=pytest.mark.soak)])
def test_many_small_directories_cost_little_memory_and_no_descriptor_each(make_job, directories):
    # A page for which it does not wait long enough is asked for again, and served twice.
    job = make_job(f"tree:dirs={directories},files=3,depth=6,size=20", patient=True)
    process = job.start()
    patience = PATIENCE_SECONDS * directories // 4_000
    until(job, process, lambda: pages(job) > directories // 2, patience)
    memory = own_bytes(process.pid)
    descriptors = max(len(os.listdir(f"/proc/{each}/fd")) for each in family(process.pid))

    _, errors = process.communicate(timeout=patience)

    assert process.returncode == 0, errors
    assert memory < 500 << 20
    assert descriptors < 2_500
    assert job.summary()["stored"] == 3 * directories
    assert pages(job) < job.summary()["directories"] + 10, job.summary()["retries"]


def booked_pages(job) -> int:
    """Return how many pages the journal knows."""
    if not (job.state / "journal.sqlite").exists():
        return 0
    with closing(sqlite3.connect(job.state / "journal.sqlite", timeout=60)) as journal:
        return journal.execute("select count(*) from page").fetchone()[0]


def test_kills_after_any_page_list_only_again_what_was_in_flight(make_job):
    job = make_job(
        "big=flat:1500,size=50;small=tree:dirs=60,files=3,size=50",
        max_limit=50,
        list_latency=0.02,
    )
    in_flight, kills, served, left = 2 * 8, 6, 20, 1_000_000
    for _ in range(kills):
        job.simulator.replace_faults(
            f"silence:on=list,burst={left}/{left + served}"
        )  # no answer after so many
        seen, booked = pages(job), booked_pages(job)
        process = job.start()
        until(job, process, lambda seen=seen: pages(job) >= seen + served)
        until(job, process, lambda booked=booked: booked_pages(job) >= booked + served - in_flight)
        end(process)
    job.simulator.clear_faults()
    summary = job.sync()

    assert summary["listed"] == summary["stored"] == 1680
    once = 30 + 2 + 60 + 40 + 30  # pages of the big folder, roots, leaves, levels above, checks of the ranges
    assert pages(job) <= once + kills * (1 + in_flight)
    job.check_every_byte()


def test_a_service_that_talks_nonsense_for_a_while_loses_no_page(make_job):
    job = make_job("tree:dirs=30,files=20,size=50", max_limit=50)
    process = job.start()
    job.simulator.inject("garbage:p=0.5", "503:p=0.4,on=list", "429:on=list,p=0.5", "silence:p=0.1,on=list")
    until(job, process, lambda: sum(job.simulator.counters()["faults"].values()) > 20)

    job.simulator.clear_faults()
    _, errors = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0, errors
    assert job.summary()["stored"] == 600
    job.check_every_byte()


def test_what_changes_while_it_is_listed_is_no_failure(make_job):
    job = make_job(
        "a=flat:400,size=50;b=flat:400,size=50;c=tree:dirs=40,files=5,size=50",
        max_limit=50,
        list_latency=0.05,
    )
    process = job.start()
    until(job, process, lambda: pages(job) > 6)
    job.simulator.mutate(put={"a/zzz-new.jpg": 70, "a/aaa-new.jpg": 70}, delete=["b/", "c/d0/"])

    _, errors = process.communicate(timeout=PATIENCE_SECONDS)

    assert process.returncode == 0, errors
    summary = job.summary()
    assert summary["failed"] == 0
    assert summary["listed"] == summary["stored"] + summary["vanished"]
    job.simulator.reset_counters()
    again = job.sync()
    assert (again["failed"], again["stored"] <= 2) == (0, True)  # what was added behind the listing's back


@pytest.mark.parametrize(
    "fault", ["", "forged-fails", "forged-restarts", "unordered", "forged-skips:p=0.6,entries=30"]
)
def test_a_directory_listed_in_ranges_is_that_of_a_serial_listing(make_job, fault):
    job = make_job("flat:3000,size=20", patient=True, max_limit=100, faults=[fault] if fault else [])

    summary = job.sync()

    assert summary["listed"] == summary["stored"] == 3000
    assert job.simulator.counters()["requests"]["cdn.get"] == {"200": 3000}
    job.check_every_byte()
    again = job.sync()
    assert (again["listed"], again["skipped"]) == (3000, 3000)


def test_what_two_pages_give_lies_on_one_disk_and_is_neither_fetched_again_nor_pruned(make_job):
    folders = ";".join(f"f{number}=flat:120,size=3KiB" for number in range(12))
    job = make_job(
        folders,
        volumes=2,
        patient=True,
        max_limit=20,
        faults=["overlap:entries=30,page=3"],
        bandwidth=1e6,
        list_latency=0.05,
    )

    found = job.sync()

    assert (found["listed"], found["stored"]) == (12 * 150, 12 * 150)
    job.check_every_byte()
    job.command("verify", *map(str, job.volumes), "--state", str(job.state))
    again = job.sync()
    assert (again["listed"], again["stored"]) == (12 * 120, 0)
    everything = ["--delete", "--max-delete", "100%", "--state", str(job.state)]
    job.command("prune", *map(str, job.volumes), "--api-url", job.simulator.api_url, *everything)
    job.check_every_byte()


def test_sealed_cursors_are_listed_serially(make_job):
    job = make_job("flat:2000,size=20", max_limit=100, cursors="sealed")

    assert job.sync()["stored"] == 2000
    job.check_every_byte()


def test_hostile_names_write_nothing_outside_the_volume(make_job):
    there = {"x/../../../escape-1.jpg": 10, "/etc/escape-2.jpg": 11, "x/./y/..": 12, "x//z.jpg": 13}
    job = make_job("x=flat:20,size=50;y=flat:20,size=50", faults=["hostile"])
    job.simulator.mutate(put=there)

    summary = job.sync(expect=3)

    lines = [
        json.loads(line) for line in job.command("failures", "--json", "--state", str(job.state)).splitlines()
    ]
    # Names that are no UTF-8, which no request can ask for, and a file that has none.
    assert {line["reason"] for line in lines} == {"rejected", "garbage"}
    assert summary["listed"] == summary["stored"] + summary["vanished"] + summary["failed"]
    assert summary["stored"] == 40 + len(there) == job.count()
    assert {path.name for path in job.folder.iterdir()} == {"volume0", "state", "summary.json"}
    assert not Path("/etc/escape-2.jpg").exists()
    for key, size in there.items():
        place = Path(json.loads(job.command("where", key, "--state", str(job.state), "--json"))["path"])
        assert place.resolve().is_relative_to(job.volumes[0].resolve())
        assert place.read_bytes() in {content(key, size, version) for version in range(9)}, key


def test_a_part_and_the_whole_of_a_bucket_are_never_mixed(make_job):
    job = make_job("a=flat:20,size=50;b=flat:20,size=50")
    job.source = f"upyun://{job.simulator.bucket}/a"
    assert job.sync()["stored"] == 20

    job.source = ""
    process = job.start()
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "prefix" in errors


def test_a_cursor_that_is_refused_for_good_lists_nothing_twice(make_job):
    """The first listing breaks off behind some page, the second takes the rest: the books hold each object once."""
    job = make_job(
        "loop=flat:130,size=50;fine=flat:60,size=50", max_limit=50, faults=["bad-cursor:first=5,path=loop/"]
    )

    summary = job.sync()

    assert summary["listed"] == summary["stored"] == 190
    assert job.simulator.counters()["requests"]["cdn.get"]["200"] <= 192
    job.check_every_byte()


@pytest.mark.soak
def test_a_folder_whose_listing_fails_for_ever_is_a_failure_with_its_name_and_all_else_is_stored(make_job):
    job = make_job(
        "good=flat:500,size=500;bad=flat:50,size=500", faults=["503:code=50300044,path=bad/,on=list"]
    )

    summary = job.sync(expect=3)

    assert (summary["stored"], summary["failures"]) == (500, {"server-error": 1})
    (line,) = [
        json.loads(line) for line in job.command("failures", "--json", "--state", str(job.state)).splitlines()
    ]
    assert (line["key"], line["page"], line["reason"]) == ("bad/", True, "server-error")
    assert "50300044" in line["detail"]


ODD_ENTRIES = [
    "length,value=-1",
    "length,value=null",
    "length",
    "length,value=1.5e300",
    "last_modified,value=-1",
    "last_modified,value=-86400",
    "last_modified,value=null",
    "last_modified,value=1600000000000",
    "last_modified,value=1600000000.5",
    "last_modified",
    "type",
]


def test_an_odd_entry_costs_only_itself_and_its_object_is_had_all_the_same(make_job):
    spec = ";".join(f"{number}=flat:100,size=500" for number in range(len(ODD_ENTRIES)))
    faults = [f"odd-entry:path={number}/,field={odd}" for number, odd in enumerate(ODD_ENTRIES)]
    job = make_job(spec, faults=faults)

    summary = job.sync()

    job.check_every_byte()
    assert summary["stored"] == 100 * len(ODD_ENTRIES)
    assert summary["seconds"] < 10  # no page was asked for again
    job.simulator.reset_counters()
    assert job.sync()["skipped"] == summary["stored"]  # and none is fetched twice
    assert fetched(job) == 0


def test_entries_without_a_name_are_a_failure_of_their_folder_and_cost_nobody_else(make_job):
    job = make_job("good=flat:100,size=500;bad=flat:100,size=500", faults=["odd-entry:path=bad/,field=name"])

    summary = job.sync(expect=3)

    assert (summary["stored"], summary["failed"]) == (199, 0)
    (line,) = [
        json.loads(line) for line in job.command("failures", "--json", "--state", str(job.state)).splitlines()
    ]
    assert (line["key"], line["page"], line["reason"]) == ("bad/", True, "garbage")
    assert "without a name" in line["detail"]
    assert " bad/ (a page of its listing)" in job.command("failures", "--state", str(job.state))

    job.simulator.clear_faults()
    job.command("retry", "--state", str(job.state))
    assert job.sync()["complete"] is True
    job.check_every_byte()
