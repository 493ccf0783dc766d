"""Objects that a listing gives on two pages, whose batches are with two machines at once: one copy stays, and is found again."""

import json
import shutil
from collections import Counter

from tests.cluster.conftest import SLOW

from upyun_simulator import content

FOLDERS = ";".join(f"f{number}=flat:120,size=3KiB" for number in range(16))
OBJECTS, AGAIN = 120 * 16, 30 * 16


def run(cluster):
    """Run the job to its end with both machines; return what was listed, stored and skipped. Each object is on one disk then, whole."""
    for machine in ("one", "two"):
        if machine not in cluster.processes or cluster.processes[machine].poll() is not None:
            cluster.work(machine)
    if "coordinator" not in cluster.processes or cluster.processes["coordinator"].poll() is not None:
        cluster.coordinate()
    for name in ("coordinator", "one", "two"):
        assert cluster.ends(name) == 0, cluster.log(name)
    held = cluster.places()
    assert [key for key, count in Counter(key for key, _ in held).items() if count > 1] == []
    expected = {item.key: item for item in cluster.simulator.contents.walk()}
    assert {key for key, _ in held} == expected.keys()
    for key, path in held:
        item = expected[key]
        assert path.read_bytes() == content(item.key, item.size, item.version), key
    found = cluster.summary()
    return found["listed"], found["stored"], found["skipped"]


def test_an_object_of_two_pages_stays_on_one_disk_where_either_page_finds_it(make_cluster):
    cluster = make_cluster(FOLDERS, max_limit=20, faults=["overlap:entries=30,page=3"], bandwidth=SLOW)
    for machine in ("one", "two"):
        cluster.work(machine)
    cluster.coordinate()
    cluster.until_all_store(("one", "two"), 2e6)
    assert run(cluster) == (OBJECTS + AGAIN, OBJECTS + AGAIN, 0)

    # Now each is listed once, by the page whose copy went.
    assert run(cluster) == (OBJECTS, 0, OBJECTS)

    for machine in ("one", "two"):
        held = cluster.stored(machine)
        identity = json.loads((cluster.volume(machine) / ".bucketpull/volume.json").read_text())["id"]
        shutil.rmtree(cluster.volume(machine))
        cluster.command("volumes", "lost", identity, "--state", str(cluster.state))
        cluster.simulator.reset_counters()
        run(cluster)
        assert cluster.simulator.counters()["requests"]["cdn.get"] == {"200": held}
