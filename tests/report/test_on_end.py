"""A command at the end of a job is bounded."""

import json

from bucketpull.report.on_end import run_on_end


def test_a_command_that_hangs_is_killed_with_what_it_started_and_told(tmp_path):
    told: list[str] = []
    command = f"sleep 1000 & echo $! > {tmp_path}/child; wait"

    run_on_end(command, {}, 0, json.dumps({}).encode(), told.append, bound_seconds=1.0)

    assert told == ["--on-end: did not end within 1 s, and was killed"]
    child = int((tmp_path / "child").read_text())
    stat = tmp_path.joinpath("/proc", str(child), "stat")
    assert not stat.exists() or stat.read_text().split()[2] == "Z"
