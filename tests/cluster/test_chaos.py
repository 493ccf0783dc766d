"""Everything that can die dies, again and again; the job ends complete, each object on one machine, every byte right."""

import random
import threading
import time

import pytest

MACHINES = ("m1", "m2", "m3", "m4")


class Killer:
    """Kills a worker every few seconds and starts it again; beside that kills the broker, the coordinator, and ends the broker.

    The rare ones come by the share of objects that are stored, so that the job meets them all however fast it is.
    """

    def __init__(self, cluster, broker, objects, every, seed):
        self.cluster, self.broker, self.objects, self.every = cluster, broker, objects, every
        self.random = random.Random(seed)
        self.over = threading.Event()
        self.struck = []
        self.error = None
        self.threads = [
            threading.Thread(target=self._guarded, args=(what,), daemon=True)
            for what in (self._kill_workers, self._kill_others)
        ]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(120)

    def _guarded(self, what):
        try:
            what()
        except BaseException as error:  # noqa: BLE001 - told by the test
            self.error = error

    def _kill_workers(self):
        while not self.over.wait(self.random.uniform(0.5, 1.5) * self.every):
            if self.cluster.stored() < 0.95 * self.objects:
                machine = self.random.choice(MACHINES)
                self.struck.append(machine)
                self.cluster.kill(machine)
                self.over.wait(self.random.uniform(0.0, 1.0))
                self.cluster.work(machine)

    def _kill_others(self):
        strikes = [(0.15, self._kill_broker), (0.4, self._kill_coordinator), (0.6, self._stop_broker)]
        while strikes and not self.over.wait(0.1):
            if self.cluster.stored() >= strikes[0][0] * self.objects:
                _, strike = strikes.pop(0)
                self.struck.append(strike.__name__)
                strike()

    def _kill_broker(self):
        self.broker.kill()
        self.broker.start()

    def _stop_broker(self):
        self.broker.stop()
        self.broker.start()

    def _kill_coordinator(self):
        self.cluster.kill("coordinator")
        self.cluster.coordinate()


def ended(cluster):
    """Whether the job has; a coordinator that found no broker is started again, as its service would."""
    code = cluster.processes["coordinator"].poll()
    if code == 3 and "cannot be reached" in cluster.log().splitlines()[-1]:
        cluster.coordinate()
        return False
    return code is not None and not (code < 0)


def chaos(make_cluster, broker, objects, every, bandwidth, seconds):
    seed = time.time_ns() % 1_000_000
    print(f"seed {seed}")
    cluster = make_cluster(f"tree:dirs={objects // 1000},files=1000,size=2KiB", bandwidth=bandwidth)
    for machine in MACHINES:
        cluster.work(machine)
    cluster.coordinate()
    cluster.until(cluster.stored)
    with Killer(cluster, broker, objects, every, seed) as killer:
        cluster.until(lambda: killer.error or ended(cluster), seconds)
    print(f"struck: {killer.struck}")
    assert killer.error is None
    assert {"_kill_broker", "_stop_broker", "_kill_coordinator"} <= set(killer.struck)
    assert len(killer.struck) >= 7
    summary = cluster.check()
    assert summary["listed"] == objects
    return summary


def test_a_short_chaos_leaves_each_object_once_and_right(make_cluster, broker):
    chaos(make_cluster, broker, objects=12_000, every=2.5, bandwidth=1.5e6, seconds=150)


@pytest.mark.soak
def test_a_long_chaos_leaves_each_object_once_and_right(make_cluster, broker):
    chaos(make_cluster, broker, objects=100_000, every=3.0, bandwidth=2.5e6, seconds=1500)
