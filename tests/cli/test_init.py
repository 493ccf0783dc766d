"""`init` writes a configuration that runs: told everything it asks nothing, at a terminal it asks for the rest."""

import json
import os
import stat
import subprocess
import tomllib

import pytest
from tests.cli.conftest import COMMAND, DEADLINE_SECONDS

CTRL_D = b"\x04"  # leaves a question as Ctrl-C does, and is read when it comes to that
INIT = ("init", "upyun://photos", "disk1")


@pytest.fixture
def customer(user, service):
    """A user with a folder for a volume."""
    (user.folder / "disk1").mkdir()
    return user.knows(service)


def told(user, name="photos.toml"):
    return tomllib.loads((user.folder / name).read_text())


def at_a_terminal(user, answers, *arguments):
    """Run a command at a terminal of its own, and give it answers, each after what it says; return code and all that was said."""
    process, ours, theirs = user.start_at_a_terminal(*arguments)
    os.close(theirs)
    text = ""
    waiting = list(answers)
    while True:
        try:
            text += os.read(ours, 4096).decode(errors="replace")
        except OSError:  # the last end of theirs is closed
            break
        if waiting and text.rstrip().endswith(waiting[0][0]):
            answer = waiting.pop(0)[1].encode()
            os.write(ours, answer if answer == CTRL_D else answer + b"\n")
    os.close(ours)
    assert not waiting, text
    return process.wait(DEADLINE_SECONDS), text


def test_told_everything_it_asks_nothing_and_what_it_writes_runs(customer):
    said = customer.says(*INIT, "--reserve", "2M", "--exclude", "*.tmp")

    file = customer.folder / "photos.toml"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert told(customer)["volumes"] == [str(customer.folder / "disk1")]
    assert (told(customer)["reserve"], told(customer)["rules"]) == ("2M", ["- *.tmp"])
    assert "bucketpull sync --config photos.toml" in said
    customer.environment["HOME"] = str(customer.folder)
    customer.run("sync", "--config", "photos.toml")
    assert len(customer.files("disk1")) == 100


def test_secrets_of_the_environment_stay_there(customer):
    customer.run(*INIT)

    text = (customer.folder / "photos.toml").read_text()
    assert customer.environment["UPYUN_PASSWORD"] not in text
    assert "UPYUN_OPERATOR, UPYUN_PASSWORD" in text


def test_a_file_that_is_there_is_not_replaced_unasked(customer):
    (customer.folder / "photos.toml").write_text("mine")

    done = customer.run(*INIT, expect=2)
    assert "--output photos.toml: is there already" in done.stderr
    assert (customer.folder / "photos.toml").read_text() == "mine"

    customer.run(*INIT, "--force")
    assert told(customer)["source"] == "upyun://photos"


def test_a_unit_that_is_there_is_refused_before_anything_is_written(customer):
    (customer.folder / "photos.service").write_text("mine")

    done = customer.run(*INIT, "--unit", "photos.service", expect=2)

    assert "--unit photos.service: is there already" in done.stderr
    assert not (customer.folder / "photos.toml").exists()


def test_what_doctor_finds_wrong_is_told_and_nothing_is_written(customer):
    customer.environment["UPYUN_PASSWORD"] = "not-the-password"

    done = customer.run(*INIT, expect=3)

    assert "fail" in done.stdout
    assert not (customer.folder / "photos.toml").exists()
    customer.run(*INIT, "--no-doctor")
    assert told(customer)["source"] == "upyun://photos"


@pytest.mark.parametrize(
    ("arguments", "lacks"),
    [(("init",), ["no source", "no volume"]), (("init", "upyun://photos"), ["no volume"]), (("init", "upyun://photos", "no/such"), ["volume"])],
)  # fmt: skip
def test_without_a_terminal_all_that_lacks_is_told(customer, arguments, lacks):
    lines = customer.run(*arguments, expect=2).stderr.splitlines()

    assert len(lines) == len(lacks)
    assert all(lack in line for lack, line in zip(lacks, lines, strict=True))
    assert not list(customer.folder.glob("*.toml"))


def test_a_unit_of_systemd_runs_this_program_with_that_file(customer):
    customer.run(*INIT, "--unit", "photos.service")

    unit = (customer.folder / "photos.service").read_text()
    assert f"ExecStart={COMMAND} sync --config {customer.folder}/photos.toml\n" in unit
    checked = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", customer.folder / "photos.service"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_file_of_secrets_that_a_unit_needs_is_made_by_what_is_printed(customer):
    """Without it systemd does not start the unit."""
    done = customer.run(*INIT, "--unit", "photos.service", "--no-doctor")

    assert "EnvironmentFile=/etc/bucketpull/photos.env\n" in (customer.folder / "photos.service").read_text()
    assert "sudo install -D -m 600 /dev/null /etc/bucketpull/photos.env\n" in done.stdout
    assert "write UPYUN_OPERATOR UPYUN_PASSWORD into it" in done.stderr


def test_a_program_gets_json(customer):
    (line,) = customer.says(*INIT, "--json", "--no-doctor").splitlines()

    assert json.loads(line) == {"config": "photos.toml", "unit": None, "command": "bucketpull sync --config photos.toml"}  # fmt: skip


def test_at_a_terminal_it_asks_for_what_was_not_given(customer, bucket):
    secret = "a-word-that-nothing-else-has"
    customer.knows(bucket("flat:20,size=500", operators=[f"operator:{secret}"]))
    del customer.environment["UPYUN_PASSWORD"]
    operator = customer.environment.pop("UPYUN_OPERATOR")
    cdn = customer.environment.pop("BUCKETPULL_CDN_URL")

    for taken in ("photos.toml", "bucketpull-photos.service"):
        (customer.folder / taken).write_text("mine")

    code, text = at_a_terminal(
        customer,
        [
            ("urls:FILE:", "photos"),  # is told what is wrong, and asked again
            ("urls:FILE:", "upyun://photos"),
            ("(empty: none):", "img.example.com"),  # is asked again, and what was answered before is kept
            ("(empty: none):", cdn),
            ("the operator's name:", operator),
            ("the operator's password:", "mistyped"),
            ("/mnt/disk1 /mnt/disk2:", "no/such/disk"),
            ("/mnt/disk1 /mnt/disk2:", "disk1"),
            ("[Y/n]:", ""),  # doctor was refused; what was right is not typed again
            ("[upyun://photos]:", ""),
            (f"[{cdn}]:", ""),
            (f"[{operator}]:", ""),
            ("the operator's password:", secret),
            ("[disk1]:", ""),
            ("another file to write:", "photos.toml"),
            ("another file to write:", "mine.toml"),
            ("[y/N]:", "y"),
            ("another file to write:", "mine.service"),
        ],
        "init",
    )

    assert code == 0, text
    assert "source 'photos': write" in text
    assert secret not in text
    found = told(customer, "mine.toml")
    assert (found["password"], found["cdn_url"]) == (secret, cdn)
    assert "sync --config" in (customer.folder / "mine.service").read_text()
    assert (customer.folder / "photos.toml").read_text() == "mine"


def test_an_answer_that_was_given_can_be_emptied_when_answers_are_changed(customer):
    password = customer.environment.pop("UPYUN_PASSWORD")
    cdn = customer.environment.pop("BUCKETPULL_CDN_URL")

    code, text = at_a_terminal(
        customer,
        [
            ("(empty: none):", cdn),
            ("the operator's password:", "mistyped"),
            ("[Y/n]:", ""),
            (f"[{cdn}]:", "-"),
            ("the operator's password:", password),
            ("[y/N]:", ""),
        ],
        *INIT,
    )

    assert code == 0, text
    assert "Enter keeps an answer, - empties one that may be empty" in text
    assert "cdn_url" not in told(customer)


@pytest.mark.parametrize("question", ["(empty: none):", "the operator's password:"])
def test_leaving_a_question_ends_its_line(customer, question):
    del customer.environment["UPYUN_PASSWORD"]
    cdn = customer.environment.pop("BUCKETPULL_CDN_URL")
    answers = [("(empty: none):", cdn), ("the operator's password:", "")]
    at = [asked for asked, _ in answers].index(question)

    code, text = at_a_terminal(customer, [*answers[:at], (question, CTRL_D.decode())], *INIT)

    assert code == 130
    assert text.endswith(f"{question} \r\n")


def test_force_replaces_a_file_that_somebody_else_could_read(customer):
    there = customer.folder / "photos.toml"
    there.write_text("of somebody else")
    there.chmod(0o666)
    os.chown(there, 54_321, 54_321)
    with there.open() as theirs:
        customer.run(*INIT, "--force")
        assert theirs.read() == "of somebody else"
    found = there.stat()
    assert (found.st_uid, stat.S_IMODE(found.st_mode)) == (os.geteuid(), 0o600)
    assert not list(customer.folder.glob("*.part"))
