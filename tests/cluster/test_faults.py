"""Machines that die, come back, are cut off or fill up; brokers and coordinators that restart: the books stay exact."""

import json
import signal
import subprocess
import time

import pytest
from tests.cluster.conftest import SLOW
from tests.servers.proxy import Proxy
from tests.transport.test_rabbitmq import purge, put, run

from bucketpull.transport.queues import QueueNames

BANDWIDTH = 3e6


def started(
    make_cluster, objects=6000, machines=("m1", "m2"), bandwidth=BANDWIDTH, patience=(4.0, 3.0), **settings
):
    """Start a job, slow enough to be disturbed, and wait until every machine has stored something."""
    cluster = make_cluster(f"flat:{objects},size=2KiB", bandwidth=SLOW, **settings)
    cluster.patience = patience
    for machine in machines:
        cluster.work(machine)
    cluster.coordinate()
    cluster.until_all_store(machines, bandwidth)
    return cluster


def wait_for_a_coordinator(cluster, machines=("m1", "m2")):
    """Start machines before their coordinator, and wait until each says that it waits for one."""
    said = {machine: cluster.said_waiting(machine) for machine in machines}
    for machine in machines:
        cluster.work(machine)
    cluster.until(lambda: all(cluster.said_waiting(machine) > said[machine] for machine in machines))


def everything_is_with_machines(cluster) -> bool:
    left = json.loads(cluster.command("status", "--json", "--state", str(cluster.state)))["outstanding"]
    return left["scans"] == 0 and left["batches"] == left["batches_sent"]


def finished(cluster, *machines):
    assert cluster.ends() == 0, cluster.log()
    for machine in machines:
        assert cluster.ends(machine) == 0, cluster.log(machine)
    return cluster.check()


def test_what_a_killed_machine_held_is_done_by_others_and_its_leftovers_go_when_it_returns(make_cluster):
    cluster = started(make_cluster, 12000)
    cluster.kill("m1")
    left = cluster.stored("m1")
    cluster.until(lambda: cluster.stored("m2") > 4000)  # more than its share: some of m1's is with it by now
    cluster.until(lambda: "away" in cluster.command("volumes", "--state", str(cluster.state)))
    cluster.work("m1")
    summary = finished(cluster, "m1", "m2")
    for event in ("machine.joined: machine m1", "machine.silent: ", "machine.back: machine m1"):
        assert event in cluster.log()
    assert left > 50
    assert summary["stored"] + summary["skipped"] == 12000


def test_a_coordinator_killed_or_stopped_goes_on_where_it_was_and_its_workers_never_stop(make_cluster):
    cluster = started(make_cluster, 10000)
    cluster.kill("coordinator")
    before = cluster.stored()
    cluster.until(lambda: cluster.stored() > before + 200)  # they go on with what they hold
    said = cluster.log().count("transferring")
    cluster.coordinate()
    cluster.until(lambda: cluster.log().count("transferring") > said)
    before = cluster.stored()
    cluster.until(lambda: cluster.stored() > before + 1000)
    cluster.processes["coordinator"].send_signal(signal.SIGINT)
    assert cluster.ends() == 130
    assert all(cluster.processes[machine].poll() is None for machine in ("m1", "m2"))
    cluster.coordinate()
    assert finished(cluster, "m1", "m2")["listed"] == 10000
    requests = cluster.simulator.counters()["requests"]["cdn.get"]
    assert sum(requests.values()) <= 10000 * 1.02


def test_a_coordinator_that_finds_everything_done_when_it_returns_tells_its_workers_of_the_end(make_cluster):
    cluster = make_cluster("flat:6000,size=2KiB", bandwidth=SLOW)
    wait_for_a_coordinator(cluster)  # else one machine may have all before the other comes
    cluster.coordinate()
    cluster.until_all_store(("m1", "m2"), SLOW)
    cluster.until(lambda: everything_is_with_machines(cluster))
    cluster.simulator.set(bandwidth=BANDWIDTH)
    cluster.kill("coordinator")
    cluster.until(lambda: cluster.stored() == 6000)
    cluster.coordinate()
    assert finished(cluster, "m1", "m2")["stored"] == 6000
    wait_for_a_coordinator(cluster)
    cluster.coordinate()
    assert finished(cluster, "m1", "m2")["stored"] == 0


def test_sigterm_drains_a_worker_within_ten_seconds_and_others_do_the_rest(make_cluster):
    cluster = started(make_cluster, cdn_latency=0.5, bandwidth=1e8)
    begun = time.monotonic()
    cluster.processes["m1"].send_signal(signal.SIGTERM)
    assert cluster.ends("m1") == 130
    assert time.monotonic() - begun < 30  # ten, and what a busy machine needs
    assert finished(cluster, "m2")["stored"] == 6000


def test_purged_queues_cost_time_and_poison_is_among_the_failures(make_cluster):
    cluster = started(make_cluster)
    names = QueueNames(cluster.name)
    cluster.processes["m1"].send_signal(signal.SIGSTOP)  # so that work waits in its queue
    for _ in range(5):
        run(lambda: purge(cluster.url, names.machine("m1"), names.machine("m2"), names.receipts))
        time.sleep(0.1)
    cluster.processes["m1"].send_signal(signal.SIGCONT)
    for queue in (names.machine("m1"), names.receipts):
        run(lambda queue=queue: put(cluster.url, queue, b"\xc1 is no message " + queue.encode()))
    assert cluster.ends() == 3
    summary = cluster.summary()
    assert (summary["stored"] + summary["skipped"], summary["failures"]) == (6000, {"poison": 2})
    shown = cluster.command("failures", "--state", str(cluster.state))
    assert shown.count("bytes nobody understands, c1206973") == 2
    cluster.command("retry", "--state", str(cluster.state))
    assert (cluster.ends("m1"), cluster.ends("m2")) == (0, 0)
    cluster.coordinate()
    finished(cluster)


@pytest.mark.soak
def test_a_broker_killed_and_started_again_is_waited_for(make_cluster, broker):
    cluster = started(make_cluster)
    time.sleep(2.5)  # queues killed in their first seconds are lost: that is the broker's, see docs
    broker.kill()
    cluster.until(
        lambda: '"state":"no-broker"' in cluster.command("status", "--json", "--state", str(cluster.state))
    )
    time.sleep(5.0)  # longer than the coordinator's patience with a machine that is silent
    broker.start()
    assert finished(cluster, "m1", "m2")["stored"] == 6000
    assert "broker.lost: " in cluster.log()
    assert "broker.reached: the broker is reached again" in cluster.log()


@pytest.mark.soak
def test_an_alarm_of_the_broker_is_waited_out_and_nobody_is_taken_for_dead(make_cluster, broker):
    cluster = started(make_cluster, patience=(10.0, 6.0))
    broker.control("set_disk_free_limit", "100000GB")
    time.sleep(15.0)  # longer than the coordinator's patience with a machine that is silent
    broker.control("set_disk_free_limit", "50MB")
    assert finished(cluster, "m1", "m2")["stored"] == 6000
    assert "away" not in cluster.log()


def test_a_machine_cut_off_longer_than_patience_does_no_harm_when_it_is_back(make_cluster, broker):
    with Proxy(broker.port) as proxy:
        cluster = make_cluster("flat:8000,size=2KiB", bandwidth=SLOW)
        url = broker.url.replace(str(broker.port), str(proxy.port))
        cluster.work("m1", BUCKETPULL_BROKER=url)
        cluster.work("m2")
        cluster.coordinate()
        cluster.until_all_store(("m1", "m2"), BANDWIDTH)
        proxy.refuse(True)
        proxy.cut()
        cluster.until(lambda: "away" in cluster.command("volumes", "--state", str(cluster.state)))
        cluster.until(lambda: cluster.stored("m2") > 3000)
        proxy.refuse(False)
        finished(cluster, "m1", "m2")


@pytest.fixture
def small_disk(tmp_path):
    """Makes tmpfs of so many bytes."""
    made = []

    def make(name, size):
        path = tmp_path / name
        path.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=True)
        made.append(path)
        return path

    yield make
    for path in made:
        subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_machine_takes_no_more_work_and_the_job_waits_only_when_all_are_full(make_cluster, small_disk):
    cluster = make_cluster("flat:4000,size=8KiB", bandwidth=2e7)
    disks = {"m1": small_disk("d1", "6m"), "m2": small_disk("d2", "12m")}
    for machine, disk in disks.items():
        cluster.work(machine, volumes=[disk])
    cluster.coordinate()
    status = ["status", "--broker", cluster.url, "--job", cluster.name]
    cluster.until(lambda: "transferring" in cluster.log())
    cluster.until(lambda: "no-room" in cluster.command(*status, "--json"))
    full = {machine: sum(1 for _ in disk.glob("*")) for machine, disk in disks.items()}
    assert all(count > 300 for count in full.values())
    before = sum(cluster.simulator.counters()["requests"]["cdn.get"].values())
    time.sleep(5.5)  # longer than a worker holds off: it tries again, and must not spin
    after = sum(cluster.simulator.counters()["requests"]["cdn.get"].values())
    assert after - before < 400
    cluster.work("m3")
    assert cluster.ends() == 0
    summary = cluster.summary()
    assert (summary["complete"], summary["stored"]) == (True, 4000)
    found = [path.name for disk in disks.values() for path in disk.iterdir() if path.is_file()]
    found += [key for key, _ in cluster.places()]
    assert sorted(found) == sorted(item.key for item in cluster.simulator.contents.walk())
