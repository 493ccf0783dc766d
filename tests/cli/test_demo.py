import os
import re
import signal
import subprocess
import sys
import urllib.request
from contextlib import suppress
from pathlib import Path

from tests.cli.conftest import DEADLINE_SECONDS, until

OBJECTS = 10_007


def test_the_demo_pulls_everything_and_then_nothing(user):
    first = user.run("demo", "--fast").stderr
    again = user.run("demo", "--fast").stderr

    assert "complete: upyun://demo-bucket" in first
    assert "dashboard: http://127.0.0.1:" in first
    assert len(user.files("demo/volume")) == OBJECTS
    books = {
        line.split()[1]: line.split()[2] for line in again.splitlines() if line.startswith(("  = ", "  + "))
    }
    assert books["stored"] == "0"
    assert books["skipped"] == "10,007"
    assert "nothing is fetched twice" in again
    # Lines of progress are for logs; this path is longer than a user's.
    own = [line for line in first.splitlines() if not line.startswith("20") and str(user.folder) not in line]
    assert max(map(len, own)) < 80
    user.run("verify", "demo/volume")
    assert user.json("status", "--state", "demo/journal")[0]["state"] == "complete"


def test_ctrl_c_ends_the_demo_and_its_simulator_and_it_goes_on_later(user):
    process = user.start("demo", "--dir", "elsewhere")
    until(lambda: children(process.pid), "the simulator")
    simulators = children(process.pid)
    until((user.folder / "elsewhere/volume").is_dir, "the sync")

    process.send_signal(signal.SIGINT)

    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "Run it again" in output
    assert not [pid for pid in simulators if alive(pid)]
    user.run("demo", "--dir", "elsewhere", "--fast", "--quiet")
    assert len(user.files("elsewhere/volume")) == OBJECTS


def test_at_a_terminal_the_dashboard_stays_until_ctrl_c_and_what_is_printed_works(user):
    process, ours, theirs = user.start_at_a_terminal("demo", "--fast", "--objects", "200")
    os.close(theirs)
    said = ""
    while "until you press Ctrl-C" not in said:
        said += os.read(ours, 4096).decode()

    (address,) = re.findall(r"dashboard: (http://\S+)", said)
    with urllib.request.urlopen(address, timeout=30) as page:
        assert b"bucketpull" in page.read()
    commands = re.findall(r"^  (\S+ (?:status|verify) .*?)\r?$", said, re.MULTILINE)
    assert len(commands) == 2
    pull = re.search(r"^  export .*? --reserve \S+", said, re.MULTILINE | re.DOTALL)
    assert pull is not None
    for command in (pull.group().replace("\r", ""), *commands):
        subprocess.run(command, shell=True, cwd=user.folder, env=user.environment, check=True, timeout=60)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == 0
    os.close(ours)
    assert len(user.files("demo/copy")) == 200


def test_at_a_terminal_that_is_slow_what_can_be_done_next_still_comes_after_the_summary(user):
    process, ours, theirs = user.start_at_a_terminal("demo", "--fast", "--objects", "200")
    said = ""
    while "dashboard: " not in said:
        said += os.read(ours, 4096).decode()
    beside = os.open(os.ttyname(theirs), os.O_WRONLY | os.O_NOCTTY | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        while True:  # until the terminal takes no more
            os.write(beside, b"-" * 512)
    os.close(beside)
    os.close(theirs)
    until(lambda: ended(user), "the end of the job")

    while "until you press Ctrl-C" not in said:
        said += os.read(ours, 4096).decode()

    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_SECONDS) == 0
    os.close(ours)
    assert 0 < said.find("exit 0") < said.find("What was pulled")


def ended(user):
    told = user.run("status", "--state", "demo/journal", "--json", expect=None).stdout
    return '"state":"complete"' in told


def test_run_as_a_module_it_says_so_in_what_can_be_done_next(user):
    arguments = ["demo", "--fast", "--objects", "200", "--dashboard", "127.0.0.1:0"]
    said = subprocess.run(
        [sys.executable, "-m", "bucketpull", *arguments],
        cwd=user.folder,
        env=user.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_SECONDS,
        check=True,
    ).stderr

    (command,) = re.findall(r"^  (\S+ .*status .*)$", said, re.MULTILINE)
    assert f"{sys.executable} -m bucketpull " in command
    subprocess.run(command, shell=True, cwd=user.folder, env=user.environment, check=True, timeout=60)


def test_a_folder_that_cannot_be_is_refused(user):
    (user.folder / "file").write_text("")

    assert "--dir file" in user.run("demo", "--dir", "file", expect=2).stderr


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
