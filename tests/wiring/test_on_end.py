"""A command at the end of a job is bounded."""

import json
import os
import select

from bucketpull.wiring.notifier import run_on_end


def test_a_command_that_hangs_is_killed_with_what_it_started_and_told(tmp_path):
    told: list[str] = []
    command = f"sleep 1000 & echo $! > {tmp_path}/child; wait"

    run_on_end(command, {}, 0, json.dumps({}).encode(), told.append, bound_seconds=1.0)

    assert told == ["--on-end: did not end within 1 s, and was killed"]
    child = int((tmp_path / "child").read_text())
    assert has_ended(child)


def has_ended(pid):
    """Tell whether a process ends; a killed one may take a moment."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(process, select.POLLIN)
        return bool(poll.poll(30_000))
    finally:
        os.close(process)
