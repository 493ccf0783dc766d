"""Chaos by day on three machines: their programs, coordinator and broker die too; the same must come of it as on one machine."""

import time
from pathlib import Path

import pytest
from tests.chaos.draws import (
    LAST_SECONDS,
    Clock,
    Dice,
    Trouble,
    Weather,
    check_failures,
    check_what_lies_there,
    kill_a_child,
    spec,
    stand_still,
)

MACHINES = ("m1", "m2", "m3")


class Fleet:
    """Three machines with their disks and clocks, a coordinator and a broker, to all of which something happens."""

    def __init__(self, cluster, broker, disks):
        self.cluster, self.broker, self.dice = cluster, broker, Dice()
        self.weather = Weather(cluster.simulator, self.dice)
        self.clocks = {name: Clock(cluster.folder / f"clock-{name}", self.dice) for name in MACHINES}
        self.volumes = {name: [Path(disk.path, "volume") for disk in disks[name]] for name in MACHINES}
        self.trouble = {name: Trouble(disks[name], self.volumes[name], self.dice) for name in MACHINES}
        for name in MACHINES:
            self.work(name)
        self.cluster.coordinate()

    def work(self, name):
        descriptors = self.dice.choose(["unlimited", "unlimited", "256", "1024"])
        limit = ["prlimit", f"--nofile={descriptors}"] if descriptors.isdecimal() else []
        self.dice.say(f"{name} starts; descriptors {descriptors}")
        clock = self.clocks[name].environment
        self.cluster.work(name, volumes=self.volumes[name], prefix=limit, **clock)

    def event(self):
        """Let one thing happen."""
        name = self.dice.choose(MACHINES)
        pid = self.cluster.processes[name].pid
        events = [
            self.weather.change,
            self.weather.change,
            self.trouble[name].change,
            self.trouble[name].change,
            self.clocks[name].jump,
            lambda: kill_a_child(pid, self.dice),
            lambda: stand_still(pid, self.dice),
            lambda: self.restart(name),
            lambda: self.restart(name),
        ]
        if self.dice.chance(0.1):
            events = [self.kill_coordinator, self.kill_broker, self.stop_broker]
        self.dice.choose(events)()
        self.mind()

    def mind(self):
        """Start again what has ended by itself, as a service manager does."""
        for name, process in list(self.cluster.processes.items()):
            if (code := process.poll()) is None:
                continue
            assert code != 1, f"{name} met a bug: {self.cluster.log(name)[-3000:]}"
            assert code != 4, f"{name} was refused: {self.cluster.log(name)[-3000:]}"
            self.dice.say(f"{name} ended with {code}")
            if code == 2 and name in self.trouble:
                self.trouble[name].calm()  # without a disk it does not even start
            self.cluster.coordinate() if name == "coordinator" else self.work(name)

    def restart(self, name):
        self.dice.say(f"{name} is killed")
        self.trouble[name].let_go()
        self.cluster.kill(name)
        self.trouble[name].move()
        time.sleep(self.dice.seconds(0.0, 9.0))
        self.work(name)

    def kill_coordinator(self):
        self.dice.say("the coordinator is killed")
        self.cluster.kill("coordinator")
        self.cluster.coordinate()

    def kill_broker(self):
        self.dice.say("the broker is killed")
        self.broker.kill()
        self.broker.start()

    def stop_broker(self):
        self.dice.say("the broker is stopped")
        self.broker.stop()
        self.broker.start()

    def calm(self):
        self.weather.calm()
        for trouble in self.trouble.values():
            trouble.calm()
        self.cluster.simulator.set(bandwidth=0)
        self.dice.say("calm")
        for name in MACHINES:
            self.cluster.kill(name)
            self.work(name)
        self.mind()


@pytest.mark.soak
@pytest.mark.parametrize(("objects", "seconds"), [(2_000, 30), (20_000, 180), (200_000, 1200)])
def test_a_day_of_all_faults_at_once_leaves_nothing_out_but_what_cannot_be_had(
    make_cluster, broker, disks, objects, seconds
):
    cluster = make_cluster(spec(objects), max_limit=500, bandwidth=objects * 2048 * 1.5 / seconds)
    megabytes = f"{max(96, objects // 400 + 60)}m"
    made = {
        "m1": [disks.tmpfs(megabytes), disks.odd()],
        "m2": [disks.tmpfs(megabytes)],
        "m3": [disks.odd(), disks.tmpfs(megabytes)],
    }
    fleet = Fleet(cluster, broker, made)
    until = time.monotonic() + seconds

    while time.monotonic() < until:
        time.sleep(fleet.dice.seconds(0.5, 4.0))
        fleet.event()
    fleet.calm()
    code = cluster.ends("coordinator", LAST_SECONDS)

    assert code == 3, cluster.log()[-3000:]
    said = cluster.command("failures", "--json", "--state", str(cluster.state))
    check_failures(said, cluster.summary())
    check_what_lies_there(
        cluster.simulator.contents, [path for each in fleet.volumes.values() for path in each]
    )
