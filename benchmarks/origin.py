"""An nginx of its own, on free ports of localhost: the objects (plain and TLS) and the listing, as static files."""

import os
import resource
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bucket import BUCKET, END, Bucket, write_objects, write_pages
from benchmarks.s3_pages import write_s3

CONFIG = """\
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
worker_rlimit_nofile {files};
events {{ worker_connections 4096; use epoll; multi_accept on; }}
http {{
    access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_timeout 3600; keepalive_requests 100000000;
    open_file_cache max={cached} inactive=1h; open_file_cache_valid 1h;
    types {{ image/jpeg jpg; application/json json; }}
    client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
    uwsgi_temp_path {folder}; scgi_temp_path {folder};
    server {{
        listen 127.0.0.1:{objects} backlog=4096;
        listen 127.0.0.1:{tls} ssl backlog=4096;
        ssl_certificate {folder}/certificate.pem; ssl_certificate_key {folder}/key.pem;
        ssl_session_cache shared:sessions:10m;
        root {folder}/objects;
        location /{bucket}/ {{ alias {folder}/objects/; }}
    }}
    server {{
        listen 127.0.0.1:{listing} backlog=4096;
        root {folder}/pages;
        location / {{
            if ($args = usage) {{ return 200 "{bytes}"; }}
            if ($http_x_list_iter) {{ return 400 '{{"msg":"iter args invalid","code":40001005}}'; }}
            add_header x-upyun-list-iter {end};
            try_files $uri/page.json =404;
        }}
    }}
    map_hash_max_size 1048576; map_hash_bucket_size 128;
    map $args $page {{
        "~(?:^|&)continuation-token=(?<token>[^&]*)" token-$token;
        "~(?:^|&)start-after=(?<after>[^&]*)" after-$after;
        default token-0;
    }}
    map $uri $md5 {{ include {folder}/etags.map; }}
    server {{
        listen 127.0.0.1:{s3} backlog=4096;
        root {folder};
        location /{bucket}/ {{ etag off; add_header ETag '"$md5"'; alias {folder}/objects/; }}
        location ~ ^/{bucket}/?$ {{
            default_type application/xml;
            try_files /s3/$page.xml /s3/token-0.xml =404;
        }}
    }}
}}
"""


@dataclass(frozen=True)
class Origin:
    """Where a bucket is served. `certificate` is what a TLS client must trust."""

    bucket: Bucket
    listing_url: str
    objects_url: str
    tls_url: str
    s3_url: str
    certificate: Path


@contextmanager
def serving(bucket: Bucket, folder: Path, core: int) -> Iterator[Origin]:
    """Serve a bucket from a folder (on tmpfs, so that no disk is in the way) until the block ends."""
    folder.mkdir(parents=True)
    folder.chmod(0o755)
    write_objects(bucket, folder / "objects")
    write_pages(bucket, folder / "pages")
    write_s3(bucket, folder)
    _certify(folder)
    ports = _free_ports(4)
    listing, objects, tls, s3 = (f"127.0.0.1:{port}" for port in ports)
    origin = Origin(
        bucket,
        f"http://{listing}",
        f"http://{objects}",
        f"https://{tls}",
        f"http://{s3}",
        folder / "certificate.pem",
    )
    (folder / "nginx.conf").write_text(_config(bucket, folder, ports))
    server = subprocess.Popen(["taskset", "-c", str(core), _nginx(), "-c", folder / "nginx.conf"])
    try:
        _await_port(ports[0], server)
        yield origin
    finally:
        server.terminate()
        server.wait(timeout=20)
        shutil.rmtree(folder)


def nginx_version() -> str:
    """Return the server's own words about its version."""
    return subprocess.run([_nginx(), "-v"], capture_output=True, text=True, check=True).stderr.strip()


def _nginx() -> str:
    return shutil.which("nginx", path=os.environ["PATH"] + ":/usr/sbin") or "nginx"


def _config(bucket: Bucket, folder: Path, ports: list[int]) -> str:
    listing, objects, tls, s3 = ports
    user = "user root;" if os.geteuid() == 0 else ""
    files = min(200_000, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    return CONFIG.format(
        folder=folder,
        user=user,
        files=files,
        cached=files // 2,  # the cache holds a descriptor a file, and the connections need some too
        listing=listing,
        objects=objects,
        tls=tls,
        s3=s3,
        bucket=BUCKET,
        bytes=bucket.bytes,
        end=END,
    )


def _certify(folder: Path) -> None:
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "7",
        ]
        + ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        + ["-keyout", folder / "key.pem", "-out", folder / "certificate.pem"],
        check=True,
        capture_output=True,
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def _await_port(port: int, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and server.poll() is None:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError(f"nginx did not start on port {port}; see its error.log")
