"""The log is rotated, and lines that its disk does not take are dropped and counted."""

import errno
import os
import resource

from bucketpull.report import log_file
from bucketpull.report.log_file import OLD_FILES, LogFile


def test_a_log_that_is_large_enough_becomes_an_old_one_and_few_old_ones_are_kept(tmp_path):
    log = LogFile(str(tmp_path / "log"), most_bytes=2000)

    for number in range(300):
        log.write("info", f"line {number} " + "x" * 50)
    log.close()

    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["log", *(f"log.{number}" for number in range(1, OLD_FILES + 1))]
    assert all(
        path.stat().st_size <= 2000 and path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir()
    )
    assert "line 299 " in (tmp_path / "log").read_text()


def test_old_files_stay_while_no_new_one_can_be_made(tmp_path, monkeypatch):
    log = LogFile(str(tmp_path / "log"), most_bytes=1000)
    for number in range(OLD_FILES + 1):
        log.write("info", f"line {number} " + "x" * 900)
    before = {path.read_text() for path in tmp_path.iterdir()}

    def no_inode(path, mode):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)

    with monkeypatch.context() as patched:
        patched.setattr(log_file, "append", no_inode)
        for _ in range(OLD_FILES + 1):
            log.write("info", "lost " + "x" * 100)

    after = {path.read_text() for path in tmp_path.iterdir()}
    assert after == {text for text in before if "line 0" not in text}
    log.write("info", "kept")
    log.close()
    lines = (tmp_path / "log").read_text()
    assert "info: kept" in lines
    assert f"{OLD_FILES + 1} lines were dropped" in lines


def test_what_is_told_when_the_log_is_closed_goes_into_no_other_file(tmp_path):
    log = LogFile(str(tmp_path / "log"))
    log.close()
    with (tmp_path / "other").open("wb"):  # it may get the number that the log had
        log.write("info", "late")

    assert (tmp_path / "other").read_bytes() == b""
    assert log.lost == 1


def test_lines_that_could_not_be_written_are_counted_and_told_when_some_can(tmp_path):
    log = LogFile(str(tmp_path / "log"))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))  # as on a full disk
    try:
        log.write("info", "lost")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    log.write("info", "kept")
    log.close()

    lines = (tmp_path / "log").read_text()
    assert "info: kept" in lines
    assert "warning: 1 line was dropped" in lines


def test_a_line_break_or_an_escape_sequence_in_a_name_forges_no_line(tmp_path):
    log = LogFile(str(tmp_path / "log"))
    log.write("info", "key \x1b[31m\u2028red")
    log.close()

    assert r"\x1b[31m" in (tmp_path / "log").read_text()
