"""The installed command against S3 servers that nobody here wrote: one gateway of Ceph for all tests, each with its own bucket."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import pytest
from tests.servers.ceph import Ceph

COMMAND = (sys.executable, "-m", "bucketpull")
DEADLINE_SECONDS = 600
# Keys that a program on the way normalises, decodes, escapes or refuses: each must come back as it is.
ODD_KEYS = [
    *(b"a//b", b"//lead", b"/lead", b"a/../b", b"../x", b".", b"..", b"a/./b", b"a/.", b"dir/", b"dir//"),
    *(
        b"sp ace",
        b" ",
        b"+",
        b"a+b",
        b"%",
        b"%2F",
        b"%2f",
        b"a%20b",
        b"?",
        b"a?x=1",
        b"#",
        b"&",
        b"&amp;",
        b"<k>",
    ),
    *(
        b"'",
        b'"',
        b"\\",
        b"~",
        b"*",
        b"|",
        b"\t",
        b"\n",
        b"\r",
        b"\x01",
        b"\x7f",
        b"=",
        b";",
        b"a,b",
        b"!",
        b"@",
    ),
    *(
        "é".encode(),
        "e\u0301".encode(),
        "\ufffe".encode(),
        "\uff5e".encode(),
        "😀".encode(),
        "照片/图 1.jpg".encode(),
    ),
    *(b"x" * 1024, b"y/" * 512, b".bucketpull/ledger"),
]


@dataclass
class Puller:
    """A machine with one volume that pulls a bucket."""

    url: str
    bucket: str
    folder: Path
    environment: dict[str, str]
    options: list[str] = field(default_factory=list)

    @property
    def volume(self) -> Path:
        """Where the objects go."""
        return self.folder / "volume"

    def arguments(self, *options: str) -> list[str]:
        """Return the command line of a sync."""
        own = [
            "--state",
            str(self.folder / "state"),
            "--summary",
            str(self.folder / "summary"),
            "--reserve",
            "0",
        ]
        source = [f"s3://{self.bucket}", str(self.volume), "--api-url", self.url]
        return [*COMMAND, "sync", *source, *own, *self.options, *options]

    @property
    def all_environment(self) -> dict[str, str]:
        """The environment of its commands: no keys but those given."""
        base = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return base | {"HOME": str(self.folder), "LC_ALL": "C.UTF-8"} | self.environment

    def run(self, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a command line."""
        done = subprocess.run(
            arguments,
            env=self.all_environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_SECONDS,
            check=False,
        )
        assert done.returncode == expect, done.stderr + done.stdout
        return done

    def sync(self, *options: str, expect: int = 0) -> dict[str, object]:
        """Pull, and return the summary."""
        self.run(*self.arguments(*options), expect=expect)
        return self.summary()

    def kill_at(self, seen: int, *options: str) -> None:
        """Pull until so many files are there, and kill the job."""
        with subprocess.Popen(
            self.arguments(*options),
            env=self.all_environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                deadline = time.monotonic() + 600
                while self.count() < seen:
                    assert process.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
            finally:
                process.kill()

    def refused(self, *options: str, expect: int = 4) -> str:
        """Pull what cannot be had; return what was said. Nothing may have been written."""
        said = self.run(*self.arguments(*options), expect=expect).stderr
        assert not list(self.volume.iterdir())
        return said

    def summary(self) -> dict[str, object]:
        """Return the last summary."""
        found: dict[str, object] = json.loads((self.folder / "summary").read_text())
        return found

    def command(self, *arguments: str, expect: int = 0) -> str:
        """Run another command about the job; return what it prints."""
        return self.run(*COMMAND, *arguments, "--state", str(self.folder / "state"), expect=expect).stdout

    def count(self) -> int:
        """Return how many files lie on the volume, our own left out."""
        total = 0
        for folder, folders, names in os.walk(self.volume):
            if folder == str(self.volume) and ".bucketpull" in folders:
                folders.remove(".bucketpull")
            total += len(names)
        return total

    def objects(self) -> dict[bytes, bytes]:
        """Return what was stored, by key: where each lies is asked of the job's manifest."""
        rows = [json.loads(line) for line in self.command("export", "--format", "jsonl").splitlines()]
        assert len(rows) == self.count()
        return {row["key"].encode(): (self.volume / row["path"]).read_bytes() for row in rows}


@pytest.fixture(scope="session")
def ceph(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ceph]:
    """A gateway that lists 100 keys a page: a few thousand objects make a long listing."""
    with Ceph(tmp_path_factory.mktemp("ceph") / "gateway", page=100) as running:
        yield running


_numbers = count(1)


@pytest.fixture
def bucket(ceph: Ceph) -> str:
    """A new private bucket."""
    name = f"bucket{next(_numbers)}"
    ceph.make_bucket(name)
    return name


@pytest.fixture
def puller(ceph: Ceph, bucket: str, make_puller: Callable[..., Puller]) -> Puller:
    """A machine that pulls the new bucket with the right keys."""
    return make_puller(ceph.url, bucket, ceph.environment)


@pytest.fixture
def make_puller(tmp_path: Path) -> Callable[..., Puller]:
    """Make machines."""

    def make(url: str, bucket: str, environment: dict[str, str], *options: str) -> Puller:
        folder = tmp_path / f"machine{next(_numbers)}"
        (folder / "volume").mkdir(parents=True)
        return Puller(url, bucket, folder, environment, list(options))

    return make
