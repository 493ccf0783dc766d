"""Calls of a disk are made in threads of their own, as soon as there may be one."""

import asyncio
import threading
import types

import pytest

from bucketpull import daemon_thread
from bucketpull.cli import main


def test_a_call_waits_until_a_thread_may_be_started(monkeypatch):
    """Other processes of the same user, or the limit of a container, leave none for a while: that ends no job."""
    refused = []

    class Scarce(threading.Thread):
        def start(self):
            if len(refused) < 3:
                refused.append(self.name)
                raise RuntimeError("can't start new thread")
            super().start()

    monkeypatch.setattr(daemon_thread, "TRY_SECONDS", 0.0)
    monkeypatch.setattr(daemon_thread.threading, "Thread", Scarce)

    assert asyncio.run(daemon_thread.in_thread(sum, [1, 2])) == 3
    assert refused == ["sum"] * 3


def test_a_machine_that_never_starts_a_thread_is_not_waited_for_without_bound(monkeypatch):
    class Refused(threading.Thread):
        def start(self):
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(daemon_thread, "TRY_SECONDS", 0.0)
    monkeypatch.setattr(daemon_thread.threading, "Thread", Refused)

    with pytest.raises(RuntimeError, match="new thread"):
        asyncio.run(daemon_thread.in_thread(sum, [1, 2]))


@pytest.mark.parametrize(
    ("error", "advice"),
    [(RuntimeError("can't start new thread"), "ulimit -u"), (MemoryError(), "ulimit -v")],
    ids=["threads", "memory"],
)
def test_what_a_machine_lacks_for_the_command_is_told_without_a_traceback(monkeypatch, capsys, error, advice):
    def refused(**_):
        raise error

    monkeypatch.setattr(main, "bucketpull", types.SimpleNamespace(main=refused))

    assert main._run() == 3
    assert advice in capsys.readouterr().err
