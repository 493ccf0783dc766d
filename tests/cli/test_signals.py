"""A job that is told to stop stops in order, whoever tells it; told twice, it leaves at once and says where things stand."""

import json
import re
import shutil
import signal
import socket
import subprocess
import sys

import pytest
from tests.cli.conftest import COMMAND, DEADLINE_SECONDS, until
from tests.volumes.filling import Filler, bodies

from bucketpull.domain.packing import Packing

SYNC = ("sync", "upyun://photos", "disk1")


@pytest.fixture
def running(user, bucket):
    """A job of 400 objects that would take long, with some of them stored."""
    user.knows(bucket("flat:400,size=500"))
    process = user.start(*SYNC, "--rate", "30")
    until(lambda: user.files("disk1"), "a first file")
    yield process
    process.kill()
    process.wait()


def ended(user, code: str, *arguments: str) -> subprocess.CompletedProcess:
    """Run Python code, such as one that changes something of the command before it runs it, to its end."""
    return subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=user.folder,
        env=user.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )


def said(process: subprocess.Popen) -> str:
    output, _ = process.communicate(timeout=DEADLINE_SECONDS)
    return output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_a_signal_stops_a_job_in_order(user, running, number):
    running.send_signal(number)

    output = said(running)

    assert running.returncode == 130
    assert "finishing what has begun; Ctrl-C once more leaves at once, and what is stored stays" in output
    assert "interrupted; run the same command again to go on" in output
    assert "left at least" not in output.partition("job.interrupted")[2]
    (status,) = user.json("status")
    assert (status["state"], status["counters"]["stored"]) == ("interrupted", len(user.files("disk1")))


def test_a_second_signal_ends_it_at_once_with_the_books(user, running):
    running.send_signal(signal.SIGSTOP)  # so that both are there when it looks
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGCONT)

    output = said(running)

    assert running.returncode == 130
    assert "\ninterrupted: upyun://photos\n" in output
    assert re.search(r"^  = stored +\d", output, re.MULTILINE)
    assert "exit 130: interrupted; run the same command again to go on" in output


def test_a_job_that_is_left_at_once_is_told_as_failed_too(user, bucket):
    user.knows(bucket("flat:400,size=500"))
    running = user.start(*SYNC, "--rate", "30", "--on-end", "echo $BUCKETPULL_EXIT_CODE > told")
    until(lambda: user.files("disk1"), "a first file")
    running.send_signal(signal.SIGSTOP)  # so that both are there when it looks
    running.send_signal(signal.SIGINT)
    running.send_signal(signal.SIGTERM)
    running.send_signal(signal.SIGCONT)

    said(running)

    assert running.returncode == 130
    assert (user.folder / "told").read_text() == "130\n"


# Ctrl-C twice, once all is told, while the page may still ask for the end.
LATE = """
import asyncio, os, signal
from bucketpull.__main__ import main
from bucketpull.web.dashboard import Dashboard
async def close(self):
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        await asyncio.sleep(0.01)
Dashboard.close = close
main()
"""


def test_a_signal_after_the_end_changes_nothing_of_it(user, service):
    user.knows(service)
    done = ended(user, LATE, *SYNC, "--dashboard", "127.0.0.1:0", "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout.splitlines()[-1])["event"] == "end"
    assert user.json("status")[0]["state"] == "complete"


AFTER_THE_LOOP = """
import asyncio, signal, sys
from bucketpull.wiring.signals import on_signals

async def job():
    on_signals(asyncio.Event().wait)

asyncio.run(job())
signal.raise_signal(int(sys.argv[1]))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP], ids=lambda each: each.name)
def test_a_signal_after_the_loop_does_what_it_does_to_a_process_without_one(user, number):
    done = ended(user, AFTER_THE_LOOP, str(int(number)))
    assert done.returncode == -number
    assert ("KeyboardInterrupt" in done.stderr) is (number == signal.SIGINT)


def test_the_speed_of_a_job_at_rest_is_that_of_its_last_session(user, bucket):
    user.knows(bucket("flat:200,size=500"))
    user.run(*SYNC, "--limit", "190", expect=6)
    user.run(*SYNC, "--rate", "5")

    (status,) = user.json("status")

    assert status["counters"]["stored"] == 200
    assert 0 < status["rates"]["objects_mean"] <= 50  # 200 objects over its seconds would be more
    assert "200/s" not in user.says("status")


def test_a_source_that_cannot_be_reached_is_named_and_waited_for_until_ctrl_c(user):
    user.environment |= {"UPYUN_OPERATOR": "operator", "UPYUN_PASSWORD": "password"}
    with socket.socket() as nobody:  # a port on which nothing listens
        nobody.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{nobody.getsockname()[1]}"
        commands = [("list",), ("plan", "disk1"), ("sync", "disk1", "--dry-run")]
        running = [
            user.start(name, "upyun://photos", *more, "--api-url", f"http://{address}")
            for name, *more in commands
        ]
        for process in running:
            said = process.stdout.readline()
            assert "nothing has come for" in said
            assert address in said
            process.send_signal(signal.SIGINT)
        for process in running:
            process.communicate(timeout=60)
            assert process.returncode == 130


def test_a_supervisor_that_ignores_its_children_does_not_keep_a_job_from_hearing_of_its_own(user, service):
    user.knows(service).environment["BUCKETPULL_PROCESSES"] = "2"
    ignoring = "import os, signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); os.execv(sys.argv[1], sys.argv[1:])"
    done = ended(user, ignoring, COMMAND, *SYNC, "--quiet")
    assert (done.returncode, done.stderr) == (0, "")
    assert len(user.files("disk1")) == 100


@pytest.mark.parametrize(
    "command",
    [SYNC, ("serve", "127.0.0.1:0", "other"), ("compact", "other"), ("unpack", "other", "disk1")],
    ids=lambda each: each[0],
)
def test_too_few_open_files_are_refused_with_the_remedy(user, service, command):
    (user.folder / "other").mkdir()
    with Filler(user.folder / "other", Packing()) as filler:
        filler.store(bodies(1))
    few = "import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16)); os.execv(sys.argv[1], sys.argv[1:])"
    done = ended(user.knows(service), few, COMMAND, *command)
    assert done.returncode == 2
    assert "open files: this process may open 16 at once" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (user.folder / "disk1").exists()


def test_a_job_whose_journal_was_removed_ends_with_the_code_that_its_summary_says_and_what_to_do(
    user, bucket
):
    user.knows(bucket("tree:dirs=40,files=100,size=300"))
    process = user.start("sync", "upyun://photos", "disk1", "--rate", "200", "--state", "state")
    until(lambda: user.files("disk1"), "the first object")
    shutil.rmtree(user.folder / "state")

    told = process.communicate(timeout=60)[0]

    assert process.returncode == 3
    assert "\nincomplete: upyun://photos\n" in told
    assert "exit 3: the journal could not go on" in told
    assert told.splitlines()[-1].endswith("or make a journal from the volumes: `bucketpull rebuild`")


INTERRUPTING = "import os, signal; os.kill(os.getpid(), signal.SIGINT)\n"


@pytest.mark.parametrize(
    ("command", "module"),
    [
        ("sync", "click"),
        ("coordinate", "click"),
        ("sync", "pycurl"),
        ("verify", "msgspec"),
        ("verify", "sqlite3"),
    ],
)
def test_ctrl_c_while_a_command_is_imported_ends_it_without_a_traceback(user, command, module):
    folder = user.folder / "stubs"
    folder.mkdir()
    (folder / f"{module}.py").write_text(INTERRUPTING)
    arguments = [sys.executable, "-m", "bucketpull", command, "upyun://photos", "disk1"]
    process = subprocess.run(
        arguments,
        cwd=user.folder,
        env={**user.environment, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=False,
    )
    assert (process.returncode, process.stdout.strip(), process.stderr.strip()) == (130, "", "")


# Ctrl-C as soon as objects on a volume are looked at.
LOOKING = """
import os, signal
from bucketpull.__main__ import main
from bucketpull.volumes.live_objects import LiveObjects
LiveObjects.__init__ = lambda self, *_: os.kill(os.getpid(), signal.SIGINT)
main()
"""


@pytest.mark.parametrize(
    ("command", "stands"),
    [
        (("compact", "disk1"), "nothing is lost, run it again"),
        (("verify", "disk1"), "nothing is lost, run it again"),
        (("unpack", "disk1", "files"), "what is stored below DEST stays; run it again to go on"),
        (("export", "--csv", "list.csv", "--job", "photos"), "no whole list is written; run it again"),
    ],
    ids=lambda each: each[0] if isinstance(each, tuple) else "",
)
def test_ctrl_c_of_a_command_that_works_on_volumes_says_what_stands(user, service, command, stands):
    user.knows(service).run(*SYNC, "--quiet")
    (user.folder / "list.csv").write_text("as it was")
    done = ended(user, LOOKING, *command)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", f"interrupted: {stands}\n")
    assert (user.folder / "list.csv").read_text() == "as it was"
    user.run(*command)
    user.run("verify", "disk1", "--hash")
