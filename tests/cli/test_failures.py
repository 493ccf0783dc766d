import fcntl
import os
import pty
import struct
import subprocess
import termios
from types import SimpleNamespace

import pytest
from tests.cli.conftest import COMMAND

from bucketpull.cli.failures import failures

SYNC = ("sync", "upyun://photos", "disk1", "--quiet")


@pytest.fixture
def broken(user, bucket):
    """Give the service of a job of which two objects of six failed."""
    simulator = bucket("a=flat:2,size=300;b=flat:2,size=300")
    simulator.mutate(put={"a/bad-1.jpg": 500, "b/bad-2.jpg": 600})
    simulator.inject("error:code=40000001,path=*bad*")
    user.knows(simulator).run(*SYNC, expect=3)
    return simulator


def test_a_job_without_failures_says_so(user, service):
    user.knows(service).run(*SYNC)

    done = user.run("failures")

    assert done.stdout == ""
    assert "nothing has failed" in done.stderr


@pytest.mark.parametrize(("form", "told"), [((), "nothing has failed"), (("--json",), "")])
def test_through_the_broker_only_people_are_told_that_nothing_has_failed(monkeypatch, capsys, form, told):
    coordinator = SimpleNamespace(get=lambda *_, **__: [])
    monkeypatch.setattr("bucketpull.cli.failures.broker_client", lambda _: coordinator)

    failures.main(["--job", "photos", "--broker", "amqp://u:p@127.0.0.1:1/", *form], standalone_mode=False)

    shown = capsys.readouterr()
    assert shown.out == ""
    assert told in shown.err
    assert told or not shown.err


def test_each_failure_has_its_reason_its_key_and_the_last_answer(user, broken):
    told = user.says("failures")
    lines = user.json("failures")

    assert len(lines) == 2
    assert {line["key"] for line in lines} == {"a/bad-1.jpg", "b/bad-2.jpg"}
    assert all(line["reason"] == "rejected" and line["attempts"] for line in lines)
    assert all(line["status"] == 400 and line["detail"] for line in lines)
    assert "a/bad-1.jpg" in told
    assert "rejected: " in told


def test_failures_are_chosen_by_reason_pattern_and_number(user, broken):
    assert [line["key"] for line in user.json("failures", "--match", "a/*")] == ["a/bad-1.jpg"]
    assert len(user.json("failures", "--limit", "1")) == 1
    assert user.json("failures", "--reason", "timeout") == []
    assert len(user.json("failures", "--reason", "rejected")) == 2


def test_the_table_fits_the_terminal_and_the_last_answer_is_whole(user, broken):
    main, side = pty.openpty()
    fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    del user.environment["COLUMNS"]
    subprocess.run(
        [COMMAND, "failures"], cwd=user.folder, env=user.environment, stdout=side, stdin=side, check=True
    )
    text = os.read(main, 100_000).decode()
    os.close(main)
    os.close(side)

    rows = [line for line in text.splitlines() if not line.startswith("rejected: ")]
    assert rows
    assert max(map(len, rows)) <= 80
    said = "".join(text.split())
    assert all("".join(line["detail"].split()) in said for line in user.json("failures"))


def test_retried_failures_are_fetched_by_the_next_sync_and_no_others(user, broken):
    broken.clear_faults()
    broken.reset_counters()

    assert "2 failures are work again" in user.says("retry")
    user.run(*SYNC)

    assert sum(broken.counters()["requests"]["cdn.get"].values()) == 2
    assert len(user.files("disk1")) == 6
    assert user.json("failures") == []


def test_some_failures_are_retried_and_the_others_kept(user, broken):
    broken.clear_faults()

    assert "1 failure is work again" in user.says("retry", "--match", "b/*")
    user.run(*SYNC, expect=3)

    assert [line["key"] for line in user.json("failures")] == ["a/bad-1.jpg"]
