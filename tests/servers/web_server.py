"""An nginx of its own on free ports of localhost: folders as web sites, or whatever a configuration says."""

import shutil
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

from tests.servers.broker import free_ports

START_SECONDS = 20
_CONFIG = """
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 1024; }}
http {{
    access_log {folder}/access.log; default_type application/octet-stream;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {outside}
    server {{ listen 127.0.0.1:{port}; root {root}; location / {{ {location} }} }}
}}
"""


class WebServer:
    """Serves a folder. `location` are nginx's directives for all of it, such as `autoindex on;`, `outside` those around the server."""

    def __init__(self, root: Path, folder: Path, location: str = "", outside: str = "") -> None:
        self._root = root
        self._folder = folder
        self._location = location
        self._outside = outside
        self._process: subprocess.Popen[bytes] | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """Where it is, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        command = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
        if command is None:
            raise RuntimeError("nginx is not installed: apt-get install nginx-light")
        (self.port,) = free_ports(1)
        self._folder.mkdir(parents=True, exist_ok=True)
        user = "user root;" if self._folder.owner() == "root" else ""
        text = _CONFIG.format(
            folder=self._folder,
            root=self._root,
            port=self.port,
            user=user,
            location=self._location,
            outside=self._outside,
        )
        (self._folder / "nginx.conf").write_text(text)
        self._process = subprocess.Popen([command, "-c", self._folder / "nginx.conf"], stderr=subprocess.PIPE)
        self._await()
        return self

    def _await(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                assert self._process.stderr is not None
                raise RuntimeError(f"nginx ended: {self._process.stderr.read().decode()}")
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.01)
        raise RuntimeError("nginx does not listen")

    def __exit__(self, *exc_info: object) -> None:
        process, self._process = self._process, None
        assert process is not None
        process.terminate()
        process.communicate(timeout=START_SECONDS)
