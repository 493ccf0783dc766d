"""A machine that is short of something: its limits cost speed, and no disk and no object."""

import json
import subprocess

import pytest

DEADLINE_SECONDS = 120


def pulled(job, *prefix, expect=0):
    """Run a sync under a command that changes limits; return the last events by name, and its summary."""
    done = subprocess.run(
        [*prefix, *job.arguments("--json")],
        env=job.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == expect, done.stdout[-2000:] + done.stderr
    notes = [event["name"] for event in map(json.loads, done.stdout.splitlines()) if event["event"] == "note"]
    return notes, job.summary()


@pytest.mark.parametrize("limits", ["64:4096", "200:200"])
def test_few_descriptors_make_no_disk_sick_and_fail_no_object(make_job, limits):
    """The soft limit is raised; where that is all there is, transfers stay below it."""
    job = make_job(
        "few=flat:3000,size=1KiB;many=tree:dirs=200,files=2,size=100",
        patient=True,
        cdn_latency=0.2,
        jitter=0.2,
    )

    notes, summary = pulled(job, "prlimit", f"--nofile={limits}")

    assert (summary["complete"], summary["stored"], summary["retries"]) == (True, 3400, {})
    assert [note for note in notes if note.startswith("volume.")] == []
    job.check_every_byte()
