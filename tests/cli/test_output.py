"""Output is not worth a job: readers that go, stop or never were, full disks and closed streams change nothing of how a command ends."""

import fcntl
import os
import signal
import struct
import subprocess
import termios
import time

import pytest
from tests.cli.conftest import COMMAND, DEADLINE_SECONDS, User, until

SYNC = ("sync", "upyun://photos", "disk1")
SMALL_PIPE_BYTES = 4096


def run(user, *arguments, **streams):
    """Run a command with streams of the test's own; return its exit code and what it said to the others."""
    defaults = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=user.folder,
        env=user.environment,
        timeout=DEADLINE_SECONDS,
        check=False,
        **(defaults | streams),
    )
    said = ((done.stdout or b"") + (done.stderr or b"")).decode()
    assert "Traceback" not in said
    assert "Exception ignored" not in said
    return done.returncode, said


def dead_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def unread(pipe: int) -> int:
    """Return how many bytes wait in a pipe."""
    (number,) = struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"0000"))
    return number


def books(user):
    (status,) = user.json("status")
    return status["state"], status["counters"]["stored"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, service):
    """A user whose job of 100 objects is done, for all who only look at it."""
    user = User(tmp_path_factory.mktemp("finished")).knows(service)
    user.run(*SYNC)
    return user


@pytest.mark.parametrize("options", [("--json",), (), ("--quiet",)], ids=["json", "lines", "quiet"])
def test_a_job_goes_on_when_its_reader_goes(user, bucket, options):
    user.knows(bucket("flat:200,size=500"))
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [COMMAND, *SYNC, "--rate", "80", *options],
        cwd=user.folder,
        env=user.environment,
        stdout=writing,
        stderr=writing,
        stdin=subprocess.DEVNULL,
    )
    os.close(writing)
    if "--quiet" not in options:
        os.read(reading, 1)
    os.close(reading)

    assert process.wait(DEADLINE_SECONDS) == 0
    assert books(user) == ("complete", 200)


def test_ctrl_c_before_a_job_begins_is_that_without_a_reader_too(user):
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [COMMAND, *SYNC, "--config", "/dev/stdin"],
        cwd=user.folder,
        env=user.environment,
        stdin=reading,
        stdout=subprocess.DEVNULL,
        stderr=dead_pipe(),
    )
    os.write(writing, b"#")
    until(lambda: not unread(reading), "the configuration to be read")

    process.send_signal(signal.SIGINT)

    assert process.wait(DEADLINE_SECONDS) == 130
    os.close(reading)
    os.close(writing)


def test_a_job_does_not_wait_for_a_reader_that_does_not_read(user, bucket):
    user.knows(bucket("flat:300,size=500"))
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, SMALL_PIPE_BYTES)
    began = time.monotonic()
    process = subprocess.Popen(
        [COMMAND, *SYNC, "--rate", "60", "--json"],
        cwd=user.folder,
        env=user.environment,
        stdout=writing,
        stderr=subprocess.DEVNULL,
        stdin=subprocess.DEVNULL,
    )
    os.close(writing)
    try:
        assert process.wait(DEADLINE_SECONDS) == 0
        assert time.monotonic() - began < 40
    finally:
        process.kill()
        os.close(reading)
    assert books(user) == ("complete", 300)


def test_a_job_goes_on_with_its_log_on_a_full_disk(user, service):
    user.knows(service)
    with open("/dev/full", "wb") as full:
        code, _ = run(user, *SYNC, "--json", "--summary", "/dev/full", stdout=full, stderr=full)

    assert code == 0
    assert books(user) == ("complete", 100)


def test_a_summary_that_cannot_be_written_is_told_and_changes_no_exit_code(user, service):
    code, said = run(user.knows(service), *SYNC, "--summary", "/dev/full")

    assert code == 0
    assert "--summary /dev/full: not written: No space left on device" in said


@pytest.mark.parametrize("closed", ["<&- >&- 2>&-", ">&-", "2>&-"])
def test_a_job_goes_on_with_streams_that_were_closed_at_the_start(user, service, closed):
    user.knows(service)
    script = f'exec "$0" "$@" {closed}'
    done = subprocess.run(
        ["sh", "-c", script, COMMAND, *SYNC],
        cwd=user.folder,
        env=user.environment,
        timeout=DEADLINE_SECONDS,
        check=False,
        capture_output=True,
    )

    assert done.returncode == 0, done.stderr
    assert books(user) == ("complete", 100)


SHOWS = [
    ("status",),
    ("status", "--json"),
    ("status", "--directories"),
    ("failures",),
    ("failures", "--json"),
    ("export", "--format", "csv"),
    ("export", "--format", "jsonl"),
    ("volumes",),
    ("verify", "disk1"),
    ("plan", "upyun://photos", "disk1"),
    ("help", "exit-codes"),
    ("--help",),
    ("sync", "--help"),
    ("--version",),
    ("completion", "bash"),
    ("simulate", "--list-faults"),
]


@pytest.mark.parametrize("arguments", SHOWS, ids=" ".join)
def test_a_command_ends_quietly_when_nobody_reads(finished, arguments):
    writing = dead_pipe()
    try:
        code, said = run(finished, *arguments, stdout=writing)
    finally:
        os.close(writing)

    assert code == 0, said


@pytest.mark.parametrize("arguments", [("status",), ("export", "--format", "csv"), ("help",)], ids=" ".join)
def test_a_full_disk_under_standard_output_is_told(finished, arguments):
    with open("/dev/full", "wb") as full:
        code, said = run(finished, *arguments, stdout=full)

    assert code == 3
    assert (
        said == "bucketpull: standard output: No space left on device; free some space, or write elsewhere\n"
    )


def test_a_command_that_decides_keeps_its_result_when_nobody_reads(user, service):
    user.knows(service).run(*SYNC)
    next(path for path in (user.folder / "disk1/2024").iterdir()).unlink()
    writing = dead_pipe()
    try:
        code, _ = run(user, "verify", "disk1", stdout=writing)
    finally:
        os.close(writing)

    assert code == 3


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "json"])
def test_what_is_gone_at_the_source_is_removed_when_nobody_reads_what_that_is(user, bucket, form):
    """It ended with exit code 0, and nothing was removed."""
    simulator = bucket("2023=flat:200,size=900;2024=flat:60,size=900")
    user.knows(simulator).run(*SYNC)
    simulator.mutate(delete=["2023/"])
    writing = dead_pipe()
    try:
        code, said = run(user, "prune", "disk1", "--delete", "--max-delete", "90%", *form, stdout=writing)
    finally:
        os.close(writing)

    assert code == 0, said
    assert {path.split("/")[0] for path in user.files("disk1")} == {"2024"}


def test_a_full_disk_under_a_long_list_of_what_is_removed_is_seen_in_the_exit_code(user, bucket):
    simulator = bucket("2023=flat:300,size=900;2024=flat:60,size=900")
    user.knows(simulator).run(*SYNC)
    simulator.mutate(delete=["2023/"])
    with open("/dev/full", "wb") as full:
        code, said = run(user, "prune", "disk1", "--delete", "--max-delete", "90%", "--json", stdout=full)

    assert code == 3
    assert said.count("standard output: No space left on device") == 1
    assert {path.split("/")[0] for path in user.files("disk1")} == {"2024"}


def test_json_counts_what_passed_each_stage_of_an_objects_way(user, service):
    lines = user.knows(service).json(*SYNC)

    progress = [line for line in lines if line["event"] == "progress"][-1]
    assert list(progress["stages"]) == ["listed", "placed", "fetched", "written", "settled", "booked"]
    assert progress["stages"]["listed"]["objects"] == progress["counters"]["listed"]
    assert progress["stages"]["booked"]["objects"] == progress["counters"]["stored"]


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        (("--min-size", "1G"), "100 objects were listed, and the rules exclude all; check --include, "),
        (("--exclude", "**"), "no object was listed outside of folders that the rules exclude; check "),
        (("--exclude", "2023/"), None),
        ((), None),
    ],
)
def test_rules_that_exclude_everything_are_told_and_change_no_exit_code(user, service, rule, told):
    user.knows(service)

    for _ in range(2):
        done = user.run("sync", "upyun://photos", "disk1", *rule)
        said = [line for line in done.stderr.splitlines() if "warning: rules.exclude-all: " in line]
        assert len(said) == (told is not None)
        assert all(told in line for line in said)
