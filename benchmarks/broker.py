"""A RabbitMQ of its own: free ports of localhost, everything in one folder, nothing left when the block ends."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
START_SECONDS = 60
CONFIG = "listeners.tcp.local = 127.0.0.1:{port}\ndisk_free_limit.absolute = 50MB\n"


@contextmanager
def broker(folder: Path) -> Iterator[str]:
    """Run a broker and give its AMQP URL."""
    folder.mkdir(parents=True)
    port, distribution, names = _free_ports(3)
    (folder / "rabbitmq.conf").write_text(CONFIG.format(port=port))
    (folder / "plugins").write_text("[].\n")
    (folder / ".erlang.cookie").write_text("BENCHMARK")
    (folder / ".erlang.cookie").chmod(0o400)
    env = _environment(folder, port, distribution, names)
    # The names' daemon is started here, in the foreground, because Erlang would leave one behind.
    daemon = subprocess.Popen(["epmd", "-port", str(names), "-address", "127.0.0.1"], env=env)
    with (folder / "output").open("wb") as output:
        server = subprocess.Popen([SERVER], env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
    try:
        _await_amqp(port, server, folder)
        yield f"amqp://guest:guest@127.0.0.1:{port}/"
    finally:
        for process in (server, daemon):
            process.terminate()
        for process in (server, daemon):
            process.wait(timeout=START_SECONDS)


def _environment(folder: Path, port: int, distribution: int, names: int) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"] + ":/usr/sbin:/sbin",
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "RABBITMQ_CONF_ENV_FILE": os.devnull,
        "RABBITMQ_NODENAME": f"bench{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(distribution),
        "RABBITMQ_MNESIA_BASE": str(folder / "data"),
        "RABBITMQ_LOG_BASE": str(folder / "log"),
        "RABBITMQ_PID_FILE": str(folder / "pid"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_FEATURE_FLAGS_FILE": str(folder / "feature_flags"),
        "ERL_EPMD_PORT": str(names),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        # With these the script becomes the Erlang machine, so that the signals meant for it reach it.
        "RABBITMQ_ALLOW_INPUT": "1",
        "RABBITMQ_SERVER_START_ARGS": "-noinput",
    }


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports: list[int] = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _await_amqp(port: int, server: subprocess.Popen[bytes], folder: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as probe:
                probe.sendall(b"AMQP\0\0\x09\x01")
                if probe.recv(1) == b"\x01":
                    return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"rabbitmq-server did not start: {(folder / 'output').read_text()[-500:]}")
