"""A RabbitMQ of its own: free ports of localhost, everything in one folder, killed and started again at will.

It needs the files of Debian's package `rabbitmq-server` (3.10 or newer), not its service, and no root.
"""

import os
import random
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Self

PROGRAMS = Path("/usr/lib/rabbitmq/bin")
START_SECONDS = 90
CONFIG = "listeners.tcp.local = 127.0.0.1:{port}\ndisk_free_limit.absolute = 50MB\n"


class Broker:
    """`with Broker(folder) as broker`: a broker at `broker.url`.

    Args:
        folder: Made here; holds the broker's data, which survive `kill` and `start`.
        config: Lines more for rabbitmq.conf; `{tls}` stands for a free port.
        advanced: The Erlang term of advanced.config, if any.

    Raises:
        RuntimeError: The package is not installed, or the broker does not start; says why.

    """

    def __init__(self, folder: Path, config: str = "", advanced: str = "") -> None:
        if not (PROGRAMS / "rabbitmq-server").exists():
            raise RuntimeError(
                f"{PROGRAMS}/rabbitmq-server is not there: apt-get install --no-install-recommends rabbitmq-server"
            )
        self.folder = folder
        folder.mkdir(parents=True)
        self.port, self.tls_port, self._distribution, self._names = free_ports(4)
        text = CONFIG.format(port=self.port) + config.replace("{tls}", str(self.tls_port))
        (folder / "rabbitmq.conf").write_text(text)
        (folder / "advanced.config").write_text(advanced or "[].\n")
        (folder / "plugins").write_text("[].\n")
        (folder / ".erlang.cookie").write_text("PRIVATE")
        (folder / ".erlang.cookie").chmod(0o400)
        self._daemon: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, with the user that every broker has."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def pid(self) -> int:
        """The broker's process."""
        assert self._server is not None
        return self._server.pid

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.begin()
        self.wait()
        return self

    def begin(self) -> None:
        """Start it, and return at once."""
        env = self._environment()
        if self._daemon is None:
            # The names' daemon is started here, in the foreground, because Erlang would leave one behind.
            command = ["epmd", "-port", str(self._names), "-address", "127.0.0.1"]
            self._daemon = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL)
        with (self.folder / "output").open("ab") as output:
            self._server = subprocess.Popen(
                [PROGRAMS / "rabbitmq-server"],
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        assert self._server is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._server.poll() is None:
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=5) as probe:
                    probe.sendall(b"AMQP\0\0\x09\x01")
                    if probe.recv(1) == b"\x01":
                        return
            except OSError:
                time.sleep(0.1)
        raise RuntimeError(f"rabbitmq-server did not start: {(self.folder / 'output').read_text()[-800:]}")

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def restart(self) -> None:
        """Kill it, and start it on the same data."""
        self.kill()
        self.start()

    def stop(self) -> None:
        """End it and its daemon."""
        for process in (self._server, self._daemon):
            if process is not None and process.poll() is None:
                process.terminate()
                process.wait(timeout=START_SECONDS)
        self._server = self._daemon = None

    def control(self, *arguments: str) -> str:
        """Run rabbitmqctl; return what it prints. Costs a second or two."""
        done = subprocess.run(
            [PROGRAMS / "rabbitmqctl", "--quiet", "--node", self._node, *arguments],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {arguments}: {done.stdout}{done.stderr}")
        return done.stdout

    def queues(self) -> dict[str, tuple[str, int]]:
        """Return the type of each queue and how many messages it holds."""
        rows = self.control("list_queues", "name", "type", "messages", "--no-table-headers").splitlines()
        return {name: (kind, int(count)) for name, kind, count in (row.split("\t") for row in rows)}

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
    def _node(self) -> str:
        return f"private{self.port}@localhost"

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "RABBITMQ_CONF_ENV_FILE": os.devnull,
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder / "log"),
            "RABBITMQ_PID_FILE": str(self.folder / "pid"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.folder / "advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "plugins"),
            "RABBITMQ_FEATURE_FLAGS_FILE": str(self.folder / "feature_flags"),
            "ERL_EPMD_PORT": str(self._names),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            # Two schedulers, and none that spins while it waits: the tests share the machine with it.
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
                "-kernel inet_dist_use_interface {127,0,0,1} +S 2:2 +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
            # With these the script becomes the Erlang machine, so that the signals meant for it reach it.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
        }


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on, all different, and none of those that outgoing connections are given meanwhile."""
    found: list[int] = []
    for port in random.sample(range(10_000, 32_000), 1000):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports below those that outgoing connections are given")
