"""Every command in the documentation runs, against a simulated bucket in the place of the reader's."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.docs.console import commands, script

from bucketpull.simulator import Simulator

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for page in [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if any(commands(page))
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[Simulator]:
    with Simulator(
        "2023=flat:300;2024=flat:900", bucket="photos", operators=["operator:password"]
    ) as running:
        yield running


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_run_as_written(page: Path, simulator: Simulator, tmp_path: Path):
    ports = free_ports(2)
    places = {
        "/mnt/": f"{tmp_path}/mnt/",
        "https://img.example.com": simulator.cdn_url,
        "8080": str(ports[0]),
        "8081": str(ports[1]),
    }
    written = script(page, ports)
    for name, place in places.items():
        written = written.replace(name, place)
    for number in (1, 2, 3):
        (tmp_path / f"mnt/disk{number}").mkdir(parents=True)

    done = subprocess.run(
        ["bash", "-c", written],
        cwd=tmp_path,
        env=environment(tmp_path, simulator),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )

    assert done.returncode == 0, done.stdout[-4000:]


def environment(home: Path, simulator: Simulator) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("LANG", "LC_ALL", "TMPDIR") if name in os.environ}
    return kept | {
        "HOME": str(home),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "BUCKETPULL_API_URL": simulator.api_url,
        "BUCKETPULL_RESERVE": "1M",
    }


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
