"""What a day of chaos is made of: trouble of the source, of disks and of processes, drawn by a seed and printed as it comes."""

import errno
import json
import os
import random
import resource
import signal
import struct
import subprocess
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from tests.e2e.test_disks import fill_up

from upyun_simulator import content

OBJECTS = 15  # in each folder that cannot be had
LAST_SECONDS = 2400.0  # objects that always break off are blamed after ten minutes where nothing else is left
# In each folder of this name the same happens for ever: the reason that its objects must get, and the fault.
IMPOSSIBLE = {
    "denied": ("forbidden", "403:path=denied/*,code=40310001,on=cdn.get+rest.get"),
    "cut": ("reset", "reset:path=cut/*,on=cdn.get+rest.get"),
    "away": ("redirected", "redirect:path=away/*,on=cdn.get+rest.get"),
    "torn": ("truncated", "truncate:path=torn/*,on=cdn.get+rest.get"),
    "ill": ("server-error", "503:path=ill/*,on=cdn.get+rest.get"),
}
GONE = "gone:path=gone/*"
SHUT = "error:path=shut/,on=list"
ODD = (
    "odd-entry:path=odd0/,field=length,value=null",
    "odd-entry:path=odd1/,field=last_modified,value=-86400",
    "odd-entry:path=odd2/,field=length,value=-1",
    "odd-entry:path=odd3/,field=last_modified,value=1e30",
)
PASSING = [
    "429:p=0.03",
    "429:p=0.25",
    "429:p=0.2,on=list",
    "429:p=0.02,retry_after=3",
    "503:p=0.03",
    "503:p=0.1,on=list",
    "403:p=0.02,on=cdn.get",
    "404:p=0.02,on=cdn.get",
    "502-html:p=0.02",
    "500-empty:p=0.02",
    "reset:p=0.02",
    "hang-up:p=0.02",
    "silence:p=0.003",
    "truncate:p=0.02",
    "chunked-cut:p=0.02",
    "hidden-error:p=0.02",
    "short:p=0.02,on=cdn.get",
    "stall:p=0.003",
    "slow:p=0.05",
    "html:p=0.02,on=cdn.get",
    "json-200:p=0.02,on=cdn.get",
    "redirect:p=0.02,on=cdn.get",
    "stale:p=0.02,on=cdn.get",
    "gzip:p=0.02,on=cdn.get",
    "corrupt:p=0.02,on=cdn.get",
    "early-hints:p=0.05",
    "no-md5:p=0.05,sticky=1",
    "garbage:p=0.1,on=list",
    "short-page:p=0.2",
    "unordered:p=0.1",
    "overlap:p=0.1",
    "multipart-etag:p=0.02,sticky=1",
    "begins-with:p=0.02,sticky=1",
]
DEATHS = [
    "503:on=cdn.get",
    "reset:on=cdn.get",
    "silence:on=cdn.get",
    "403:on=cdn.get,code=40310001",
    "redirect:on=cdn.get,to=http://portal.invalid/",
    "html:on=cdn.get",
    "reset:on=rest.get",
    "503:on=list",
    "reset",
    "503",
]
SICKNESS = [
    ("write", errno.EIO),
    ("write", errno.ENOSPC),
    ("write", errno.EDQUOT),
    ("create", errno.EROFS),
    ("create", errno.EIO),
    ("rename", errno.EIO),
    ("mkdir", errno.EROFS),
    ("readdir", errno.EIO),
    ("utimens", errno.EPERM),
]
CLOCKS = [0, 0, 3 * 3600, -2 * 86400, 400 * 86400]  # seconds that it is ahead
DESCRIPTORS = [0, 0, 256, 1024]  # 0: as many as there are


def spec(objects):
    """Return a bucket of so many good objects, beside folders where something is wrong for ever."""
    folders = [f"{name}=flat:{OBJECTS},size=2KiB" for name in (*IMPOSSIBLE, "gone", "shut")]
    odd = [f"odd{number}=flat:{OBJECTS},size=2KiB" for number in range(len(ODD))]
    tree = f"good=tree:dirs=200,files={(objects - 200) // 200},size=2KiB"
    large = "large=flat:4,size=12MiB"
    return ";".join([tree, large, *folders, *odd])


class Dice:
    """A seeded random source that tells what comes; `CHAOS_SEED` gives the seed of a day that is to be lived again."""

    def __init__(self):
        self.seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1_000_000))
        self.random = random.Random(self.seed)
        self.began = time.monotonic()
        self.say(f"seed {self.seed}")

    def say(self, what):
        print(f"{time.monotonic() - self.began:7.1f} s  {what}", flush=True)

    def chance(self, share):
        return self.random.random() < share

    def choose(self, among):
        return self.random.choice(list(among))

    def seconds(self, least, most):
        return self.random.uniform(least, most)


class Weather:
    """What is wrong at the source."""

    def __init__(self, simulator, dice):
        self.simulator, self.dice = simulator, dice
        self._for_ever = [*(fault for _, fault in IMPOSSIBLE.values()), GONE, SHUT, *ODD]
        simulator.inject(*self._for_ever)

    def change(self):
        """Draw what is wrong at once; what is wrong for ever stays."""
        faults = self.dice.random.sample(PASSING, 6)
        if self.dice.chance(0.4):
            faults.append(self.dice.choose(DEATHS))
        self._inject(*faults)
        self.dice.say(f"source: {' '.join(faults)}")

    def calm(self):
        self._inject()

    def _inject(self, *faults):
        self.simulator.replace_faults(*self._for_ever, *faults)


class Clock:
    """The wall clock of one machine, which jumps while its processes run."""

    def __init__(self, path, dice):
        self.path, self.dice = path, dice
        self._library = path.with_suffix(".so")
        source = Path(__file__).with_name("clock.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", self._library, source, "-ldl"], check=True)
        self._set(0)

    @property
    def environment(self):
        return {"LD_PRELOAD": str(self._library), "JUMPING_CLOCK": str(self.path)}

    def jump(self):
        seconds = self.dice.choose(CLOCKS)
        self._set(seconds)
        self.dice.say(f"{self.path.name} {seconds:+} s")

    def _set(self, seconds):
        with self.path.open("r+b" if self.path.exists() else "wb") as file:
            file.write(struct.pack("<q", seconds))


class Trouble:
    """What is wrong with a set of disks: one is sick, gone, hangs or is full at a time, and well again later."""

    def __init__(self, disks, volumes, dice):
        self.disks, self.volumes, self.dice = disks, volumes, dice
        self._heal = None
        self._moves = 0

    def change(self):
        """End the last trouble and draw another."""
        self.calm()
        number = self.dice.random.randrange(len(self.disks))
        disk = self.disks[number]
        # One that is served by a program has all the room of the disk beneath: it only says that it is full.
        kinds = [self._sicken, self._sicken, self._unplug, self._hang] if disk.server else [self._fill]
        if kind := self.dice.choose([*kinds, None, None]):
            said = kind(disk)
            self.dice.say(f"disk {disk.path} {said}")

    def move(self):
        """Let a disk turn up elsewhere. Nobody may be using it."""
        number = self.dice.random.randrange(len(self.volumes))
        volume = self.volumes[number]
        with suppress(OSError):  # the disk may be sick
            if volume.exists() and self.dice.chance(0.3):
                self._moves += 1
                self.volumes[number] = volume.rename(volume.with_name(f"moved{self._moves}"))
                self.dice.say(f"{volume} is at {self.volumes[number]}")

    def calm(self):
        if self._heal:
            self._heal()
        self._heal = None

    def let_go(self):
        """End a hang: who waits for such a disk cannot even be killed."""
        for disk in self.disks:
            if disk.server and self._heal == disk.answer:
                self.calm()

    def _fill(self, disk):
        self._heal = fill_up(disk).unlink
        return "is full"

    def _sicken(self, disk):
        operation, number = self.dice.choose(SICKNESS)
        disk.fail(operation, number)
        self._heal = disk.fail
        return f"fails to {operation}: {errno.errorcode[number]}"

    def _unplug(self, disk):
        disk.unplug()
        self._heal = disk.plug_in
        return "is unplugged"

    def _hang(self, disk):
        disk.hang()
        self._heal = disk.answer
        return "hangs"


def fewer_descriptors(dice):
    """Return what lowers the limit in a child before it starts, with what it is called."""
    most = dice.choose(DESCRIPTORS)
    return most, lambda: most and resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def kill_a_child(pid, dice):
    """Kill one of a program's own processes: one that works, or the one that makes them."""
    makers = children(pid)
    workers = [worker for maker in makers for worker in children(maker)]
    if found := workers * 2 + makers:
        victim = dice.choose(found)
        dice.say(f"process {victim} of {pid} is killed")
        os.kill(victim, signal.SIGKILL)


def stand_still(pid, dice):
    """Let a program and its processes stand still for a while."""
    seconds = dice.seconds(1.0, 8.0)
    dice.say(f"program {pid} stands still for {seconds:.1f} s")
    os.killpg(pid, signal.SIGSTOP)
    time.sleep(seconds)
    os.killpg(pid, signal.SIGCONT)


def check_failures(said, summary):
    """Check that exactly what the draw made impossible has failed, each with its reason."""
    failures = [json.loads(line) for line in said.splitlines()]
    wanted = {name: reason for name, (reason, _) in IMPOSSIBLE.items()} | {"shut": "server-error"}
    surprising = [each for each in failures if wanted.get(each["key"].split("/")[0]) != each["reason"]]
    assert not surprising, surprising[:20]
    numbers = Counter(each["key"].split("/")[0] for each in failures)
    assert numbers == dict.fromkeys(IMPOSSIBLE, OBJECTS) | {"shut": 1}, numbers
    assert summary["failed"] == OBJECTS * len(IMPOSSIBLE)
    assert summary["vanished"] == OBJECTS
    assert summary["listed"] == sum(summary[name] for name in ("stored", "skipped", "failed", "vanished"))


def check_what_lies_there(contents, volumes):
    """Compare every byte with the bucket; `begins-with` gives an object other bytes, which are then its own."""
    files, twice = {}, []
    for volume in volumes:
        for folder, names, found in os.walk(volume):
            names[:] = [name for name in names if name != ".bucketpull"]
            for path in (Path(folder, name) for name in found):
                key = str(path.relative_to(volume))
                if files.setdefault(key, path) != path:
                    twice.append((str(files[key]), str(path)))
    assert not twice, f"{len(twice)} lie twice: {twice[:20]}"
    nowhere = {*IMPOSSIBLE, "gone", "shut"}
    wanted = {item.key: item for item in contents.walk() if item.key.split("/")[0] not in nowhere}
    assert not wanted.keys() - files.keys(), f"missing: {sorted(wanted.keys() - files.keys())[:20]}"
    # What a kill left on a disk that kept no dates until then cannot be told from a file that somebody changed.
    kept = {key for key in files.keys() - wanted.keys() if key.partition(".kept")[0] in wanted}
    assert not files.keys() - wanted.keys() - kept, (
        f"extra: {sorted(files.keys() - wanted.keys() - kept)[:20]}"
    )
    for key in [*wanted, *kept]:
        item, body = wanted[key.partition(".kept")[0]], files[key].read_bytes()
        assert body == content(item.key, item.size, item.version) or body.startswith(b"<svg"), key
