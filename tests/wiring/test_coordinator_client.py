"""Commands and the coordinator of a job meet at the socket beside its journal."""

import asyncio
import os
import pwd
import socket
import threading
from contextlib import contextmanager

import pytest

from bucketpull.domain.errors import ConfigError, ExitCode, JournalError, TransportError
from bucketpull.domain.progress import Snapshot
from bucketpull.web import control_socket
from bucketpull.web.api import failed, json_response
from bucketpull.web.server import Server
from bucketpull.wiring.coordinator_client import Refused, client_of, local_client
from bucketpull.wiring.settings import Settings


@contextmanager
def serving(folder, answer):
    """Run a server at a folder's socket in a thread with an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start():
        server = Server(answer, control_socket.user_of)
        server.start(control_socket.listen(folder))
        return server

    server = asyncio.run_coroutine_threadsafe(start(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def echo(request):
    return json_response(
        {"text": f"{request.method} {request.path} {dict(request.query)} {request.body.decode()}"}
    )


def test_a_request_is_answered(tmp_path):
    with serving(tmp_path, echo):
        client = local_client(tmp_path)

        assert client.post("/api/x", {"a": 1})["text"] == 'POST /api/x {} {"a":1}'
        assert (
            client.get("/api/y", dict[str, str], match="图/*", reason=None)["text"]
            == "GET /api/y {'match': '图/*'} "
        )


def test_who_asks_is_known(tmp_path):
    async def name(request):
        return json_response({"text": request.client})

    with serving(tmp_path, name):
        assert local_client(tmp_path).post("/")["text"] == f"user '{pwd.getpwuid(os.getuid()).pw_name}'"


def test_a_refusal_is_raised_with_its_exit_code(tmp_path):
    async def refuse(_):
        return failed(409, "no /mnt/d1", ExitCode.NO_ROOM)

    with serving(tmp_path, refuse), pytest.raises(Refused, match="no /mnt/d1") as refused:
        local_client(tmp_path).post("/api/volumes/add", {"volume": "/mnt/d1"})

    assert refused.value.exit_code is ExitCode.NO_ROOM


def test_nobody_there_is_none(tmp_path):
    assert local_client(tmp_path) is None


def test_the_socket_of_a_dead_coordinator_is_nobody_and_is_replaced(tmp_path):
    dead = socket.socket(socket.AF_UNIX)
    dead.bind(str(tmp_path / "control"))
    dead.close()

    assert local_client(tmp_path) is None
    with serving(tmp_path, echo):
        assert local_client(tmp_path) is not None


def test_only_its_owner_may_ask(tmp_path):
    with serving(tmp_path, echo):
        assert (tmp_path / "control").stat().st_mode & 0o777 == 0o600


def test_a_coordinator_that_says_nothing_is_given_up(tmp_path):
    listener = control_socket.listen(tmp_path)
    with listener, pytest.raises(JournalError, match="does not answer"):
        local_client(tmp_path, seconds=0.2).post("/")


def test_an_answer_of_another_version_is_told(tmp_path):
    with serving(tmp_path, echo), pytest.raises(TransportError, match="of another version"):
        local_client(tmp_path).get("/api/job", Snapshot)


def test_a_long_path_is_no_hindrance(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    with serving(folder, echo):
        assert local_client(folder).post("/")["text"]


def test_a_job_that_does_not_run_cannot_be_steered(tmp_path):
    with pytest.raises(ConfigError, match="no journal in"):
        client_of(Settings(state=str(tmp_path)), by_broker=False)
