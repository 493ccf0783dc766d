"""A command at the end of a job is bounded."""

import json
import os
import select

from bucketpull.report.hooks import run_on_end


def test_a_command_that_hangs_is_killed_with_what_it_started_and_told(tmp_path):
    told: list[str] = []
    child = tmp_path / "child"
    command = f"sleep 1000 & echo $! > {child}.new; mv {child}.new {child}; wait"
    bound_seconds = 0.5

    while not child.exists():  # on a busy machine a shell may not come so far
        bound_seconds *= 2
        run_on_end(command, {}, 0, json.dumps({}).encode(), told.append, bound_seconds)

    assert told[-1] == f"--on-end: did not end within {bound_seconds:g} s, and was killed"
    assert has_ended(int(child.read_text()))


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
