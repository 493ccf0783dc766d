"""How a running job is steered: what is asked of it may be slow, and holds up nothing else."""

import asyncio
import threading
from types import SimpleNamespace

from bucketpull.wiring import remote_control
from bucketpull.wiring.remote_control import JobControl
from bucketpull.wiring.settings import Settings


def test_a_disk_that_never_answers_when_it_is_added_holds_up_no_end_of_the_program(tmp_path, monkeypatch):
    """A thread of the event loop's own pool would: the loop waits for it before it is closed."""
    is_asked, answers = threading.Event(), threading.Event()

    def never(_path, _others):
        is_asked.set()
        answers.wait()

    monkeypatch.setattr(remote_control, "check_copy_of", never)
    coordinator = SimpleNamespace(asked={}, fleet=SimpleNamespace(volumes={}))
    journal = SimpleNamespace(volumes=list, id="journal", configuration=dict)
    control = JobControl(
        Settings(source="upyun://b"), journal, SimpleNamespace(coordinator=coordinator), None, "m1"
    )

    async def job():
        adding = asyncio.create_task(control.add_volume(str(tmp_path), "somebody"))
        await asyncio.to_thread(is_asked.wait)
        adding.cancel()

    ending = threading.Thread(target=asyncio.run, args=(job(),), daemon=True)
    ending.start()
    ending.join(30)
    try:
        assert not ending.is_alive()
    finally:
        answers.set()
        ending.join()
