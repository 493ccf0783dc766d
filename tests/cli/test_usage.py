"""Bad usage and refusals: the right exit code at once, and nothing made; secrets stay secret."""

# ruff: noqa: RUF001 - Chinese has its own punctuation

import time
from pathlib import Path

import pytest
from tests.cli.conftest import COMMAND, until

from bucketpull.cli.commands import COMMANDS

SECRET = "s3cr3t-Pa55w0rd"
SYNC = ("sync", "upyun://photos", "disk1")
BAD = [
    ("frobnicate",),
    ("sync",),
    ("sync", "upyun://photos"),
    ("sync", "ftp://photos", "disk1"),
    ("sync", "upyun://", "disk1"),
    (*SYNC, "--frob"),
    (*SYNC, "--cdn-url", "img.example.com"),
    (*SYNC, "--rate", "fast"),
    (*SYNC, "--bandwidth", "quick"),
    (*SYNC, "--concurrency", "0"),
    (*SYNC, "--processes", "0"),
    (*SYNC, "--reserve", "lots"),
    (*SYNC, "--job", "a/b"),
    (*SYNC, "--verify", "sha3"),
    (*SYNC, "disk1"),
    (*SYNC, "--config", "nowhere.toml"),
    (*SYNC, "--summary", "no/such/folder/summary.json"),
    (*SYNC, "--dashboard", "here"),
    ("sync", "upyun://photos", "no/such/disk"),
    ("coordinate", "upyun://photos"),
    ("work", "disk1"),
    ("status", "--job", "nobody"),
    ("failures",),
    ("failures", "--reason", "weather"),
    ("failures", "--limit", "0"),
    ("retry", "--job", "nobody"),
    ("where",),
    ("where", "a.jpg", "--job", "nobody"),
    ("volumes", "--job", "nobody"),
    ("volumes", "lose", "x"),
    ("volumes", "add"),
    ("volumes", "add", "disk1", "--job", "nobody"),
    ("verify",),
    ("verify", "disk1"),
    ("export", "--job", "nobody"),
    ("export", "--format", "csv", "--job", "nobody"),
    ("rebuild",),
    ("rebuild", "disk1", "--job", "nobody"),
    ("rebuild", "upyun://photos"),
    ("plan", "upyun://photos"),
    ("plan", "upyun://photos", "no/such/disk"),
    ("plan", "upyun://photos", "disk1", "--sample", "0"),
    ("doctor", "ftp://photos"),
    ("simulate", "--spec", "chaos"),
    ("help", "me"),
]


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_usage_ends_with_2_and_a_reason_before_anything_is_made(user, service, arguments):
    user.knows(service)
    before = user.everything()

    done = user.run(*arguments, expect=2)

    assert done.stderr.strip()
    assert "Traceback" not in done.stderr
    assert user.everything() == before


def test_missing_credentials_are_named_by_their_variables(user, service):
    user.knows(service)
    del user.environment["UPYUN_PASSWORD"]

    assert "UPYUN_PASSWORD" in user.run(*SYNC, expect=2).stderr


def test_an_unknown_name_in_a_file_is_named_with_the_likely_one(user, service):
    (user.folder / "job.toml").write_text('cdn-ulr = "https://img.example.com"\n')

    told = user.knows(service).run(*SYNC, "--config", "job.toml", expect=2).stderr

    assert "cdn_ulr" in told
    assert "cdn_url" in told


AT_ONCE_SECONDS = (
    30  # of a busy machine that imports everything for the first time; tried again it would be minutes
)
REFUSED = {
    "wrong password": ({"UPYUN_PASSWORD": "wrong"}, SYNC, "check UPYUN_OPERATOR and UPYUN_PASSWORD"),
    "unknown operator": ({"UPYUN_OPERATOR": "nobody"}, SYNC, "check UPYUN_OPERATOR and UPYUN_PASSWORD"),
    "unknown bucket": (
        {},
        ("sync", "upyun://nothing", "disk1"),
        "check their names (upyun://nothing: HTTP 401",
    ),
    "missing folder": (
        {},
        ("sync", "upyun://photos/1999", "disk1"),
        "check their names (upyun://photos/1999: ",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_ends_with_4_within_seconds_and_a_remedy_and_nothing_is_written(user, service, case):
    environment, arguments, told = REFUSED[case]
    user.knows(service).environment |= environment
    before = user.everything()

    began = time.monotonic()
    done = user.run(*arguments, expect=4)

    assert time.monotonic() - began < AT_ONCE_SECONDS
    assert done.stderr.startswith("bucketpull: the source refuses us: ")
    assert done.stderr.count("refuses") == 1
    assert told in done.stderr
    assert user.everything() == before


def test_without_a_command_its_help_is_shown(user):
    done = user.run(expect=2)

    assert done.stderr.startswith("Usage: bucketpull [OPTIONS] COMMAND")
    assert "\n  bucketpull demo\n" in done.stderr


def test_errors_are_told_in_chinese_where_the_locale_is(user, service):
    user.knows(service).environment |= {"LC_ALL": "zh_CN.UTF-8", "PYTHONUTF8": "1"}

    assert "磁盘 disk1：给出了两次" in user.run(*SYNC, "disk1", expect=2).stderr
    user.environment["UPYUN_PASSWORD"] = "wrong"
    assert "凭证不被接受；请检查 UPYUN_OPERATOR 和 UPYUN_PASSWORD" in user.run(*SYNC, expect=4).stderr


def test_a_source_that_nobody_can_reach_is_told_with_its_reason_and_a_remedy(user, service):
    user.knows(service).environment["BUCKETPULL_API_URL"] = "http://127.0.0.1:1"
    process = user.start(*SYNC)
    try:
        lines = iter(process.stdout.readline, "")
        told = next(line for line in lines if "source.silent" in line)
    finally:
        process.terminate()
        process.communicate()

    assert "no connection (connect, " in told
    assert told.endswith("; check the network, the firewall, and the proxy if there is one\n")


def test_secrets_are_never_in_the_output(user, bucket):
    simulator = bucket("flat:20,size=500", operators=[f"operator:{SECRET}"])
    user.knows(simulator)
    (user.folder / "job.toml").write_text(f'password = "{SECRET}"\ntoken_secret = "{SECRET}"\n')
    commands = [
        (*SYNC, "--config", "job.toml"),
        (*SYNC, "--json"),
        ("status", "--json"),
        ("doctor", "upyun://photos", "disk1"),
        ("doctor", "--broker", f"amqp://user:{SECRET}@127.0.0.1:1/"),
        ("plan", "upyun://photos", "disk1"),
        ("verify", "disk1", "--repair"),
        ("sync", "upyun://nothing", "disk1"),
        ("volumes", "--json"),
    ]

    for command in commands:
        done = user.run(*command, expect=None)
        assert SECRET not in done.stdout + done.stderr, command

    for path in user.folder.rglob("*"):
        if path.is_file() and path.name != "job.toml":
            assert SECRET.encode() not in path.read_bytes(), path


def test_secrets_are_not_in_the_arguments_of_any_process(user, bucket):
    simulator = bucket("flat:400,size=500", operators=[f"operator:{SECRET}"])
    process = user.knows(simulator).start(*SYNC, "--rate", "40", "--json")
    try:
        until((user.folder / "disk1").is_dir, "the sync to begin")
        lines = [read(path) for path in Path("/proc").glob("[0-9]*/cmdline")]
        assert any(str(COMMAND).encode() in line for line in lines)
        assert not [line for line in lines if SECRET.encode() in line]
    finally:
        process.terminate()
        process.communicate()


def test_there_is_no_flag_for_a_secret(user):
    for command in ("sync", "coordinate", "work", "plan", "doctor", "verify"):
        told = user.says(command, "--help")
        assert "--password" not in told
        assert "--token" not in told


def test_the_exit_codes_are_explained(user):
    told = user.says("help", "exit-codes")

    codes = [line[:3].strip() for line in told.splitlines()]
    assert [code for code in codes if code] == ["0", "1", "2", "3", "4", "5", "6", "130"]


def test_help_of_a_command_is_what_its_own_option_shows(user):
    for command in ("sync", "volumes", "help"):
        assert user.says("help", command) == user.says(command, "--help")


def test_help_breaks_no_word_and_cuts_nothing_off_at_80_columns(user):
    user.environment["COLUMNS"] = "80"
    for command in (("help", "exit-codes"), *((name, "--help") for name in COMMANDS)):
        told = user.says(*command)
        # An example stays on one line, to be copied.
        assert [line for line in told.splitlines() if len(line) > 80 and "bucketpull " not in line] == []
    assert "..." not in user.says("volumes", "--help").partition("Commands:")[2]


def read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_volume_inside_of_another_is_refused_before_anything_is_made(user, bucket):
    user.knows(bucket("flat:3,size=10")).run(*SYNC, "--quiet")

    said = user.run("sync", "upyun://photos", "disk1/deeper", "--job", "other", expect=2).stderr

    assert "lies inside of the volume" in said
    assert not (user.folder / "disk1/deeper").exists()
