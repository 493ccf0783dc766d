"""Random histories of one job: whatever happened to it, in the end each object lies there once, and every command says the same."""

import http.client
import json
import os
import random
import shutil
import signal
import subprocess
import time
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from tests.chaos.draws import children
from tests.e2e.conftest import COMMAND, COORDINATOR_STEPS

import bucketpull

VOLUME_STEPS = (
    "intended",
    "renamed",
    "synced",
    "appended",
    "settled",
    "removal_noted",
    "pack_begun",
    "bodies_written",
    "packed",
    "packs_synced",
)
STEPS = tuple(dict.fromkeys((*COORDINATOR_STEPS, *VOLUME_STEPS)))
BUDGET_SPENT = 6
EDITED = b"edited"


class History:
    """A job to which things happen, drawn by a seed and printed as they come. `keys` are those of the source, with their sizes."""

    def __init__(self, make_job, seed):
        self.random = draw = random.Random(seed)
        spec = (
            f"a=flat:{draw.randint(50, 900)},size={draw.choice(['300', '5KiB'])};"
            f"b=tree:dirs={draw.randint(5, 60)},files={draw.randint(1, 8)},size=2KiB;c=flat:{draw.randint(5, 120)},size=4KiB"
        )
        self.job = make_job(
            spec,
            volumes=draw.choice([2, 2, 3]),
            patient=True,
            max_limit=draw.choice([20, 50, 200]),
            list_latency=draw.choice([0, 0.02, 0.05]),
            cdn_latency=draw.choice([0, 0.02, 0.2]),
            bandwidth=draw.choice([500e3, 3e6]),
        )
        self.keys = {item.key: item.size for item in self.job.simulator.contents.walk()}
        self.packs = draw.choice([0.0, 0.5, 1.0])
        self.made = 0
        self.began = time.monotonic()
        self.say(f"seed {seed}: {spec}")

    def say(self, what):
        print(f"{time.monotonic() - self.began:6.1f} s  {what}", flush=True)

    def run(self, *arguments, expect=(0,), **environment):
        done = subprocess.run(
            [*COMMAND, *map(str, arguments)],
            env=self.job.environment | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        self.say(f"{' '.join(map(str, arguments))} -> {done.returncode}")
        is_refused = done.returncode == 2 and "work is outstanding" in done.stderr
        assert is_refused or done.returncode in expect, done.stdout + done.stderr
        return done.stdout

    def of_all(self, *arguments, **options):
        """Run a command on all volumes."""
        access = ["--api-url", self.job.simulator.api_url, "--cdn-url", self.job.simulator.cdn_url]
        found = access if arguments[0] in {"prune", "verify"} else []
        name, *others = arguments
        return self.run(name, *self.job.volumes, *others, *found, "--state", self.job.state, **options)

    def lines(self, *arguments, **options):
        return [
            json.loads(line)
            for line in self.run(*arguments, "--state", self.job.state, **options).splitlines()
        ]

    def arguments(self, *options):
        packs = ["--pack", "64K"] if self.random.random() < self.packs else []
        return self.job.arguments("--quiet", *packs, *options)[len(COMMAND) :]

    # --- what happens

    def sync(self):
        self.run(*self.arguments(), expect=(0, 3))

    def trial(self):
        some = str(self.random.choice([1, 40, 300]))
        self.run(*self.arguments("--limit", some), expect=(0, 3, BUDGET_SPENT))

    def kill_at_a_step(self):
        step = f"{self.random.choice(STEPS)}:{self.random.randint(1, 3)}"
        self.say(f"killed when {step}")
        self.run(*self.arguments(), expect=(0, 3, -signal.SIGKILL), BUCKETPULL_KILL_AT=step)

    def killed(self, *arguments):
        """Run a command, and kill it with all its processes at some instant."""
        process = subprocess.Popen(
            [*COMMAND, *map(str, arguments)],
            env=self.job.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        with suppress(subprocess.TimeoutExpired):
            process.wait(self.random.uniform(0.2, 2.0))
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        assert process.wait() in {0, 2, 3, -signal.SIGKILL}
        self.say(f"{' '.join(map(str, arguments))} -> {process.returncode}")

    def kill(self):
        for _ in range(self.random.randint(1, 4)):
            self.killed(*self.arguments())

    def kill_another_command(self):
        name, *options = self.random.choice(
            [("prune", "--delete", "--max-delete", "100%"), ("compact",), ("verify", "--repair")]
        )
        if self.random.random() < 0.5:
            self.killed(name, *self.job.volumes, *options, "--state", self.job.state)
            return
        step = f"{self.random.choice(VOLUME_STEPS)}:{self.random.randint(1, 3)}"
        self.say(f"killed when {step}")
        self.of_all(name, *options, expect=(0, 2, 3, -signal.SIGKILL), BUCKETPULL_KILL_AT=step)

    def kill_downloaders(self):
        with subprocess.Popen(
            [*COMMAND, *self.arguments()], env=self.job.environment, stderr=subprocess.PIPE, text=True
        ) as process:
            for _ in range(4):
                with suppress(subprocess.TimeoutExpired):
                    process.wait(self.random.uniform(0.2, 0.6))
                found = [each for maker in children(process.pid) for each in children(maker)]
                with suppress(ProcessLookupError):
                    for victim in found[:1]:
                        os.kill(victim, signal.SIGKILL)
            _, errors = process.communicate(timeout=300)
        assert process.returncode in {0, 3}, errors
        self.say("sync, downloaders killed")

    def retry(self):
        self.run("retry", "--state", self.job.state)

    def change_the_source(self):
        draw = self.random
        self.made += 1
        delete = set(draw.sample(sorted(self.keys), min(len(self.keys), draw.choice([0, 2, 15]))))
        left = sorted(self.keys.keys() - delete)
        touch = draw.sample(left, min(len(left), draw.choice([0, 3, 20])))
        names = [f"{folder}/new-{self.made}.jpg" for folder in ("a", "b", "new", "z/y")] + [
            "c/dual",
            "c/dual/x.jpg",
            *(key for key in left[:2] if key not in touch),
        ]
        put = {key: draw.choice([0, 11, 5000, 70_000]) for key in names if draw.random() < 0.5}
        put = {key: size for key, size in put.items() if key not in {*touch, *delete}}
        self.job.simulator.mutate(put=put, touch=touch, delete=sorted(delete))
        for key in delete:
            del self.keys[key]
        self.keys |= put
        self.say(f"source: {len(put)} put, {len(touch)} touched, {len(delete)} deleted")

    def change_the_disks(self):
        found = sorted(
            path
            for volume in self.job.volumes
            for path in volume.rglob("*")
            if path.is_file() and not {".bucketpull", "packs"} & set(path.relative_to(volume).parts)
        )
        for path in self.random.sample(found, min(len(found), 8)):
            if self.random.random() < 0.5:
                path.unlink()
            else:
                path.write_bytes(path.read_bytes() + EDITED)
        self.say("files edited and removed")

    def lose_a_volume(self):
        at = self.random.randrange(len(self.job.volumes))
        lost = self.job.volumes[at]
        ids = [each["id"] for each in self.lines("volumes", "--json") if each["path"] == str(lost)]
        for each in ids:
            shutil.rmtree(lost)
            self.run("volumes", "lost", each, "--state", self.job.state)
            self.made += 1
            self.job.volumes[at] = lost.with_name(f"{lost.name}-{self.made}")

    def prune(self):
        self.of_all("prune", "--delete", "--max-delete", "100%", expect=(0, 3))

    def rebuild(self):
        self.made += 1
        self.job.state.rename(self.job.folder / f"away-{self.made}")
        source = f"upyun://{self.job.simulator.bucket}"
        self.run("rebuild", source, *self.job.volumes, "--state", self.job.state)

    def repair(self):
        self.of_all("verify", "--repair", expect=(0, 3))

    def compact(self):
        self.of_all("compact")

    def happen(self):
        """Let something happen that is possible now."""
        own = [volume / ".bucketpull" for volume in self.job.volumes]
        is_made = all(path.exists() for path in (self.job.state / "journal.sqlite", *own))
        always = [self.sync, self.trial, self.kill, self.kill_at_a_step, self.change_the_source]
        later = [
            self.kill_another_command,
            self.kill_downloaders,
            self.retry,
            self.change_the_disks,
            self.lose_a_volume,
            self.prune,
            self.rebuild,
            self.repair,
            self.compact,
        ]
        self.random.choice([*always, *later] if is_made else always)()

    # --- what is so in the end

    def calm(self):
        self.job.simulator.set(cdn_latency=0, list_latency=0, bandwidth=0)
        self.sync()
        self.of_all("verify", "--repair", "--hash", expect=(0, 3))
        self.retry()
        self.run(*self.arguments())
        self.of_all("prune", "--delete", "--max-delete", "100%")
        self.run(*self.arguments())

    def check_numbers(self):
        number = len(self.keys)
        summary = self.job.summary()
        assert (summary["stored"], summary["skipped"], summary["complete"]) == (0, number, True)
        (shown,) = self.lines("status", "--json")
        assert shown["counters"]["stored"] + shown["counters"]["skipped"] == number
        paths = {str(volume) for volume in self.job.volumes}
        held = [each for each in self.lines("volumes", "--json") if each["path"] in paths]
        assert sum(each["stored_objects"] for each in held) == number
        assert sum(each["stored_bytes"] for each in held) == sum(self.keys.values())
        exported = [each["key"] for each in self.lines("export", "--format", "jsonl", expect=(0, 3))]
        assert sorted(exported) == sorted(self.keys)
        # What somebody edited is theirs: it is put aside, or left where the object is gone.
        faults = self.of_all("verify", "--hash", "--json", expect=(0, 3)).splitlines()
        extra = [
            Path(fault["path"]) for fault in map(json.loads, faults) if fault["fault"] in {"extra", "kept"}
        ]
        assert len(extra) == len(faults), faults
        assert all(path.read_bytes().endswith(EDITED) for path in extra), faults

    def check_bytes(self):
        """Read each object back, and compare it with what the source has now."""
        url = urlsplit(self.job.simulator.cdn_url)
        with (
            closing(http.client.HTTPConnection(url.hostname, url.port)) as source,
            bucketpull.open(*map(str, self.job.volumes)) as bucket,
        ):
            for key in self.keys:
                source.request("GET", f"{url.path.rstrip('/')}/{quote(key)}", headers={"Host": url.netloc})
                answer = source.getresponse()
                body = answer.read()
                assert answer.status == 200, key
                assert len(bucket.copies(key)) == 1, key
                assert bucket.read(key) == body, key


@pytest.mark.parametrize("seed", [1, 2, *(pytest.param(n, marks=pytest.mark.soak) for n in range(3, 43))])
def test_after_any_history_each_object_lies_there_once_and_all_commands_agree(make_job, seed):
    history = History(make_job, seed)

    for _ in range(10):
        history.happen()
    history.calm()

    history.check_numbers()
    history.check_bytes()
