"""`--log-file`: what is told of a job stays in a file, with its time; a log is not worth a job."""

import os
import re
import stat

import pytest

SYNC = ("sync", "upyun://photos", "disk1")
STAMP = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d{4} (info|warning|error): .*")


def test_every_line_of_the_log_has_its_time_and_nobody_else_reads_it(user, service):
    user.knows(service).run(*SYNC, "--log-file", "photos.log")

    log = user.folder / "photos.log"
    lines = log.read_text().splitlines()
    assert [line for line in lines if not STAMP.fullmatch(line)] == []
    assert any("complete: upyun://photos" in line for line in lines)
    assert lines[-1].endswith("info: exit 0")
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_the_token_of_the_dashboard_is_not_in_the_log(user, service):
    done = user.knows(service).run(*SYNC, "--log-file", "photos.log", "--dashboard", "127.0.0.1:0")

    (token,) = re.findall(r"dashboard: http://\S+#(\S+)", done.stderr)
    assert token not in (user.folder / "photos.log").read_text()


def test_why_a_job_could_not_begin_is_in_the_log(user, service):
    user.knows(service).environment["UPYUN_PASSWORD"] = "not-the-password"

    user.run(*SYNC, "--log-file", "photos.log", expect=4)

    log = (user.folder / "photos.log").read_text()
    assert "error: " in log
    assert log.endswith("info: exit 4\n")
    assert "not-the-password" not in log


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("no/such/folder/log", "--log-file no/such/folder/log: "),
        ("disk1", "--log-file disk1: is a directory; name a file"),
        ("", "--log-file '': name a file"),
        ("/proc/log", "--log-file /proc/log: "),
        ("pipe", "--log-file pipe: it is a pipe that nobody reads; name another file"),
    ],
)
def test_a_log_that_cannot_be_written_is_refused_before_anything_is_made(user, service, path, said):
    (user.folder / "disk1").mkdir()
    os.mkfifo(user.folder / "pipe")
    before = user.everything()

    done = user.knows(service).run(*SYNC, "--log-file", path, expect=2)

    assert said in done.stderr
    assert user.everything() == before


def test_a_full_disk_under_the_log_changes_nothing(user, service):
    done = user.knows(service).run(*SYNC, "--log-file", "/dev/full")

    assert "--log-file /dev/full: " in done.stderr
    assert "lines could not be written: No space left on device; free some space there" in done.stderr


def test_a_log_on_a_terminal_of_another_language_is_utf_8(user, service):
    user.knows(service).environment["LC_ALL"] = "zh_CN.UTF-8"

    user.run(*SYNC, "--log-file", "日志")

    assert "已完成" in (user.folder / "日志").read_text(encoding="utf-8")
