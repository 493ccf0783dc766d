"""A bad day: throttling in bursts, errors, resets, cut and false answers, and every odd name."""

import json
import os
from pathlib import Path

from bucketpull.domain.keys import path_of
from upyun_simulator import content

STORM = [
    "429:p=0.10,burst=20/200",
    "503:p=0.03",
    "reset:p=0.02",
    "truncate:p=0.01",
    "html:p=0.01",
    "stall:p=0.01",
    "429:p=0.10,burst=2/10,on=list",
]


def test_a_storm_over_odd_names_ends_complete_with_every_byte_right(make_job):
    job = make_job("odd=odd;plain=flat:3000,size=4KiB", faults=STORM, max_limit=200)

    summary = job.sync()

    assert summary["complete"] is True
    assert summary["listed"] == summary["stored"] == sum(1 for _ in job.simulator.contents.walk())
    assert summary["failed"] == summary["vanished"] == 0
    injected = job.simulator.counters()["faults"]
    retries = summary["retries"]
    assert {"throttled", "server-error", "truncated", "wrong-content", "stalled"} <= set(retries)
    assert retries["server-error"] >= injected["503"] * 0.9
    assert retries["truncated"] >= injected["truncate"] * 0.9
    for item in job.simulator.contents.walk():
        assert _stored(job, item.key) == content(item.key, item.size, item.version), item.key
    assert {path.name for path in job.folder.iterdir()} == {"volume0", "state", "summary.json"}


def _stored(job, key: str) -> bytes:
    """Read an object where its key says, else where the ledger says."""
    path = job.volumes[0] / os.fsdecode(path_of(key.encode("utf-8", "surrogateescape")))
    if path.is_file():
        return path.read_bytes()
    place = json.loads(job.command("where", key, "--state", str(job.state), "--json"))
    return Path(place["path"]).read_bytes()
