"""A whole job in locales whose encodings lack much: names are bytes, JSON is ASCII where it must be, and nothing breaks."""

import json
import os
import subprocess

import pytest
from tests.cli.conftest import COMMAND, DEADLINE_SECONDS
from tests.cli.locales import make_locales

ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
KEY = "图片/春天.jpg"


@pytest.fixture(scope="module")
def locales(tmp_path_factory) -> dict[str, str]:
    return make_locales(tmp_path_factory.mktemp("locales"))


@pytest.fixture(params=["zh_CN.GBK", "zh_CN.GB18030", "ascii"])
def encoding(request, user, locales) -> str:
    """Put the user into a locale; return its encoding."""
    if request.param == "ascii":
        user.environment |= ASCII
        return "ascii"
    user.environment |= locales | {"LC_ALL": request.param}
    return request.param.partition(".")[2].lower()


@pytest.fixture
def odd(bucket, tmp_path):
    """A bucket with a Chinese key, and one that GBK lacks."""
    manifest = tmp_path / "manifest.json"
    manifest.write_text(json.dumps({"objects": {KEY: 100, "a/\N{GRINNING FACE}.jpg": 100}}))
    return bucket(f"manifest:{manifest}")


def run(user, *arguments, expect=0):
    """Run a command; return its standard output and error as bytes."""
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=user.folder,
        env=user.environment,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr


def test_a_job_and_the_commands_that_look_at_it_work(user, odd, encoding):
    user.knows(odd)

    _, told = run(user, "sync", "upyun://photos", "disk1")

    told.decode(encoding)
    assert (user.folder / "disk1").joinpath(KEY).stat().st_size == 100
    for command in (
        ["status"],
        ["status", "--directories"],
        ["volumes"],
        ["failures"],
        ["verify", "disk1", "--hash"],
    ):
        out, errors = run(user, *command)
        (out + errors).decode(encoding)


def test_json_is_the_same_in_every_locale(user, odd, encoding):
    user.knows(odd)
    events, _ = run(user, "sync", "upyun://photos", "disk1", "--json")

    for line in events.splitlines():
        json.loads(line)
    for command in (
        ["status", "--json"],
        ["status", "--directories", "--json"],
        ["export", "--format", "jsonl"],
    ):
        out, _ = run(user, *command)
        assert [json.loads(line) for line in out.splitlines()]
        out.decode("ascii" if command[0] != "export" else "utf-8")


def test_an_object_is_found_by_its_key_as_it_is_typed(user, odd, encoding):
    user.knows(odd)
    run(user, "sync", "upyun://photos", "disk1")
    typed = KEY.encode("utf-8" if encoding == "ascii" else encoding)

    out, _ = run(user, "where", os.fsdecode(typed), "--json")

    assert json.loads(out)["key"] == KEY


def test_a_prefix_is_what_was_typed(user, odd, encoding):
    user.knows(odd)
    if encoding == "ascii":
        _, told = run(user, "sync", "upyun://photos/图片", "disk1", expect=2)
        assert b"has bytes that are not text in this locale" in told
        return
    run(user, "sync", os.fsdecode("upyun://photos/图片".encode(encoding)), "disk1")

    assert user.files("disk1") == [KEY]
