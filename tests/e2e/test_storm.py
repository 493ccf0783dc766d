"""A bad day: throttling in bursts, errors, resets, cut and false answers, and every odd name."""

from bucketpull.domain.keys import path_of
from bucketpull.simulator import content

STORM = [
    "429:p=0.10,burst=20/200",
    "503:p=0.03",
    "reset:p=0.02",
    "truncate:p=0.01",
    "html:p=0.01",
    "stall:p=0.002",
]


def test_a_storm_over_odd_names_ends_complete_with_every_byte_right(make_job):
    job = make_job("odd=odd;plain=flat:3000,size=4KiB", faults=STORM)

    summary = job.sync()

    assert summary["complete"] is True
    assert summary["retries"]
    for item in job.simulator.contents.walk():
        place = json.loads(job.command("where", item.key, "--state", str(job.state), "--json"))
        stored = (job.volumes[0] / place["path"]).read_bytes()
        assert stored == content(item.key, item.size, item.version), item.key
