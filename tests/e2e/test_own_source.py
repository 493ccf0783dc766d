"""The example of a source of one's own does a whole job, with sizes and dates that nobody knows before an object is fetched."""

import json
import subprocess
import sys
from pathlib import Path

from tests.servers.web_server import WebServer

EXAMPLE = Path(__file__).parents[2] / "examples" / "http_index.py"


def run(*arguments, expect=0):
    done = subprocess.run(
        [sys.executable, EXAMPLE, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done


def test_a_directory_index_comes_down_complete_and_a_second_run_fetches_nothing(tmp_path):
    files = {f"photos/{number // 50}/{number}.jpg": b"x" * (number * 97) for number in range(200)}
    files["video/large.bin"] = bytes(range(256)) * (80 << 10)  # 20 MiB: more than is held in memory
    for key, body in files.items():
        (tmp_path / "site" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "site" / key).write_bytes(body)
    volume, summary = tmp_path / "disk", tmp_path / "summary.json"
    own = ["--state", tmp_path / "state", "--summary", summary, "--reserve", "0", "--processes", "1"]

    with WebServer(tmp_path / "site", tmp_path / "nginx", "autoindex on;") as server:
        run("sync", f"index:{server.url}/", volume, *own)
        first = json.loads(summary.read_text())
        run("sync", f"index:{server.url}/", volume, *own)
        second = json.loads(summary.read_text())

    assert (first["complete"], first["listed"], first["stored"]) == (True, len(files), len(files))
    assert first["bytes"] == sum(map(len, files.values()))
    assert (second["complete"], second["stored"]) == (True, 0)
    for key, body in files.items():
        assert (volume / key).read_bytes() == body
    run("verify", volume, "--state", tmp_path / "state")


def test_an_unknown_source_is_refused_with_the_forms_of_all_known_ones(tmp_path):
    done = run("sync", "ftp://host/folder", tmp_path / "disk", expect=2)

    assert "upyun://BUCKET" in done.stderr
    assert "index:http://HOST/FOLDER/" in done.stderr
    assert not (tmp_path / "disk").exists()
