"""A Ceph object gateway of its own: one monitor, one store in memory, one radosgw, on free ports of localhost, without systemd.

It needs the files of Debian's packages `radosgw`, `ceph-mon` and `ceph-osd`, and no root. It starts in about a second and takes
30 kB of memory for each small object. Settings that are not plain: `ms mon client mode = crc`, because the gateway's own default
waits for ever without cephx; short intervals of Paxos, for the start; `tcp_nodelay`, without which each GET waits for a
delayed acknowledgement.
"""

import http.client
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Self

from tests.servers.broker import free_ports
from tests.servers.s3_servers import signed_headers

from bucketpull.domain.keys import quoted

START_SECONDS = 60
REGION = "us-east-1"
ACCESS_KEY = "TESTACCESSKEY0000000"
SECRET_KEY = "testSecretKey/0000000000000000000000000+"
_SIDE_BY_SIDE = 16
_CONFIG = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon}/0
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
mon client hunt interval = 0.3
objecter tick interval = 0.3
auth allow insecure global id reclaim = false
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
log file = {folder}/log/$name.log
log to stderr = false
err to stderr = true
crash dir = {folder}/run
keyring = {folder}/keyring
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon max pg per osd = 1000
mon data avail warn = 2
mon data avail crit = 1
[mon]
mon data = {folder}/mon
paxos propose interval = 0.05
paxos min wait = 0.01
mon cluster log file = {folder}/log/cluster.log
# By itself it does not start, and its clients wait, where less than 5 % of the disk is free.
mon data avail crit = 0
mon data avail warn = 0
[osd]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 4G
osd max scrubs = 0
osd min pg log entries = 10
osd max pg log entries = 20
osd pg log trim min = 5
[client]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw dns name = s3.localhost
rgw data = {folder}/run
rgw thread pool size = 64
rgw enable gc threads = false
rgw enable lc threads = false
rgw enable quota threads = false
rgw enable ops log = false
rgw enable usage log = false
rgw num control oids = 1
rgw max listing results = {page}
"""


class Ceph:
    """`with Ceph(folder) as ceph`: a gateway at `ceph.url`, with one user. `page` is how many keys it lists at most.

    Raises:
        RuntimeError: The packages are not installed, or it does not start; says why.

    """

    def __init__(self, folder: Path, page: int = 1000) -> None:
        for program in ("ceph-mon", "ceph-osd", "radosgw"):
            if shutil.which(program) is None:
                raise RuntimeError(
                    f"{program} is not there: apt-get install --no-install-recommends radosgw ceph-mon ceph-osd"
                )
        self.folder = folder
        for name in ("mon", "osd", "run", "log"):
            (folder / name).mkdir(parents=True)
        (folder / "keyring").touch()
        self.port, self._monitor = free_ports(2)
        self._fsid = str(uuid.uuid4())
        text = _CONFIG.format(fsid=self._fsid, mon=self._monitor, port=self.port, folder=folder, page=page)
        (folder / "ceph.conf").write_text(text)
        self._running: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What AWS's tools must be told of its user."""
        return {
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_DEFAULT_REGION": REGION,
        }

    def start(self) -> Self:
        """Start it and wait until it answers."""
        folder = self.folder
        monmap = f"{folder}/monmap"
        address = f"[v2:127.0.0.1:{self._monitor}]"
        self._run("monmaptool", "--create", "--clobber", "--fsid", self._fsid, "--addv", "a", address, monmap)
        self._run("ceph-mon", *self._conf, "-i", "a", "--mkfs", "--monmap", monmap)
        self._begin("ceph-mon", "-i", "a")
        disk = str(uuid.uuid4())
        self._run("ceph", *self._conf, "osd", "new", disk, "0")
        self._run("ceph-osd", *self._conf, "-i", "0", "--mkfs", "--osd-uuid", disk)
        self._begin("ceph-osd", "-i", "0")
        self._begin("radosgw", "--name", "client.rgw")
        self._wait()
        keys = (f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}")
        self._run("radosgw-admin", *self._conf, "user", "create", "--uid=test", "--display-name=Test", *keys)
        return self

    def stop(self) -> None:
        """End it; what it stored is gone."""
        for process in reversed(self._running):
            # At SIGTERM the store in memory would write itself to disk.
            process.kill()
            process.wait(timeout=START_SECONDS)
        self._running.clear()

    def make_bucket(self, name: str, public: bool = False) -> None:
        """Make a bucket; in a public one everybody may list and read."""
        self.put(name, b"", b"", {"x-amz-acl": "public-read"} if public else {})

    def put(self, bucket: str, key: bytes, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Store an object; with an empty key, make the bucket."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            self._put(connection, bucket, key, body, headers or {})
        finally:
            connection.close()

    def delete(self, bucket: str, key: bytes) -> None:
        """Remove an object."""
        path = f"/{bucket}/{quoted(key)}"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            signed = signed_headers(self.port, ACCESS_KEY, SECRET_KEY, path, {}, "DELETE")
            connection.request("DELETE", path, headers=signed)
            answer = connection.getresponse()
            words = answer.read()
        finally:
            connection.close()
        if answer.status != 204:
            raise RuntimeError(f"DELETE {path}: HTTP {answer.status} {words[:300]!r}")

    def fill(self, bucket: str, objects: Iterable[tuple[bytes, bytes]]) -> None:
        """Store many objects side by side; about 1,000 a second."""
        todo = list(objects)

        def store(share: list[tuple[bytes, bytes]]) -> None:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for key, body in share:
                self._put(connection, bucket, key, body, {"x-amz-acl": "public-read"})
            connection.close()

        with ThreadPoolExecutor(_SIDE_BY_SIDE) as pool:
            list(pool.map(store, [todo[number::_SIDE_BY_SIDE] for number in range(_SIDE_BY_SIDE)]))

    def __enter__(self) -> Self:
        """Start it."""
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        """End it."""
        self.stop()

    @property
    def _conf(self) -> tuple[str, str]:
        return "--conf", f"{self.folder}/ceph.conf"

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=START_SECONDS, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{command[0]}: {(done.stdout + done.stderr).decode()[-800:]}")

    def _begin(self, program: str, *arguments: str) -> None:
        output: IO[bytes]
        with (self.folder / "log" / f"{program}.out").open("wb") as output:
            self._running.append(
                subprocess.Popen(
                    [program, *self._conf, *arguments, "-f"],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
            )

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._running[-1].poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return
        words = (self.folder / "log" / "radosgw.out").read_text()[-800:]
        raise RuntimeError(f"radosgw did not start: {words}")

    def _put(
        self,
        connection: http.client.HTTPConnection,
        bucket: str,
        key: bytes,
        body: bytes,
        headers: Mapping[str, str],
    ) -> None:
        path = f"/{bucket}/{quoted(key)}" if key else f"/{bucket}"
        connection.request(
            "PUT", path, body, signed_headers(self.port, ACCESS_KEY, SECRET_KEY, path, headers)
        )
        answer = connection.getresponse()
        words = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"PUT {path}: HTTP {answer.status} {words[:300]!r}")
