import csv
import hashlib
import io
import json
import socket
import subprocess
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest
from tests.servers.broker import free_ports

SYNC = ("sync", "upyun://photos", "disk1", "disk2", "--quiet")


def test_the_manifest_has_every_object_once_with_its_place(user, bucket):
    user.knows(bucket("tree:dirs=40,files=100,size=300")).run(*SYNC)
    places = {user.volume_id(name): user.folder / name for name in ("disk1", "disk2")}

    rows = [json.loads(line) for line in user.says("export", "--format", "jsonl").splitlines()]

    assert len(rows) == len({row["key"] for row in rows}) == 4000
    for row in rows[::40]:
        data = (places[row["volume"]] / row["path"]).read_bytes()
        assert len(data) == row["size"]
        assert hashlib.md5(data).hexdigest() == row["md5"]
        assert int((places[row["volume"]] / row["path"]).stat().st_mtime) == row["mtime"]


def test_csv_goes_to_a_file_whole_or_not_at_all(user, service):
    user.knows(service).run(*SYNC)

    user.run("export", "--format", "csv", "--output", "manifest.csv")

    rows = list(csv.DictReader(io.StringIO((user.folder / "manifest.csv").read_text())))
    assert len(rows) == 100
    assert {"key", "size", "mtime", "md5", "volume", "path", "offset", "length", "machine"} < set(rows[0])
    assert all(Path(row["file"]) == Path(row["mount"]) / row["path"] for row in rows)
    assert all(Path(row["file"]).stat().st_size == int(row["size"]) for row in rows)
    assert [path for path in user.files() if "manifest" in path] == ["manifest.csv"]


@pytest.mark.parametrize("form", ["csv", "csv-safe", "jsonl", "nginx-map"])
def test_the_short_way_to_say_a_form_and_a_file_writes_the_same(user, service, form):
    user.knows(service).run(*SYNC)

    user.run("export", f"--{form}", "short")

    user.run("export", "--format", form, "--output", "long")
    assert (user.folder / "short").read_bytes() == (user.folder / "long").read_bytes()
    assert user.says("export", f"--{form}") == (user.folder / "long").read_text()


def test_parquet_can_be_read_back(user, service):
    parquet = pytest.importorskip("pyarrow.parquet")
    user.knows(service).run(*SYNC)

    user.run("export", "--format", "parquet", "--output", "manifest.parquet")

    table = parquet.read_table(user.folder / "manifest.parquet")
    assert table.num_rows == 100
    assert set(table.column_names) >= {"key", "size", "mtime", "md5", "volume", "path", "offset", "length"}


def test_parquet_wants_a_file(user, service):
    user.knows(service).run(*SYNC)

    assert "FILE" in user.run("export", "--format", "parquet", expect=2).stderr


def test_jobs_of_parts_have_manifests_of_their_own(user, service):
    user.knows(service)
    for folder, disk in (("2023", "disk1"), ("2024", "disk2")):
        user.run("sync", f"upyun://photos/{folder}", disk, "--quiet")

    assert len(user.says("export", "--format", "jsonl", "--job", "photos-2023").splitlines()) == 30
    assert len(user.says("export", "--format", "jsonl", "--job", "photos-2024").splitlines()) == 70


def test_an_absent_volume_is_told_and_ends_with_3(user, bucket):
    user.knows(bucket("tree:dirs=40,files=100,size=300")).run(*SYNC)
    held = len(user.files("disk1"))
    missing = user.volume_id("disk2")
    (user.folder / "disk2").rename(user.folder / "shelf")

    done = user.run("export", "--format", "jsonl", expect=3)

    assert len(done.stdout.splitlines()) == held
    assert missing in done.stderr


def test_odd_keys_are_written_so_that_they_can_be_read_back(user, bucket):
    simulator = bucket("odd")
    user.knows(simulator).run("sync", "upyun://photos", "disk1", "--quiet", "--reserve", "0")
    wanted = {item.key for item in simulator.contents.walk()}

    rows = list(csv.DictReader(io.StringIO(user.says("export", "--format", "csv"), newline="")))
    lines = [json.loads(line) for line in user.says("export", "--format", "jsonl").split("\n") if line]

    assert {row["key"] for row in rows} == {row["key"] for row in lines} == wanted


def test_the_lists_of_services_are_written_of_a_job_too(user, service):
    user.knows(service).run(*SYNC)

    user.run("export", "--format", "oss", "--output", "list", "--base-url", "https://img.example.com")
    user.run("export", "--format", "gcs", "--output", "urls.tsv", "--base-url", "https://img.example.com")

    assert sorted(path.name for path in (user.folder / "list").iterdir()) == [
        "list-00001.csv.gz",
        "manifest.json",
    ]
    first, *lines = (user.folder / "urls.tsv").read_text().splitlines()
    assert first == "TsvHttpData-1.0"
    assert lines == sorted(lines)
    assert len(lines) == 100


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "oss", "--base-url", "https://h"), "give --output DIR"),
        (("--format", "gcs", "--base-url", "https://h"), "give --output FILE"),
    ],
)
def test_a_list_that_cannot_be_written_is_said(user, service, arguments, words):
    user.knows(service).run(*SYNC)
    assert words in user.run("export", *arguments, expect=2).stderr


def test_nginx_serves_what_was_pulled_by_its_old_urls(user, service, tmp_path):
    """nginx itself reads the map and gives the files."""
    user.knows(service).run(*SYNC)
    user.run("export", "--format", "nginx-map", "--output", "photos.map")
    rows = [json.loads(line) for line in user.says("export", "--format", "jsonl").splitlines()]
    places = {user.volume_id(name): user.folder / name for name in ("disk1", "disk2")}
    (port,) = free_ports(1)
    (tmp_path / "nginx.conf").write_text(
        f"daemon off; pid {tmp_path}/pid; error_log {tmp_path}/error; user root;\n"
        f"events {{}}\nhttp {{ access_log off; map_hash_bucket_size 512;\n"
        f"client_body_temp_path {tmp_path}/body; proxy_temp_path {tmp_path}/proxy; fastcgi_temp_path {tmp_path}/f;\n"
        f"uwsgi_temp_path {tmp_path}/u; scgi_temp_path {tmp_path}/s;\n"
        f"map $uri $pulled {{ default ''; include {user.folder}/photos.map; }}\n"
        f"server {{ listen 127.0.0.1:{port}; root /; location / {{ if ($pulled = '') {{ return 404; }} try_files $pulled =404; }} }} }}\n"
    )
    nginx = subprocess.Popen(["nginx", "-e", f"{tmp_path}/error", "-c", f"{tmp_path}/nginx.conf"])
    try:
        wait_for_port(port)
        for row in rows[::25]:
            url = f"http://127.0.0.1:{port}/{quote(row['key'])}"
            with urllib.request.urlopen(url, timeout=60) as answer:
                assert answer.read() == (places[row["volume"]] / row["path"]).read_bytes()
    finally:
        nginx.terminate()
        nginx.wait(timeout=30)


def wait_for_port(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return
