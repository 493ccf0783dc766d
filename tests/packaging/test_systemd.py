"""The units are what systemd reads, and run what pipx installs; a job tells systemd how it does."""

import os
import socket
import subprocess
import threading
import uuid
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, User

from bucketpull.report.systemd import WorkerNotices
from bucketpull.report.words import Words
from upyun_simulator import Simulator

UNITS = Path(__file__).parents[2] / "examples/systemd"
INSTALLED = "/usr/local/bin/bucketpull"


def verify(folder: Path, unit: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemd-analyze", "verify", "--man=no", folder / unit],
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def units(tmp_path: Path) -> Path:
    for unit in (*UNITS.glob("*.service"), *UNITS.glob("*.timer")):
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED, str(COMMAND)))
    return tmp_path


@pytest.mark.parametrize(
    "unit", ["sync@photos.service", "sync@photos.timer", "coordinate@photos.service", "work@photos.service"]
)
def test_systemd_finds_no_fault_in_the_unit(units, unit):
    found = verify(units, f"bucketpull-{unit}")

    assert (found.returncode, found.stderr) == (0, "")


def test_a_fault_would_be_found(units):
    unit = units / "bucketpull-sync@.service"
    unit.write_text(unit.read_text().replace("TimeoutStopSec=3min", "TimeoutStopSec=soon"))

    assert "Failed to parse time value" in verify(units, "bucketpull-sync@photos.service").stderr


def test_the_units_run_what_the_page_installs():
    page = (UNITS.parents[1] / "docs/howto/service.md").read_text()

    assert f"PIPX_BIN_DIR={Path(INSTALLED).parent}" in page
    assert all(f"ExecStart={INSTALLED} " in unit.read_text() for unit in UNITS.glob("*.service"))


def test_every_unit_hears_from_its_service_that_it_has_begun_and_lives():
    for unit in UNITS.glob("*.service"):
        assert {"Type=notify", "WatchdogSec=5min"} <= set(unit.read_text().splitlines()), unit.name


def test_a_worker_tells_systemd_that_it_has_begun_lives_does_something_and_stops(tmp_path, monkeypatch):
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(60)
        notices = WorkerNotices(Words())
        notices.alive("waiting for the coordinator of job photos")
        notices.alive()
        notices.alive("joined job photos: volumes 2, processes 4")
        notices.stopping()
        said = [sock.recv(4096).decode() for _ in range(4)]

    assert said == [
        "READY=1\nSTATUS=waiting for the coordinator of job photos",
        "WATCHDOG=1",
        "WATCHDOG=1\nSTATUS=joined job photos: volumes 2, processes 4",
        "STOPPING=1",
    ]


def test_a_job_tells_systemd_that_it_has_begun_where_it_stands_and_that_it_ends(tmp_path):
    name = f"bucketpull-{uuid.uuid4()}"
    said: list[str] = []
    with (
        Simulator("flat:50,size=100", bucket="photos") as simulator,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock,
    ):
        sock.bind("\0" + name)
        sock.settimeout(60)
        hearing = threading.Thread(target=hear, args=(sock, said))
        hearing.start()
        user = User(tmp_path).knows(simulator)
        user.environment["NOTIFY_SOCKET"] = "@" + name
        user.run("sync", "upyun://photos", "disk1")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", "\0" + name)
        hearing.join(60)

    assert said[0].startswith("READY=1\n")
    assert all(message.startswith(("READY=1", "WATCHDOG=1", "STOPPING=1")) for message in said)
    assert said[-1].startswith("STOPPING=1\nSTATUS=complete")


def hear(sock: socket.socket, said: list[str]) -> None:
    while message := sock.recv(4096):
        said.append(message.decode())
