"""The shell completes commands, paths and the names of jobs."""

import subprocess

import pytest


def completed(user, *words: str) -> list[str]:
    """Return what bash is told for the last of some words; `file` and `dir` mean that it completes them itself."""
    user.environment |= {
        "_BUCKETPULL_COMPLETE": "bash_complete",
        "COMP_WORDS": "\n".join(["bucketpull", *words]),
        "COMP_CWORD": str(len(words)),
    }
    return [line.removeprefix("plain,") for line in user.says().splitlines()]


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        (("sync", "upyun://photos", "/mnt/d"), "file"),
        (("sync", "--config", "j"), "file"),
        (("sync", "--log-file", "/var/l"), "file"),
        (("status", "--state", "sta"), "dir"),
        (("volumes", "add", "--state", "sta"), "dir"),
    ],
)
def test_paths_are_completed_by_the_shell(user, words, kind):
    assert completed(user, *words) == [f"{kind},{words[-1]}"]


def test_jobs_are_completed_by_name(user, service):
    user.knows(service).run("sync", "upyun://photos", "disk1", "--job", "nightly")

    assert completed(user, "status", "--job", "ni") == ["nightly"]


@pytest.mark.parametrize(
    ("shell", "path", "job"),
    [("zsh", ["dir", "sta", "_"], ["plain", "nightly", "_"]), ("fish", ["dir,sta"], ["plain,nightly"])],
)
def test_other_shells_are_told_the_same(user, service, shell, path, job):
    user.knows(service).run("sync", "upyun://photos", "disk1", "--job", "nightly")

    for words, wanted in (("bucketpull status --state", path), ("bucketpull status --job", job)):
        begun = wanted[-1].rpartition(",")[2] if shell == "fish" else wanted[1]
        begun = begun[:3]
        user.environment |= {"_BUCKETPULL_COMPLETE": f"{shell}_complete", "COMP_WORDS": f"{words} {begun}"}
        user.environment["COMP_CWORD"] = begun if shell == "fish" else "3"
        assert user.says().splitlines() == wanted


def test_commands_are_completed(user):
    assert completed(user, "coo") == ["coordinate"]


@pytest.mark.parametrize("shell", ["bash"])
def test_the_script_is_what_the_shell_reads(user, shell):
    script = user.says("completion", shell)

    subprocess.run([shell, "-n"], input=script, text=True, check=True, timeout=30)
