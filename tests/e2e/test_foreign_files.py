"""Files of others on a volume: taken over if they are the objects, kept if they are in the way, never lost."""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from upyun_simulator import content

SPEC = "photos=flat:40,size=4KiB;sub=flat:20,size=300B"


def items(job):
    return list(job.simulator.contents.walk())


def put(job, item, body=None, mtime=None, suffix=""):
    path = Path(job.volumes[0], item.key + suffix)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content(item.key, item.size, item.version) if body is None else body)
    if mtime is not None:
        os.utime(path, (mtime, mtime))
    return path


def answers(job, kind="cdn.get"):
    """Return how many requests of a kind there were, by status."""
    return job.simulator.counters()["requests"].get(kind, {})


def received(job):
    return sum(answers(job).values()) - answers(job).get("304", 0)


def verified(job):
    return job.command("verify", str(job.volumes[0]), "--hash", "--json")


def test_files_that_upx_left_are_taken_over_by_their_md5(make_job):
    job = make_job(SPEC)
    for item in items(job)[:45]:
        put(job, item)  # upx keeps no dates

    summary = job.sync("--adopt")

    assert (summary["stored"], summary["skipped"], summary["failed"]) == (15, 45, 0)
    assert summary["bytes"] == sum(item.size for item in items(job)[45:])
    assert received(job) == 15
    job.check_every_byte()
    assert verified(job) == ""
    again = job.sync()
    assert (again["stored"], again["skipped"], received(job)) == (0, 60, 15)


def test_files_that_differ_are_kept_though_the_process_that_was_to_look_at_them_died(make_job):
    job = make_job(SPEC)
    for item in items(job):
        put(job, item, bytes(item.size))
    environment = {**job.environment, "BUCKETPULL_KILL_AT": "renamed:40"}

    options = ("--adopt", "--processes", "1")
    done = subprocess.run(
        job.arguments(*options), env=environment, capture_output=True, timeout=60, check=False
    )

    assert done.returncode == 0, done.stderr
    for item in items(job):
        assert Path(job.volumes[0], item.key).read_bytes() == content(item.key, item.size, item.version)
        assert Path(job.volumes[0], item.key + ".kept").read_bytes() == bytes(item.size)


def test_files_that_rclone_left_are_taken_over_by_their_date_and_that_is_told(make_job):
    job = make_job(SPEC)
    for item in items(job)[:45]:
        put(job, item, mtime=item.mtime)

    process = job.start("--adopt", "date")
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert "by size and date alone" in errors
    assert (job.summary()["stored"], job.summary()["skipped"]) == (15, 45)
    assert sum(answers(job).values()) == 15
    job.check_every_byte()


@pytest.mark.parametrize(
    "options", [(), ("--adopt",), ("--adopt", "date"), ("--pack",), ("--pack", "4M", "--adopt")]
)
def test_a_file_that_differs_is_kept_beside_and_told(make_job, options):
    job = make_job(SPEC)
    longer, altered = items(job)[3], items(job)[50]
    put(job, longer, b"a user's own notes")
    put(job, altered, bytes(altered.size))

    process = job.start(*options)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert "had 2 files of others where objects belong" in errors
    assert Path(job.volumes[0], longer.key + ".kept").read_bytes() == b"a user's own notes"
    assert Path(job.volumes[0], altered.key + ".kept").read_bytes() == bytes(altered.size)
    told = Path(job.volumes[0], ".bucketpull/kept.txt").read_text().splitlines()
    assert sorted(told) == sorted(f"{item.key}\t{item.key}.kept" for item in (longer, altered))
    summary = job.summary()
    assert (summary["stored"], summary["failed"]) == (60, 0)
    if "--pack" not in options:
        files = job.files()
        assert all(files[item.key] == content(item.key, item.size, item.version) for item in items(job))


def test_what_is_put_there_between_two_runs_is_kept_too(make_job):
    job = make_job(SPEC)
    job.sync("--limit", "30", expect=6)
    missing = next(item for item in items(job) if item.key not in job.files())
    put(job, missing, b"put there by hand")

    job.sync()

    assert Path(job.volumes[0], missing.key + ".kept").read_bytes() == b"put there by hand"
    assert job.files()[missing.key] == content(missing.key, missing.size, missing.version)


def test_a_name_that_is_taken_is_not_used_to_keep_a_file(make_job):
    job = make_job("flat:3,size=100")
    item = items(job)[0]
    put(job, item, b"new notes")
    put(job, item, b"old notes", suffix=".kept")

    job.sync()

    assert Path(job.volumes[0], item.key + ".kept").read_bytes() == b"old notes"
    assert Path(job.volumes[0], item.key + ".kept-2").read_bytes() == b"new notes"


def test_with_replace_it_is_replaced(make_job):
    job = make_job("flat:3,size=100")
    put(job, items(job)[0], b"of no use")

    job.sync("--foreign", "replace")

    job.check_every_byte()


def test_what_changes_at_the_source_is_replaced_and_not_kept(make_job):
    job = make_job("flat:30,size=100")
    job.sync()
    changed = items(job)[4]
    job.simulator.mutate(touch=[changed.key])

    summary = job.sync("--adopt")

    assert (summary["stored"], summary["skipped"]) == (1, 29)
    assert len(job.files()) == 30


@pytest.mark.parametrize("options", [(), ("--pack",)], ids=["files", "packs"])
def test_a_file_of_ours_that_was_edited_is_kept_when_its_object_changes(make_job, options):
    job = make_job("flat:30,size=100")
    job.sync()
    edited, changed = items(job)[4:6]
    path = put(job, edited, b"edited by hand")
    job.simulator.mutate(touch=[edited.key, changed.key])

    process = job.start(*options)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 0, errors
    assert "had 1 file of others where objects belong" in errors
    assert Path(f"{path}.kept").read_bytes() == b"edited by hand"
    assert not Path(job.volumes[0], changed.key + ".kept").exists()
    assert job.summary()["stored"] == 2


def test_a_large_file_is_taken_over_and_one_that_differs_is_kept(make_job):
    job = make_job("flat:2,size=9MiB")
    same, other = items(job)
    put(job, same)
    put(job, other, bytes(other.size))

    summary = job.sync("--adopt")

    assert (summary["stored"], summary["skipped"]) == (1, 1)
    files = job.files()
    assert files.pop(other.key + ".kept") == bytes(other.size)
    assert all(files[item.key] == content(item.key, item.size, item.version) for item in (same, other))


def test_by_rest_too_nothing_comes_that_is_there(make_job):
    job = make_job("flat:10,size=100", cdn=False)
    inode = put(job, items(job)[0]).stat().st_ino

    summary = job.sync("--adopt")

    assert (summary["stored"], summary["skipped"]) == (9, 1)
    assert answers(job, "rest.get") == {"200": 9, "304": 1}
    assert Path(job.volumes[0], items(job)[0].key).stat().st_ino == inode


def test_repairing_replaces_what_is_damaged_and_keeps_nothing_of_it(make_job):
    job = make_job("flat:10,size=100")
    job.sync()
    Path(job.volumes[0], items(job)[2].key).write_bytes(b"damaged")

    job.command("verify", str(job.volumes[0]), "--repair", "--state", str(job.state))

    job.check_every_byte()


def test_a_kill_while_files_are_taken_over_counts_nothing_twice(make_job):
    job = make_job("flat:3000,size=1KiB")
    for item in items(job)[:2500]:
        put(job, item)

    job.kill_when(lambda: answers(job).get("304", 0) > 500, "--adopt")
    job.sync("--adopt")

    job.check_every_byte()
    (volume,) = map(json.loads, job.command("volumes", "--json", "--state", str(job.state)).splitlines())
    assert volume["stored_objects"] == 3000
    assert verified(job) == ""


def test_an_interrupted_takeover_leaves_the_files_as_they_were(make_job):
    job = make_job("flat:2000,size=1KiB")
    dates = {put(job, item, mtime=1_000_000_000).name for item in items(job)}
    process = job.start("--adopt", "--rate", "200")

    job.stop_when(process, signal.SIGINT, lambda: sum(answers(job).values()) > 20)

    assert process.returncode == 130
    found = {path.name: path.stat().st_mtime for path in Path(job.volumes[0]).glob("*") if path.is_file()}
    assert found.keys() == dates
    assert set(found.values()) == {1_000_000_000}


def test_versions_of_images_cannot_be_told(make_job):
    job = make_job("flat:3,size=100")
    process = job.start("--adopt", "--style", "!s400")
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "--adopt: nothing states the length of image versions" in errors
    assert not job.volumes[0].exists()
