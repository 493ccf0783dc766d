"""Those who do not look at a job are told of its start and its end, and cannot change how it ends."""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND

RECIPE = Path(__file__).parents[2] / "examples/tell.py"
SYNC = ("sync", "upyun://photos", "disk1")


class Watch:
    """A service that is pinged: what came, by path; `answers` are given in turn, then 200."""

    def __init__(self) -> None:
        self.came: list[tuple[str, dict]] = []
        self.answers: list[int] = []
        self.body = b""
        watch = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                watch.came.append((self.path, json.loads(body)))
                self.send_response(watch.answers.pop(0) if watch.answers else 200)
                self.end_headers()
                self.wfile.write(watch.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/ping/5e7a?create=1"

    def paths(self) -> list[str]:
        return [path for path, _ in self.came]


@pytest.fixture
def watch() -> Iterator[Watch]:
    watch = Watch()
    threading.Thread(target=watch.server.serve_forever, args=(0.05,), daemon=True).start()
    yield watch
    watch.server.shutdown()
    watch.server.server_close()


def test_a_watching_service_hears_of_the_start_and_of_the_end_with_the_summary(user, service, watch):
    user.knows(service).environment["BUCKETPULL_PING"] = watch.url

    user.run(*SYNC)

    assert watch.paths() == ["/ping/5e7a/start?create=1", "/ping/5e7a?create=1"]
    end = watch.came[-1][1]
    assert (end["job"], end["complete"], end["exit"], end["stored"]) == ("photos", True, 0, 100)


def test_a_job_that_is_refused_is_told_as_failed_without_the_password(user, service, watch):
    user.knows(service).environment["UPYUN_PASSWORD"] = "not-the-password"

    user.run(*SYNC, "--ping", watch.url, expect=4)

    ((path, body),) = watch.came
    assert path == "/ping/5e7a/fail?create=1"
    assert body["exit"] == 4
    assert "upyun://photos" in body["error"]
    assert "not-the-password" not in json.dumps(body)


def test_a_disk_that_is_not_there_is_told_as_failed_though_nothing_began(user, service, watch):
    user.knows(service).run("sync", "upyun://photos", "no/such/disk", "--ping", watch.url, expect=2)

    assert [(path, body["exit"]) for path, body in watch.came] == [("/ping/5e7a/fail?create=1", 2)]


def test_a_ping_is_tried_again_where_that_may_help(user, service, watch):
    watch.answers = [503, 429]

    user.knows(service).run(*SYNC, "--ping", watch.url)

    assert watch.paths().count("/ping/5e7a/start?create=1") == 3
    assert watch.paths()[-1] == "/ping/5e7a?create=1"


def test_a_service_that_knows_nothing_of_us_changes_nothing_and_its_address_is_told_nobody(
    user, service, watch
):
    watch.answers = [404, 404]

    done = user.knows(service).run(*SYNC, "--ping", watch.url, "--log-file", "log")

    assert len(watch.came) == 2
    assert "info: --ping" not in (user.folder / "log").read_text()
    assert "warning: --ping 127.0.0.1: end did not arrive" in (user.folder / "log").read_text()
    assert "--ping 127.0.0.1: end did not arrive: answers 404" in done.stderr
    assert "5e7a" not in done.stdout + done.stderr


@pytest.mark.parametrize("url", ["ftp://example.com/x", "https://", "hc-ping.com/x", "", "https://h:99999/"])
def test_what_is_no_address_of_a_service_is_refused_before_anything_is_made(user, service, url):
    before = user.everything()

    done = user.knows(service).run(*SYNC, "--ping", url, expect=2)

    assert done.stderr == "bucketpull: --ping: write a URL such as https://hc-ping.com/UUID\n"
    assert user.everything() == before


def test_a_command_at_the_end_has_the_exit_code_and_the_summary(user, service):
    command = f'echo "$BUCKETPULL_JOB $BUCKETPULL_EXIT_CODE"; cat "$BUCKETPULL_SUMMARY_FILE" > told; {COMMAND} status >&2'

    done = user.knows(service).run(*SYNC, "--state", "books", "--quiet", "--json", "--on-end", command)

    told = json.loads((user.folder / "told").read_text())
    assert (told["complete"], told["stored"], told["state"]) == (True, 100, "complete")
    assert "photos 0\n" in done.stderr  # standard output is the program's that reads the JSON
    assert "complete" in done.stderr
    assert "ended with" not in done.stderr
    assert all(json.loads(line) for line in done.stdout.splitlines())


@pytest.mark.parametrize(
    ("command", "said"),
    [("exit 7", "ended with exit code 7"), ("no-such-command-at-all", "ended with exit code 127")],
)
def test_a_command_that_fails_is_told_and_changes_nothing(user, service, command, said):
    done = user.knows(service).run(*SYNC, "--on-end", command)

    assert f"--on-end: {said}" in done.stderr


def test_a_refused_job_runs_the_command_too(user, service):
    user.knows(service).environment["UPYUN_PASSWORD"] = "not-the-password"

    user.run(*SYNC, "--on-end", 'cp "$BUCKETPULL_SUMMARY_FILE" told', expect=4)

    assert json.loads((user.folder / "told").read_text())["exit"] == 4


@pytest.mark.parametrize(
    ("chat", "text"),
    [
        ("dingtalk", lambda body: body["text"]["content"]),
        ("wecom", lambda body: body["text"]["content"]),
        ("feishu", lambda body: body["content"]["text"]),
        ("slack", lambda body: body["text"]),
    ],
)
def test_the_recipe_for_chats_tells_them_how_a_job_ended(user, service, watch, chat, text):
    user.knows(service).environment["CHAT_URL"] = watch.url

    user.run(*SYNC, "--on-end", f"{sys.executable} {RECIPE} {chat}")

    (body,) = (body for _, body in watch.came)
    assert text(body) == "bucketpull: photos: complete (exit 0), 100 stored, 0 failed, 104 kB"


def test_the_recipe_for_chats_fails_where_the_chat_refuses(user, service, watch):
    user.knows(service).environment["CHAT_URL"] = watch.url
    watch.body = b'{"errcode": 310000, "errmsg": "keywords not in content"}'

    done = user.run(*SYNC, "--on-end", f"{sys.executable} {RECIPE} dingtalk")

    assert "keywords not in content" in done.stderr
    assert "--on-end: ended with exit code 1" in done.stderr
