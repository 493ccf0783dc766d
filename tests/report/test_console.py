"""What commands write can be read, and obeyed by no terminal."""

import io
import re

from bucketpull.report.console import _write, tell


def test_what_a_terminal_would_obey_is_escaped_at_the_last_step():
    stream = io.StringIO()
    _write(stream, "a\x1b[2Jb\rc\x9bd\u202ee 照片\u3000/ü\ttab\nline")
    assert stream.getvalue() == "a\\x1b[2Jb\\rc\\x9bd\\u202ee 照片\u3000/ü\\ttab\\nline\n"


def test_what_a_long_run_says_has_its_time(capsys, monkeypatch):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    tell("the job goes on", timed=True)
    tell("the job goes on")

    timed, plain = capsys.readouterr().err.splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d 任务继续", timed)
    assert plain == "任务继续"
