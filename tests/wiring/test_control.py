import asyncio
import socket
import threading
from contextlib import contextmanager

import pytest

from bucketpull.domain.errors import ConfigError, ExitCode, JournalError
from bucketpull.domain.model import Limits
from bucketpull.wiring.control import (
    SOCKET,
    AddVolume,
    Answer,
    ControlServer,
    Refused,
    SetLimits,
    ShowJob,
    ask,
)


@contextmanager
def serving(folder, obey):
    """Run a control server in a thread with an event loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = ControlServer(folder, obey)
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
    try:
        yield
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def echo(question):
    return Answer(text=repr(question))


async def refuse(question):
    raise ConfigError(f"no {question.path}")


def test_a_question_is_answered(tmp_path):
    with serving(tmp_path, echo):
        assert ask(tmp_path, AddVolume("/mnt/d1")).text == repr(AddVolume("/mnt/d1"))
        limits = Limits(concurrency=5, paused=True)
        assert ask(tmp_path, SetLimits(limits)).text == repr(SetLimits(limits))


def test_a_refusal_is_raised_with_its_exit_code(tmp_path):
    with serving(tmp_path, refuse), pytest.raises(Refused, match="no /mnt/d1") as refused:
        ask(tmp_path, AddVolume("/mnt/d1"))

    assert refused.value.exit_code is ExitCode.USAGE


def test_nobody_answers_where_no_coordinator_runs(tmp_path):
    assert ask(tmp_path, ShowJob()) is None
    with serving(tmp_path, echo):
        pass
    assert ask(tmp_path, ShowJob()) is None
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_coordinator_left_is_nobody_and_is_replaced(tmp_path):
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / SOCKET))
    left.close()

    assert ask(tmp_path, ShowJob()) is None
    with serving(tmp_path, echo):
        assert ask(tmp_path, ShowJob()).text


def test_folders_with_long_paths_have_a_socket_too(tmp_path):
    folder = tmp_path / ("a" * 120) / ("b" * 120)
    folder.mkdir(parents=True)

    with serving(folder, echo):
        assert ask(folder, ShowJob()).text


def test_only_the_owner_may_ask(tmp_path):
    with serving(tmp_path, echo):
        assert (tmp_path / SOCKET).stat().st_mode & 0o777 == 0o600


def test_nonsense_is_refused_and_the_next_question_answered(tmp_path):
    with serving(tmp_path, echo):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(tmp_path / SOCKET))
            connection.sendall(b"nonsense\n")
            assert b"another version" in connection.recv(1000)
        assert ask(tmp_path, ShowJob()).text


def test_a_coordinator_that_does_not_answer_is_told_in_time(tmp_path):
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / SOCKET))
        silent.listen()
        with pytest.raises(JournalError, match="does not answer"):
            ask(tmp_path, ShowJob(), seconds=0.1)
