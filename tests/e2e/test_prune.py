"""What the source no longer has is removed when asked for: nothing else, never after an incomplete listing, and through kills."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from tests.e2e.conftest import COMMAND

from upyun_simulator import content

SPEC = "a=flat:60,size=1KiB;b=flat:60,size=1KiB"


def keys(job):
    return [item.key for item in job.simulator.contents.walk()]


def below(job, prefix):
    return sorted(key for key in keys(job) if key.startswith(prefix))


def access(job):
    return ["--api-url", job.simulator.api_url, "--cdn-url", job.simulator.cdn_url, "--state", str(job.state)]


def prune(job, *options, expect=0, environment=None):
    """Return what it says: standard output, and error output."""
    done = subprocess.run(
        [*COMMAND, "prune", *map(str, job.volumes), *access(job), *options],
        env=job.environment | (environment or {}),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stderr + done.stdout
    return done.stdout, done.stderr


def known_pages(job, directory):
    """Count the pages of a directory that the journal knows."""
    with closing(sqlite3.connect(job.state / "journal.sqlite")) as journal:
        return journal.execute("select count(*) from page where directory = ?", (directory,)).fetchone()[0]


def assert_agrees(job, left):
    """Every command says the same of what is left."""
    assert job.files().keys() == left
    for volume in job.volumes:
        assert job.command("verify", str(volume), "--hash", "--json") == ""
    exported = job.command("export", "--format", "jsonl", "--state", str(job.state)).splitlines()
    assert {json.loads(line)["key"] for line in exported} == left
    held = job.command("volumes", "--json", "--state", str(job.state)).splitlines()
    assert sum(json.loads(line)["stored_objects"] for line in held) == len(left)


def test_it_says_what_would_go_and_does_it_only_when_told(make_job):
    job = make_job(SPEC, volumes=2)
    job.sync()
    gone = set(keys(job)[:3])
    job.simulator.mutate(delete=sorted(gone))
    before = job.files().keys()

    said, _ = prune(job, "--max-delete", "5%")
    assert {line.partition(": ")[2] for line in said.splitlines()} == gone
    assert job.files().keys() == before

    _, told = prune(job, "--max-delete", "5%", "--delete")
    assert "3 of 120 objects" in told
    job.sync()
    assert_agrees(job, before - gone)
    job.command("where", next(iter(gone)), "--state", str(job.state), expect=3)
    for options in ([], ["--delete"]):
        said, told = prune(job, *options)
        assert (said, "117 objects: nothing to remove" in told, "--delete" in told) == ("", True, False)
    rebuilt = str(job.folder / "rebuilt")
    source = f"upyun://{job.simulator.bucket}"
    job.command("rebuild", source, *map(str, job.volumes), "--state", rebuilt)
    summary = job.sync("--state", rebuilt)
    assert (summary["stored"], summary["skipped"]) == (0, 117)


def test_what_comes_back_is_fetched_again(make_job):
    job = make_job(SPEC)
    job.sync()
    key = keys(job)[0]
    job.simulator.mutate(delete=[key])
    prune(job, "--delete")
    job.simulator.mutate(put={key: 1024})

    summary = job.sync()

    assert summary["stored"] == 1
    assert key in job.files()


def test_what_comes_back_as_it_was_is_fetched_again_though_its_page_is_that_of_the_last_run(make_job):
    """As where a version is deleted by mistake and brought back. What else went meanwhile keeps the sums equal."""
    job = make_job(SPEC)
    job.sync()
    back, gone = below(job, "a/")[0], below(job, "b/")[0]
    complete, job.simulator = job.simulator, make_job(SPEC).simulator
    job.simulator.mutate(delete=[back])
    prune(job, "--delete")
    job.simulator = complete
    job.simulator.mutate(delete=[gone])

    summary = job.sync()

    assert summary["stored"] == 1
    assert back in job.files()


def test_what_was_pruned_is_not_missing_when_something_else_is_repaired(make_job):
    job = make_job(SPEC)
    job.sync()
    first, second = keys(job)[:2]
    job.simulator.mutate(delete=[first])
    prune(job, "--delete")
    Path(job.volumes[0], second).unlink()

    job.command("verify", str(job.volumes[0]), "--repair", *access(job))

    assert_agrees(job, set(keys(job)) - {first})


def test_what_is_pruned_in_the_middle_of_a_run_is_not_missing_at_its_end(make_job):
    job = make_job(SPEC, patient=True)
    job.sync()
    gone = below(job, "a/")[:3]
    job.simulator.inject("silence:on=list,path=b*")  # so the run does not end
    job.kill_when(
        lambda: json.loads(job.command("status", "--json", "--state", str(job.state)))["counters"]["skipped"]
    )
    job.simulator.clear_faults()
    job.simulator.mutate(delete=gone)

    prune(job, "--delete", "--max-delete", "3")
    job.sync()

    assert_agrees(job, set(keys(job)) - set(gone))


def test_the_brake_holds(make_job):
    job = make_job(SPEC)
    job.sync()
    job.simulator.mutate(delete=["a/"])

    _, told = prune(job, "--delete", expect=3)

    assert "60 of 120 objects are gone at the source, more than --max-delete 1% allows" in told
    assert len(job.files()) == 120
    prune(job, "--delete", "--max-delete", "60")
    job.sync()
    assert_agrees(job, set(below(job, "b/")))
    assert not Path(job.volumes[0], "a").exists()
    assert known_pages(job, b"a") == 1  # so that it would come back to its disk
    prune(job, "--delete")
    assert (known_pages(job, b"a"), known_pages(job, b"b")) == (0, 1)


def test_a_volume_that_cannot_be_read_is_left_out_and_the_others_are_pruned(make_job):
    job = make_job(SPEC, volumes=2)
    job.sync()
    first, second = job.volumes
    kept = set(second.glob("a/*"))
    job.simulator.mutate(delete=["a/"])
    ledger = second / ".bucketpull/ledger"
    ledger.rename(job.folder / "ledger")

    _, told = prune(job, "--delete", "--max-delete", "100%", expect=3)

    assert f"volume {second}: ledger not opened: No such file or directory" in told
    assert not (first / "a").exists()
    assert set(second.glob("a/*")) == kept
    (job.folder / "ledger").rename(ledger)
    prune(job, "--delete", "--max-delete", "100%")
    job.sync()
    assert_agrees(job, set(below(job, "b/")))


@pytest.mark.parametrize("status", ["403:code=40300099", "404:code=40400001"])
def test_after_an_incomplete_listing_nothing_goes(make_job, status):
    job = make_job(SPEC)
    job.sync()
    job.simulator.mutate(delete=below(job, "a/")[:1])
    job.simulator.inject(f"{status},on=list,path=b*")

    _, told = prune(job, "--delete", "--max-delete", "100%", expect=3)

    assert "the listing is not complete, so nothing is removed" in told
    assert len(job.files()) == 120


@pytest.mark.parametrize("top", ["", "top/"])
def test_an_entry_without_a_name_keeps_only_what_it_may_be(make_job, top):
    job = make_job("other=flat:9,size=100")
    there = [
        "listed/a.jpg",
        "listed/b.jpg",
        "listed/in/c.jpg",
        "gone/d.jpg",
        "gone/in/e.jpg",
        "f.jpg",
        "g.jpg",
    ]
    job.simulator.mutate(put={top + key: 100 for key in there})
    job.sync()
    gone = sorted([*below(job, "other/")[:2], f"{top}listed/b.jpg", f"{top}listed/in/c.jpg"])
    job.simulator.mutate(delete=[*gone, f"{top}gone/", f"{top}f.jpg"])
    job.simulator.inject(f"odd-entry:field=name,path={top or '/'}")

    said, told = prune(job, "--delete", "--max-delete", "30%")

    assert sorted(line.partition(": ")[2] for line in said.splitlines()) == gone
    assert f"{top.rstrip('/') or '/'}: its listing has an entry without a name" in told
    assert len(job.files()) == 12


def test_what_rules_exclude_and_files_of_others_are_not_gone(make_job):
    job = make_job(SPEC)
    job.sync()
    job.sync("--exclude", "/b/")
    other = Path(job.volumes[0], "a", "notes.txt")
    other.write_text("mine")

    said, _ = prune(job, "--delete")

    assert said == ""
    assert len(job.files()) == 121


def test_what_others_put_in_the_place_of_what_is_gone_stays(make_job):
    job = make_job(SPEC)
    job.sync()
    first, second = keys(job)[:2]
    own, folder = (Path(job.volumes[0], key) for key in (first, second))
    job.simulator.mutate(delete=[first, second])
    own.write_text("my own different work")
    folder.unlink()
    folder.mkdir()

    _, told = prune(job, "--delete", "--max-delete", "5%")

    said = "has something else in the place of removed objects, which is left alone"
    assert f"volume {job.volumes[0]} {said} (2, such as {first})" in told
    assert own.read_text() == "my own different work"
    assert folder.is_dir()
    assert prune(job, "--delete")[0] == ""
    job.simulator.mutate(put={first: 1024})
    assert job.sync()["stored"] == 1
    assert own.stat().st_size == 1024
    assert own.with_name(f"{own.name}.kept").read_text() == "my own different work"


def test_a_job_of_a_prefix_prunes_below_it(make_job):
    job = make_job(SPEC)
    job.source = f"upyun://{job.simulator.bucket}/a"
    job.sync()
    gone = below(job, "a/")[0]
    job.simulator.mutate(delete=[gone, "b/"])

    said, _ = prune(job, "--delete", "--max-delete", "10%")

    assert said.splitlines() == [f"{job.volumes[0]}: {gone}"]


def test_kept_files_lie_in_the_trash_until_their_time_is_over(make_job):
    job = make_job(SPEC)
    job.sync()
    first, second = keys(job)[:2]
    body = job.files()[first]
    job.simulator.mutate(delete=[first])
    prune(job, "--delete", "--keep-for", "30d")
    (kept,) = Path(job.volumes[0], ".bucketpull/trash").glob("until-*")
    assert (kept / first).read_bytes() == body
    job.sync()
    assert_agrees(job, set(keys(job)) - {first})

    kept.rename(kept.with_name("until-20200101T000000Z"))
    job.simulator.mutate(delete=[second])
    prune(job, "--delete", "--keep-for", "30d")

    (kept,) = Path(job.volumes[0], ".bucketpull/trash").glob("until-*")
    assert [path.name for path in kept.rglob("*") if path.is_file()] == [Path(second).name]


def test_in_packs_they_are_dead_and_compact_frees_their_room(make_job):
    job = make_job(SPEC)
    job.sync("--pack", "4M")
    job.simulator.mutate(delete=["a/"])
    gone, left = below(job, "a/"), below(job, "b/")

    _, told = prune(job, "--delete", "--max-delete", "60%")

    assert "60 of them lie in packs: `bucketpull compact` frees the room" in told
    exported = job.command("export", "--format", "jsonl", "--state", str(job.state)).splitlines()
    assert sorted(json.loads(line)["key"] for line in exported) == left
    assert job.command("verify", str(job.volumes[0]), "--hash", "--json") == ""
    job.command("where", gone[0], "--state", str(job.state), expect=3)
    job.command("cat", gone[0], str(job.volumes[0]), expect=3)
    job.command("where", left[0], "--state", str(job.state))


def test_what_is_kept_of_packs_outlives_the_packs(make_job):
    job = make_job("a=flat:60,size=20KiB;b=flat:3,size=3KiB")
    job.sync("--pack", "64K")
    gone, left = below(job, "a/"), below(job, "b/")
    bodies = {item.key: content(item.key, item.size, item.version) for item in job.simulator.contents.walk()}
    job.simulator.mutate(delete=["a/"])

    prune(job, "--delete", "--max-delete", "100%", "--keep-for", "30d")
    before = sum(pack.stat().st_size for pack in Path(job.volumes[0], "packs").rglob("*.tar"))
    job.command("compact", str(job.volumes[0]))

    assert sum(pack.stat().st_size for pack in Path(job.volumes[0], "packs").rglob("*.tar")) < before
    (kept,) = Path(job.volumes[0], ".bucketpull/trash").glob("until-*")
    assert {key: (kept / key).read_bytes() for key in gone} == {key: bodies[key] for key in gone}
    assert job.command("verify", str(job.volumes[0]), "--hash", "--json") == ""
    kept.rename(kept.with_name("until-20200101T000000Z"))
    prune(job, "--delete")
    assert os.listdir(Path(job.volumes[0], ".bucketpull/trash")) == []
    job.command("where", left[0], "--state", str(job.state))


KEEP = ("--keep-for", "30d")


@pytest.mark.parametrize(
    ("step", "keep"), [("intended", ()), ("appended", KEEP), ("removal_noted", ()), ("removal_noted", KEEP)]
)
def test_a_kill_at_any_step_is_made_good(make_job, step, keep):
    job = make_job(SPEC)
    job.sync()
    gone = set(keys(job)[:50])
    left = set(keys(job)) - gone
    job.simulator.mutate(delete=sorted(gone))

    kill = {"BUCKETPULL_KILL_AT": step}
    prune(job, "--delete", "--max-delete", "50%", *keep, expect=-signal.SIGKILL, environment=kill)
    prune(job, "--delete", "--max-delete", "50%", *keep)
    job.sync()

    assert_agrees(job, left)
    kept = [path for path in Path(job.volumes[0], ".bucketpull").glob("trash/*/**/*") if path.is_file()]
    assert len(kept) == (50 if keep else 0)
    assert os.listdir(Path(job.volumes[0], ".bucketpull/intents")) == []


def test_it_waits_for_nobody_and_touches_no_volume_in_use(make_job):
    job = make_job("flat:3000,size=1KiB")
    process = job.start("--rate", "100")
    deadline = time.monotonic() + 30
    while not (job.state / "journal.sqlite").exists() or not job.count():
        assert time.monotonic() < deadline
        time.sleep(0.02)

    _, told = prune(job, "--delete", expect=2)

    assert "in use by process" in told
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--max-delete", "many"], "--max-delete 'many': write a number of objects, or a share such as 1%"),
        (["--max-delete", "200%"], "a share such as 1%, at most 100%"),
        (["--keep-for", "soon"], "--keep-for 'soon': write an age such as 30d or 12h"),
    ],
)
def test_what_is_not_understood_ends_at_once(make_job, options, said):
    job = make_job("flat:3,size=100")
    job.sync()

    _, told = prune(job, *options, expect=2)

    assert said in told
