"""Chaos by day: faults of all kinds at once, kills between, disks that fill up and move, a clock that jumps, few descriptors.

All is stored but what the draw made impossible, with its true reason. Machines of a fleet that die: `tests/cluster/test_chaos.py`.
"""

import glob
import os
import random
import resource
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests.e2e.test_disks import fill_up
from tests.volumes.conftest import Disks

from upyun_simulator import content

FOR_EVER = {
    "denied": ("403:path=denied/*,code=40310001,on=cdn.get+rest.get", "forbidden"),
    "cut": ("reset:path=cut/*,on=cdn.get+rest.get", "reset"),
    "away": ("redirect:path=away/*,on=cdn.get+rest.get", "redirected"),
}
LAST_SECONDS = 3600.0  # objects that always break off are blamed after ten minutes where nothing else is left
OBJECTS = 15  # in each folder that cannot be had
PASSING = [
    "429:p=0.03",
    "429:p=0.2,on=list",
    "503:p=0.03",
    "503:p=0.1,on=list",
    "403:p=0.02,on=cdn.get",
    "404:p=0.02,on=cdn.get",
    "502-html:p=0.02",
    "reset:p=0.02",
    "hang-up:p=0.02",
    "truncate:p=0.02",
    "stall:p=0.003",
    "html:p=0.02,on=cdn.get",
    "redirect:p=0.02,on=cdn.get",
    "stale:p=0.02,on=cdn.get",
    "gzip:p=0.02,on=cdn.get",
    "corrupt:p=0.02,on=cdn.get",
    "garbage:p=0.1,on=list",
    "short-page:p=0.2",
    "multipart-etag:p=0.02,sticky=1",
    "begins-with:p=0.02,sticky=1",
]
DEATHS = [
    "503:on=cdn.get",
    "reset:on=cdn.get",
    "403:on=cdn.get,code=40310001",
    "reset:on=rest.get",
    "503:on=list",
]
CLOCKS = ["", "", "+3h", "-2d", "+400d"]
DESCRIPTORS = [0, 0, 256, 1024]  # 0: as many as there are


def libfaketime():
    """Return the library that lets a clock jump; the package is `faketime`."""
    (found,) = glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")
    return found


class Day:
    """One draw: what goes wrong from one run of the job to the next, all of it printed."""

    def __init__(self, job, disks, seed):
        self.job, self.disks = job, disks
        self.random = random.Random(seed)
        self.began = time.monotonic()
        self.ballast = None
        self.moves = 0
        print(f"seed {seed}")

    def say(self, what):
        print(f"{time.monotonic() - self.began:7.1f} s  {what}")

    def weather(self):
        """Draw what is wrong at once; what is wrong for ever stays."""
        simulator = self.job.simulator
        faults = self.random.sample(PASSING, 6)
        if self.random.random() < 0.4:
            faults.append(self.random.choice(DEATHS))
        simulator.clear_faults()
        simulator.inject(*(fault for fault, _ in FOR_EVER.values()), *faults)
        self.say(" ".join(faults))

    def disk(self):
        """Let a disk be full for an hour, or turn up at another path."""
        if self.ballast is not None:
            self.ballast.unlink()
            self.ballast = None
        number = self.random.randrange(len(self.disks))
        what = self.random.choice(["full", "moved", "well", "well"])
        if what == "full":
            self.ballast = fill_up(self.disks[number])
        elif what == "moved" and self.job.volumes[number].exists():
            self.moves += 1
            volumes = self.job.volumes
            volumes[number] = volumes[number].rename(volumes[number].with_name(f"moved{self.moves}"))
        self.say(f"disk {number} is {what}")

    def run(self, closed):
        """Start the job, in a draw of circumstances."""
        clock, most = self.random.choice(CLOCKS), self.random.choice(DESCRIPTORS)
        environment = dict(self.job.environment)
        if clock:
            environment |= {"LD_PRELOAD": libfaketime(), "FAKETIME": clock}
        self.say(f"clock {clock or 'right'}, descriptors {most or 'as many as there are'}")
        output = subprocess.PIPE if closed else subprocess.DEVNULL
        process = subprocess.Popen(
            self.job.arguments("--json"),
            env=environment,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=lambda: most and resource.setrlimit(resource.RLIMIT_NOFILE, (most, most)),  # noqa: PLW1509 - no threads
        )
        if process.stdout and process.stderr:
            process.stdout.close()
            process.stderr.close()
        return process

    def hour(self):
        """Run the job for a while; then kill it, stop it or close its output."""
        self.weather()
        self.disk()
        end = self.random.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        closed = self.random.random() < 0.3
        process = self.run(closed)
        try:
            self.say(f"ended by itself with {process.wait(self.random.uniform(3.0, 15.0))}")
        except subprocess.TimeoutExpired:
            self.say(f"{end.name}, its output {'closed' if closed else 'kept'}")
            if end is signal.SIGKILL:
                os.killpg(process.pid, end)
            else:
                process.send_signal(end)
            process.wait(120)
        assert process.returncode != 1, "a bug"

    def calm(self):
        """End what passes; what is wrong for ever stays."""
        if self.ballast is not None:
            self.ballast.unlink()
        self.job.simulator.clear_faults()
        self.job.simulator.inject(*(fault for fault, _ in FOR_EVER.values()))
        self.say("calm")


@pytest.fixture
def disks(tmp_path):
    made = Disks(tmp_path)
    yield made
    made.close()


@pytest.mark.soak
@pytest.mark.parametrize("objects", [20_000, 200_000])
def test_a_day_of_all_faults_at_once_leaves_nothing_out_but_what_cannot_be_had(make_job, disks, objects):
    folders = ";".join(f"{name}=flat:{OBJECTS},size=2KiB" for name in FOR_EVER)
    job = make_job(f"good=tree:dirs=200,files={objects // 200},size=2KiB;{folders}", max_limit=500)
    roots = [disks.tmpfs(f"{max(64, objects // 400)}m") for _ in range(3)]
    job.volumes = [Path(root.path, "volume") for root in roots]
    day = Day(job, roots, int(time.time()))

    for _ in range(8 if objects < 100_000 else 60):
        day.hour()
    day.calm()
    process = job.start()
    _, errors = process.communicate(timeout=LAST_SECONDS)
    summary = job.summary()

    assert process.returncode == 3, errors
    assert summary["failures"] == {reason: OBJECTS for _, reason in FOR_EVER.values()}
    assert summary["listed"] == summary["stored"] + summary["skipped"] + summary["failed"]
    check_what_lies_there(job)


def check_what_lies_there(job):
    """Compare every byte with the bucket; `begins-with` gives an object other bytes, which are then its own."""
    files = job.files()
    wanted = {item.key: item for item in job.simulator.contents.walk() if item.key.split("/")[0] == "good"}
    assert files.keys() == wanted.keys()
    for key, item in wanted.items():
        body = content(item.key, item.size, item.version)
        assert files[key] == body or files[key].startswith(b"<svg"), key
