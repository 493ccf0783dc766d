"""The straight path: list, fetch, store, and again."""

import json
import os
import signal

from upyun_simulator import content


def test_a_bucket_comes_whole_byte_by_byte_with_its_times(make_job):
    job = make_job("demo")

    summary = job.sync()

    job.check_every_byte()
    assert summary["complete"] is True
    assert summary["stored"] == summary["listed"] == job.count()
    some = next(iter(job.simulator.contents.walk()))
    assert int((job.volumes[0] / some.key).stat().st_mtime) == some.mtime


def test_a_second_run_stores_nothing_and_asks_for_no_object(make_job):
    job = make_job("flat:3000,size=2KiB")
    job.sync()
    before = job.simulator.counters()["requests"]["cdn.get"]["200"]

    summary = job.sync()

    assert (summary["stored"], summary["skipped"]) == (0, 3000)
    assert job.simulator.counters()["requests"]["cdn.get"]["200"] == before


def test_what_is_new_or_changed_is_fetched_and_nothing_else(make_job):
    job = make_job("flat:3000,size=2KiB")
    job.sync()
    keys = [item.key for item in job.simulator.contents.walk()]
    job.simulator.mutate(put={"new.jpg": 100}, touch=[keys[7], keys[2999]])

    summary = job.sync()

    assert (summary["stored"], summary["skipped"]) == (3, 2998)
    assert (job.volumes[0] / "new.jpg").stat().st_size == 100
    assert (job.volumes[0] / keys[7]).read_bytes() == content(keys[7], 2048, 1)


def test_what_was_changed_once_is_fetched_once_however_often_its_page_changes(make_job):
    job = make_job("flat:50,size=2KiB")
    job.sync()
    first = next(iter(job.simulator.contents.walk())).key
    job.simulator.mutate(touch=[first])
    job.sync()

    for number in range(3):
        job.simulator.mutate(put={f"zz-{number}.jpg": 100})
        assert job.sync()["stored"] == 1
        (place,) = job.command("where", first, "--state", str(job.state), "--json").splitlines()
        assert json.loads(place)["present"]


def test_without_a_cdn_objects_come_by_rest(make_job):
    job = make_job("tree:dirs=20,files=5", cdn=False)

    job.sync()

    job.check_every_byte()


def test_an_image_version_is_stored_under_the_plain_key(make_job):
    job = make_job("flat:50,size=20KiB")

    job.sync("--style", "!s400")

    item = next(iter(job.simulator.contents.walk()))
    expected = content(item.key + "!s400", 1 + item.size // 8, item.version)
    assert (job.volumes[0] / item.key).read_bytes() == expected
    assert job.sync("--style", "!s400")["stored"] == 0


def test_killed_in_the_middle_it_goes_on_and_every_file_is_right(make_job):
    job = make_job("flat:20000,size=4KiB")
    for share in (2000, 9000):
        job.kill_when(lambda share=share: job.count() > share)

    summary = job.sync()

    assert summary["complete"] is True
    assert summary["listed"] == summary["stored"] == 20000
    job.check_every_byte()


def test_an_interrupt_ends_in_order_and_resumable(make_job):
    job = make_job("flat:8000,size=4KiB", cdn_latency=0.02)
    process = job.start()

    said = job.stop_when(process, signal.SIGINT, lambda: job.count() > 500)

    assert process.returncode == 130, said
    assert not [path for path in (job.volumes[0] / ".bucketpull" / "tmp").rglob("*") if path.is_file()]
    stored = job.summary()["stored"]
    assert 0 < stored < 8000
    assert job.sync()["stored"] == 8000
    job.check_every_byte()


def test_two_interrupts_end_it_at_once(make_job):
    job = make_job("flat:3000,size=4KiB", cdn_latency=0.5)
    process = job.start()

    def twice() -> bool:
        if job.count() > 20:
            process.send_signal(signal.SIGINT)
            return True
        return False

    job.stop_when(process, signal.SIGINT, twice)

    assert process.returncode == 130
    assert job.sync()["complete"] is True


def test_processes_killed_one_after_another_cost_nothing(make_job):
    job = make_job("flat:12000,size=4KiB", cdn_latency=0.01)
    process = job.start()
    for share in (500, 2000, 4000):
        while job.count() < share:
            assert process.poll() is None, process.stderr.read()
        os.kill(_worker_processes(process.pid)[0], signal.SIGKILL)

    _, errors = process.communicate(timeout=100)

    assert process.returncode == 0, errors
    job.check_every_byte()


def _worker_processes(pid: int) -> list[int]:
    """Return the processes that the fork server of a sync has made."""
    children = [int(child) for child in _children(pid)]
    return [int(grandchild) for child in children for grandchild in _children(child)]


def _children(pid: int) -> list[str]:
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return file.read().split()
