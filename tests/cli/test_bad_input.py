"""Whatever is typed, set or mounted wrong: exit 2, one line with the thing, the value and the remedy, and nothing made.

The rows of `bad_input.txt` are `COMMAND LINE => WHAT IS TOLD`. SYNC is a complete command; words with `=` before a command are set in
the environment; `\xff` is that byte; `...` ends what is compared.
"""

import os
import re
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.cli.conftest import COMMAND
from tests.cli.forking import Done, Forking
from tests.cli.locales import make_locales

from bucketpull.volumes.beneath import VOLUME_MARK
from upyun_simulator import Simulator

ROWS = [line.split(" => ") for line in Path(__file__).with_name("bad_input.txt").read_text().splitlines()]
SHORT = {"SYNC": "sync upyun://photos d1", "BROKER": "BUCKETPULL_BROKER=amqp://u:p@127.0.0.1:1/"}
FILES = {
    "file": b"x",
    "tarred/packs": b"x",
    "broken.toml": b"rate = [\n",
    "bad.rules": b"# a comment\n+ /2024/**\n- [z-a]\n",
    "no.rules": b"photos/**\n",
    "types.toml": b'# a comment\nrate = "fast"\n',
    "unknown.toml": b"cdn-ulr = 1\n",
    "binary.toml": b"\xff\xfe\x00",
    "list.toml": b"volumes = 3\n",
    "table.toml": b"rate = 1\n[table]\n",
    "option.toml": b"cdn_url = 7\n",
    "negative.toml": b"connect_seconds = -1\n",
    "nan.toml": b"stall_seconds = nan\n",
    "control.toml": b'job = "a\\u0000b"\n',
}
UNKNOWN_USER = 54321


class Place(NamedTuple):
    """A folder with a finished job on `full`, a copy of that disk, and a second disk of the job; the port of a server that listens, and the environment of a user whose password is wrong."""

    folder: Path
    port: int
    environment: dict[str, str]

    def split(self, command: str) -> tuple[dict[str, str], list[bytes]]:
        """Return what a row sets in the environment, and its arguments."""
        for name, text in SHORT.items():
            command = command.replace(name, text)
        words = shlex.split(command.replace("BUSY", str(self.port)))
        setting = re.compile(r"[A-Z_]+=.*", re.DOTALL)
        count = next((index for index, word in enumerate(words) if not setting.fullmatch(word)), len(words))
        environment = dict(word.split("=", 1) for word in words[:count])
        return environment, [word.encode().replace(rb"\xff", b"\xff") for word in words[count:]]

    def said(self, done: Done) -> str:
        """Return what a command told, without what differs from run to run."""
        text = done.err.decode().removeprefix("bucketpull: ").removesuffix("\n")
        text = text.replace(str(self.folder), "HERE").replace(str(self.port), "BUSY")
        text = re.sub("http://127.0.0.1:[0-9]{4,}", "API", text)
        return re.sub("[0-9a-f]{12} ", "ID ", text)

    def everything(self) -> list[str]:
        return sorted(str(path) for path in self.folder.rglob("*"))


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="bad-input-"))
    folder.chmod(0o755)  # other users run commands here too
    for name in ("d1", "d1/inner", "home", "tarred"):
        (folder / name).mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    with (
        Simulator("flat:3", bucket="photos") as simulator,
        socket.create_server(("127.0.0.1", 0)) as server,
    ):
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder / "home"),
            "BUCKETPULL_API_URL": simulator.api_url,
            "BUCKETPULL_RESERVE": "1M",
            **simulator.environment,
        }
        job = [COMMAND, "sync", "upyun://photos", "full", "--state", "job", "--quiet"]
        subprocess.run(job, cwd=folder, env=environment, check=True, timeout=60)
        shutil.copytree(folder / "full", folder / "copied")
        shutil.copytree(folder / "full", folder / "second")
        mark = folder / "second" / VOLUME_MARK
        mark.write_text(re.sub('"id":"[^"]*"', '"id":"second"', mark.read_text()))
        yield Place(folder, server.getsockname()[1], environment | {"UPYUN_PASSWORD": "wrong"})
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def locales(tmp_path_factory) -> dict[str, str]:
    return make_locales(tmp_path_factory.mktemp("locales"), "zh_CN.GBK")


@pytest.fixture(scope="module")
def in_utf8() -> Iterator[Forking]:
    yield from running({"LC_ALL": "C.UTF-8"})


@pytest.fixture(scope="module")
def in_gbk(locales) -> Iterator[Forking]:
    yield from running(locales | {"LC_CTYPE": "zh_CN.GBK"})


@pytest.fixture(scope="module")
def in_ascii() -> Iterator[Forking]:
    yield from running({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"})


def running(environment: dict[str, str]) -> Iterator[Forking]:
    made = Forking(environment)
    yield made
    made.close()


def run(forking: Forking, place: Place, command: str, user: int = -1, **changes: str | None) -> Done:
    """Run a row; see that it ends with 2, one line, and nothing made."""
    setting, arguments = place.split(command)
    environment = {
        name: value for name, value in (place.environment | changes | setting).items() if value is not None
    }
    before = place.everything()

    done = forking.run(arguments, place.folder, environment, user)

    told = done.err.decode("utf-8", "replace")
    assert done.code == 2, told
    assert told.startswith("bucketpull: "), told
    assert told.count("\n") == 1, told
    assert done.out == b""
    assert place.everything() == before
    return done


@pytest.mark.parametrize(("command", "told"), ROWS, ids=[command for command, _ in ROWS])
def test_bad_input_is_told_in_one_line_before_anything_is_made(in_utf8, place, command, told):
    said = place.said(run(in_utf8, place, command))

    assert said.startswith(told.removesuffix("...")) if told.endswith("...") else said == told


def test_bad_input_is_as_harmless_for_an_ordinary_user_in_gbk(in_gbk, place):
    for command, _ in ROWS[::2]:
        run(in_gbk, place, command, ordinary_user(), LC_CTYPE="zh_CN.GBK")


def test_bad_input_is_as_harmless_for_a_user_without_a_home_in_a_locale_of_ascii(in_ascii, place):
    for command, _ in ROWS[1::2]:
        run(in_ascii, place, command, ordinary_user(), LC_ALL="C", HOME=None)


def test_a_user_without_a_home_is_told_to_name_a_folder_for_the_journal(in_ascii, place):
    done = run(in_ascii, place, "status --job photos", UNKNOWN_USER if os.geteuid() == 0 else -1, HOME=None)

    expected = "this user has no home folder for the journal"
    assert (expected in done.err.decode()) == (os.geteuid() == 0)


def test_what_an_ordinary_user_may_not_write_is_refused_before_anything_is_made(in_utf8, place):
    closed = place.folder / "closed"
    closed.mkdir(mode=0o555, exist_ok=True)

    for option in ("closed", "closed/x", "--state closed/x", "--summary closed/x"):
        done = run(in_utf8, place, f"SYNC {option}", ordinary_user())
        assert "cannot be written (Permission denied)" in done.err.decode()


def test_the_journal_of_another_user_is_named_as_such(in_utf8, place):
    (place.folder / "job").chmod(0o700 if os.geteuid() == 0 else 0o000)

    for command in ("status", "failures", "retry", "volumes", "where a.jpg", "export --format csv"):
        done = run(in_utf8, place, f"{command} --state job", ordinary_user())
        assert "Permission denied; ask as the user whose job it is" in done.err.decode(), command
    (place.folder / "job").chmod(0o755)


@pytest.mark.parametrize(("command", "told"), ROWS[::25], ids=[command for command, _ in ROWS[::25]])
def test_the_installed_command_tells_the_same(place, command, told):
    setting, arguments = place.split(command)
    done = subprocess.run(
        [COMMAND, *arguments],
        cwd=place.folder,
        env=place.environment | {"LC_ALL": "C.UTF-8"} | setting,
        capture_output=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert place.said(Done(2, done.stdout, done.stderr)).startswith(told.removesuffix("..."))


def ordinary_user() -> int:
    """Return a user that has no entry anywhere; only root can become one."""
    return UNKNOWN_USER if os.geteuid() == 0 else -1
