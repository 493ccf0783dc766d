"""A job as its own user, without a right that it does not need, in a world that it can only read but for its volume and its state.

What the units of systemd and the container recipe ask for is made with namespaces; and systemd itself, as process 1 of some, runs
the shipped units with all their bounds.
"""

import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.cli.conftest import until
from tests.servers.broker import Broker

import bucketpull
from upyun_simulator import Simulator

UNITS = Path(__file__).parents[2] / "examples/systemd"
UID = 10_001
PYTHON = f"/mnt/py/bin/python{sys.version_info.major}.{sys.version_info.minor}"
OURS = f"""
set -eu
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir /mnt/py /mnt/site /mnt/src /mnt/volume /mnt/state
mount --bind {sys.base_prefix} /mnt/py
mount --bind {sysconfig.get_paths()["purelib"]} /mnt/site
mount --bind {Path(bucketpull.__file__).parents[1]} /mnt/src
chown {UID}:{UID} /mnt/volume /mnt/state
"""
READ_ONLY = """
mount --bind /mnt/volume /mnt/volume
mount --bind /mnt/state /mnt/state
mount -o remount,bind,ro /mnt
for folder in /root /home /var/tmp /run /dev/shm; do mount -t tmpfs -o ro tmpfs $folder; done
mount -t tmpfs -o "$1",mode=1777 tmpfs /tmp
mount -o remount,bind,ro /
shift
exec setpriv --reuid 10001 --regid 10001 --clear-groups --no-new-privs --bounding-set=-all --inh-caps=-all env -i "$@"
"""
WORDS = {
    "PATH": "/usr/bin:/bin",
    "PYTHONPATH": "/mnt/site:/mnt/src",
    "LD_LIBRARY_PATH": "/mnt/py/lib",
    "PYTHONDONTWRITEBYTECODE": "1",
    "BUCKETPULL_STATE": "/mnt/state",
}


def environment(simulator: Simulator) -> dict[str, str]:
    addresses = {"BUCKETPULL_API_URL": simulator.api_url, "BUCKETPULL_CDN_URL": simulator.cdn_url}
    return WORDS | simulator.environment | addresses


def in_a_box(tmp: str, words: dict[str, str], script: str) -> subprocess.CompletedProcess[str]:
    """Run commands of the shell, `bucketpull` among them; `tmp` is "rw" or "ro", as /tmp is."""
    command = f'bucketpull() {{ {PYTHON} -m bucketpull "$@"; }}; cd /; {script}'
    pairs = [f"{name}={value}" for name, value in words.items()]
    namespaces = ["unshare", "--mount", "--pid", "--mount-proc", "--fork", "--kill-child"]
    return subprocess.run(
        [*namespaces, "bash", "-c", OURS + READ_ONLY, "box", tmp, *pairs, "bash", "-c", command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def service() -> Iterator[Simulator]:
    with Simulator("flat:60,size=3000", bucket="photos") as simulator:
        yield simulator


SYNC = "bucketpull sync upyun://photos /mnt/volume --pack 64K --processes 1 && bucketpull verify --hash /mnt/volume"


def test_a_job_needs_no_more_than_its_volume_its_state_and_tmp(service):
    done = in_a_box("rw", environment(service), f"! touch /x /mnt/x; id -u; {SYNC}")

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"{UID}\n")
    assert "60 objects" in done.stderr


def test_without_tmp_a_job_runs_and_what_needs_one_says_so(service):
    done = in_a_box(
        "ro", environment(service), f"{SYNC}; echo $?; TMPDIR=/mnt/state bucketpull verify /mnt/volume"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "temporary files cannot be written" in done.stderr
    assert "set TMPDIR to a folder where they can be" in done.stderr
    assert done.stdout == "2\n"


@pytest.mark.soak
def test_a_coordinator_and_a_worker_need_no_more_either(service, broker: Broker):
    words = environment(service) | {
        "BUCKETPULL_BROKER": broker.url,
        "BUCKETPULL_JOB": f"box-{uuid.uuid4().hex[:8]}",
        "BUCKETPULL_JOB_KEY": uuid.uuid4().hex * 2,
        "BUCKETPULL_MACHINE": "m1",
    }
    done = in_a_box(
        "rw", words, "bucketpull coordinate upyun://photos & bucketpull work /mnt/volume && wait %1"
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "stored                   60" in done.stdout + done.stderr


INSIDE = """
mount -t tmpfs tmpfs /run
mkdir -p /run/upper /run/work /run/vupper /run/vwork /run/systemd/system
mount -t overlay overlay -o lowerdir=/etc,upperdir=/run/upper,workdir=/run/work /etc
mount -t overlay overlay -o lowerdir=/var,upperdir=/run/vupper,workdir=/run/vwork /var
cp "$1"/*.service /run/systemd/system
mount -t tmpfs tmpfs /tmp
mount --bind /proc/sys /proc/sys && mount -o remount,bind,ro /proc/sys
umount -R /sys/fs/cgroup || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
echo bucketpull:x:10001:10001::/nonexistent:/usr/sbin/nologin >> /etc/passwd
echo bucketpull:x:10001: >> /etc/group
mkdir -p /etc/bucketpull
echo > /etc/machine-id
cat > /etc/bucketpull/photos.env
printf '[Unit]\\nDefaultDependencies=no\\n' > /run/systemd/system/only.target
for unit in /run/systemd/system/*.service; do
    sed -i "s#/usr/local/bin/bucketpull#$2 -m bucketpull#; s/^Restart=.*/Restart=no/; s#-/mnt/disk1 -/mnt/disk2#/mnt/volume#" "$unit"
    mkdir -p "$unit.d"
    printf '[Unit]\\nDefaultDependencies=no\\n' > "$unit.d/here.conf"
done
# No other unit of this machine is known to it: what they do at a start would be done to the machine itself.
export container=other SYSTEMD_UNIT_PATH=/run/systemd/system
exec /lib/systemd/systemd --system --unit=only.target --log-target=null --show-status=0 --default-standard-output=null
"""


@pytest.fixture
def systemd(service, broker: Broker) -> Iterator[list[str]]:
    """Systemd as process 1 of namespaces of its own; gives what runs a command there."""
    namespaces = [
        "unshare",
        "--mount",
        "--pid",
        "--cgroup",
        "--ipc",
        "--uts",
        "--mount-proc",
        "--fork",
        "--kill-child",
    ]
    words = environment(service) | {
        "SOURCE": "upyun://photos",
        "VOLUMES": "/mnt/volume",
        "BUCKETPULL_BROKER": broker.url,
        "BUCKETPULL_JOB": f"units-{uuid.uuid4().hex[:8]}",
        "BUCKETPULL_JOB_KEY": uuid.uuid4().hex * 2,
    }
    del words["BUCKETPULL_STATE"]
    process = subprocess.Popen(
        [*namespaces, "bash", "-c", OURS + INSIDE, "init", UNITS, PYTHON], stdin=subprocess.PIPE, text=True
    )
    assert process.stdin is not None
    with process.stdin:
        process.stdin.write("".join(f"{name}={value}\n" for name, value in words.items()))
    try:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: children.read_text().split(), "systemd is there")
        [first] = children.read_text().split()
        enter = ["nsenter", "--target", first, "--mount", "--pid", "--cgroup", "--ipc", "--uts"]
        until(lambda: asked([*enter, "systemctl", "is-system-running"]) == "running", "systemd runs")
        yield enter
    finally:
        process.kill()
        process.wait(60)


def asked(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.strip()


@pytest.mark.soak
@pytest.mark.parametrize("names", [["sync"], ["coordinate", "work"]], ids=" and ".join)
def test_the_units_as_they_are_shipped_do_their_work_under_systemd(systemd, names):
    units = [f"bucketpull-{name}@photos.service" for name in names]

    subprocess.run([*systemd, "systemctl", "start", *units], check=True, timeout=60)

    def ended() -> bool:
        states = asked([*systemd, "systemctl", "is-active", *units]).split()
        return not {"active", "activating", "deactivating"} & set(states)

    until(ended, "the units have ended")
    for unit in units:
        assert asked([*systemd, "systemctl", "show", unit, "-p", "Result"]) == "Result=success"
    stored = asked([*systemd, "sh", "-c", "ls /mnt/volume | grep -c jpg"])
    assert stored == "60"
