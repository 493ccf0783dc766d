"""Chaos by day on one machine: all is stored but what the draw made impossible, and that has failed with its true reason."""

import os
import signal
import subprocess
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
    fewer_descriptors,
    kill_a_child,
    spec,
    stand_still,
)


def ended_within(process, seconds):
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


class Day:
    """Starts the job again and again, in another draw of circumstances each time."""

    def __init__(self, job, disks):
        self.job, self.dice = job, Dice()
        self.weather = Weather(job.simulator, self.dice)
        self.trouble = Trouble(disks, job.volumes, self.dice)
        self.clock = Clock(job.folder / "clock", self.dice)

    def run(self, closed):
        most, limit = fewer_descriptors(self.dice)
        self.dice.say(f"start: descriptors {most or 'as many as there are'}")
        with (self.job.folder / "output").open("ab") as kept:
            output = subprocess.PIPE if closed else kept
            process = subprocess.Popen(
                self.job.arguments("--json", "--log-file", str(self.job.folder / "log-file")),
                env=self.job.environment | self.clock.environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=limit,  # noqa: PLW1509 - no threads
            )
        if process.stdout and process.stderr:
            process.stdout.close()
            process.stderr.close()
        return process

    def hour(self):
        """Run the job through some troubles; then kill it or stop it."""
        self.weather.change()
        self.trouble.move()
        self.clock.jump()
        closed = self.dice.chance(0.3)
        process = self.run(closed)
        events = [
            self.weather.change,
            self.trouble.change,
            self.clock.jump,
            lambda: kill_a_child(process.pid, self.dice),
            lambda: stand_still(process.pid, self.dice),
        ]
        while not ended_within(process, self.dice.seconds(1.0, 6.0)) and self.dice.chance(0.8):
            self.dice.choose(events)()
        self.end(process, closed)

    def end(self, process, closed):
        number = self.dice.choose([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
        if process.poll() is None:
            self.dice.say(f"{number.name}, its output {'closed' if closed else 'kept'}")
            if number is signal.SIGKILL:
                os.killpg(process.pid, number)
            else:
                process.send_signal(number)
        if not ended_within(process, 20):
            self.trouble.let_go()
        process.wait(100)
        said = (self.job.folder / "log-file").read_text().splitlines()[-1:]
        self.dice.say(f"ended with {process.returncode}: {said}")
        if process.returncode == 2:
            self.trouble.calm()  # without a disk it does not even start
        assert process.returncode != 1, "a bug"
        assert process.returncode != 4, "nobody refuses everything"


@pytest.mark.soak
@pytest.mark.parametrize(("objects", "seconds"), [(2_000, 30), (20_000, 180), (200_000, 1200)])
def test_a_day_of_all_faults_at_once_leaves_nothing_out_but_what_cannot_be_had(
    make_job, disks, objects, seconds
):
    job = make_job(spec(objects), max_limit=500, bandwidth=objects * 2048 * 1.5 / seconds)
    megabytes = f"{max(96, objects // 400 + 60)}m"
    roots = [disks.tmpfs(megabytes), disks.odd(), disks.tmpfs(megabytes)]
    job.volumes = [Path(root.path, "volume") for root in roots]
    day = Day(job, roots)
    until = time.monotonic() + seconds

    while time.monotonic() < until:
        day.hour()
    day.trouble.calm()
    day.weather.calm()
    job.simulator.set(bandwidth=0)
    day.dice.say("calm")
    process = job.start()
    _, errors = process.communicate(timeout=LAST_SECONDS)

    assert process.returncode == 3, errors
    check_failures(job.command("failures", "--json", "--state", str(job.state)), job.summary())
    check_what_lies_there(job.simulator.contents, job.volumes)
