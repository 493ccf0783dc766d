"""`bucketpull list`: everything is listed once, in any form, through kills; what cannot be is said."""

import os
import subprocess
import sys
import time

import pytest

from upyun_simulator import Simulator

SPEC = "tree:dirs=60,files=50,depth=3"


@pytest.fixture
def bucket():
    with Simulator(SPEC) as simulator:
        yield simulator


def _command(simulator, *arguments: str) -> list[str]:
    source = f"upyun://{simulator.bucket}"
    return [sys.executable, "-m", "bucketpull", "list", source, "--api-url", simulator.api_url, *arguments]


def _run(simulator, *arguments: str, expect: int = 0) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run(
        _command(simulator, *arguments),
        env=_environment(simulator),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == expect, done.stderr.decode()
    return done


def _environment(simulator) -> dict[str, str]:
    return {
        "UPYUN_OPERATOR": simulator.operator,
        "UPYUN_PASSWORD": simulator.password,
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C.UTF-8",
    }


def _keys(simulator) -> list[bytes]:
    return sorted(item.key.encode() for item in simulator.contents.walk())


def test_keys_go_to_standard_output(bucket):
    done = _run(bucket)
    assert sorted(done.stdout.splitlines()) == _keys(bucket)
    assert b"objects listed" in done.stderr


def test_a_pipe_gets_the_list_and_stays(bucket, tmp_path):
    os.mkfifo(tmp_path / "pipe")
    reader = subprocess.Popen(["cat", tmp_path / "pipe"], stdout=subprocess.PIPE)
    try:
        _run(bucket, "--output", str(tmp_path / "pipe"))
        read, _ = reader.communicate(timeout=60)
    finally:
        reader.kill()
        reader.wait()

    assert sorted(read.splitlines()) == _keys(bucket)
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]
    assert (tmp_path / "pipe").is_fifo()


def test_what_is_open_gets_the_list_in_its_place(bucket, tmp_path):
    (tmp_path / "out").symlink_to("/proc/self/fd/1")  # as /dev/stdout
    assert sorted(_run(bucket, "--output", str(tmp_path / "out")).stdout.splitlines()) == _keys(bucket)
    assert (tmp_path / "out").is_symlink()


@pytest.mark.parametrize(
    ("form", "place"), [("gcs", "--output FILE"), ("oss", "--output DIR"), ("parquet", "--output DIR")]
)
def test_a_form_that_needs_a_place_of_its_own_does_not_go_into_a_pipe(bucket, tmp_path, form, place):
    os.mkfifo(tmp_path / "pipe")
    arguments = ("--format", form, "--base-url", "https://h", "--output", str(tmp_path / "pipe"))
    assert f"--format {form}: give {place}" in _run(bucket, *arguments, expect=2).stderr.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_folder_in_the_place_of_the_list_is_told_before_anything_is_made(bucket, tmp_path):
    (tmp_path / "list").mkdir()
    said = _run(bucket, "--output", str(tmp_path / "list"), expect=2).stderr.decode()
    assert "is a directory; name a file" in said
    assert [path.name for path in tmp_path.iterdir()] == ["list"]


@pytest.mark.parametrize("form", ["keys", "gcs", "oms", "oss"])
def test_a_disk_that_is_full_is_told_and_the_list_goes_on_later(bucket, tmp_path, form):
    full = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000)); os.execv(sys.executable, [sys.executable, *sys.argv[1:]])"
    arguments = ("--format", form, "--base-url", "https://h", "--output", str(tmp_path / "list"))
    _, *command = _command(bucket, *arguments)
    done = subprocess.run(
        [sys.executable, "-c", full, *command],
        env=_environment(bucket),
        capture_output=True,
        timeout=60,
        check=False,
    )
    said = done.stderr.decode()
    assert (done.returncode, said.count("\n")) == (2, 1), said
    assert f"--output {tmp_path / 'list'}: File too large" in said

    assert f"{len(_keys(bucket)):,} objects listed".encode() in _run(bucket, *arguments).stderr


def test_rules_choose_what_is_listed(bucket):
    wanted = [key for key in _keys(bucket) if key.endswith(b"0.jpg")]
    assert sorted(_run(bucket, "--include", "*0.jpg").stdout.splitlines()) == wanted


def test_a_list_for_google_is_sorted(bucket, tmp_path):
    path = tmp_path / "urls.tsv"
    _run(bucket, "--format", "gcs", "--base-url", "https://h", "--output", str(path))
    first, *lines = path.read_bytes().splitlines()
    assert first == b"TsvHttpData-1.0"
    urls = [line.split(b"\t")[0] for line in lines]
    assert urls == sorted(urls)
    assert len(urls) == len(_keys(bucket))


def test_parquet_files_hold_every_object(bucket, tmp_path):
    import pyarrow.parquet as pq

    _run(bucket, "--format", "parquet", "--output", str(tmp_path))
    table = pq.read_table(tmp_path / "list-00001.parquet")
    assert sorted(key.encode() for key in table.column("key").to_pylist()) == _keys(bucket)


@pytest.mark.parametrize("form", ["keys", "jsonl", "oms"])
def test_a_list_that_was_killed_goes_on_and_has_every_object_once(tmp_path, form):
    output = tmp_path / "out"
    mark = output / ".bucketpull-list.json" if form == "oms" else tmp_path / "out.bucketpull-list.json"
    with Simulator("tree:dirs=400,files=20,depth=3") as simulator:
        arguments = ["--format", form, "--output", str(output), "--base-url", "https://h"]
        with subprocess.Popen(
            _command(simulator, *arguments, "--rate", "50"),
            env=_environment(simulator),
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                _wait_for(lambda: mark.exists() and b'"objects":0' not in mark.read_bytes())
            finally:
                process.kill()
        _run(simulator, *arguments)
        keys = _keys(simulator)
    data = (output / "list-00001.txt" if form == "oms" else output).read_bytes()
    assert len(data.splitlines()) == len(keys)
    if form == "keys":
        assert sorted(data.splitlines()) == keys
    assert not mark.exists()


def _wait_for(is_so) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--format", "oss", "--output", "x"],
            b"where can the objects be fetched? Give --cdn-url or --base-url",
        ),
        (["--format", "parquet"], b"give --output DIR"),
        (["--format", "gcs", "--base-url", "https://h"], b"give --output FILE"),
        (["--output", "/proc/none/x"], b"name a place that can be written"),
    ],
)
def test_what_cannot_work_is_said(bucket, arguments, words):
    assert words in _run(bucket, *arguments, expect=2).stderr


def test_another_list_does_not_go_on_where_one_was(bucket, tmp_path):
    path = tmp_path / "keys"
    (tmp_path / "keys.bucketpull-list.json").write_text('{"more":{"identity":1}}')
    assert b"was begun as another list" in _run(bucket, "--output", str(path), expect=2).stderr


def test_a_source_that_refuses_ends_the_list(bucket):
    environment = _environment(bucket) | {"UPYUN_PASSWORD": "wrong"}
    done = subprocess.run(_command(bucket), env=environment, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (4, b"")
    assert b"refuses" in done.stderr
