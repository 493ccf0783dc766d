"""What others of this machine can put in the way of a command, and what it says."""

import os
import shutil
import stat

import pytest

STRANGER = 54_321  # somebody else on this machine, without an account


@pytest.fixture
def state(service, user):
    """The folder of a job's journal."""
    folder = user.folder / "state"
    user.knows(service).run("sync", "upyun://photos", "v1", "--state", folder, "--quiet")
    return folder


@pytest.mark.parametrize("command", [("status",), ("failures",), ("retry",), ("volumes",)])
def test_a_journal_that_others_can_replace_is_neither_read_nor_changed(user, state, command):
    """SQLite opens it by path, and reading may write beside it."""
    link, open_to_all, theirs = (user.folder / name for name in ("link", "open", "theirs"))
    link.symlink_to(state)
    os.lchown(link, STRANGER, STRANGER)
    shutil.copytree(state, open_to_all)
    open_to_all.chmod(0o777)
    shutil.copytree(state, theirs)
    os.chown(theirs, STRANGER, STRANGER)
    for folder, told in (
        (link, f"{link} is a link of user {STRANGER}"),
        (open_to_all, "everybody may write in its folder"),
        (theirs, f"its folder belongs to user {STRANGER}; run as that user"),
    ):
        assert told in user.run(*command, "--state", folder, expect=2).stderr


def test_who_can_put_another_folder_in_the_place_of_the_journal_is_warned_of(user):
    above = user.folder / "above"
    above.mkdir()
    above.chmod(0o777)
    assert f"everybody may write in {above}" in user.says("doctor", "--state", above / "state")
    above.chmod(0o1777)
    assert f"{above}" not in user.says("doctor", "--state", above / "state", "--quiet")
    os.chown(above, STRANGER, STRANGER)
    text = user.says("doctor", "--state", above / "state")
    assert f"{above} belongs to user {STRANGER}" in text
    assert "name a folder elsewhere" in text


def test_the_folder_of_a_journal_that_is_made_anew_is_for_its_user_alone(user, state):
    user.run("rebuild", "v1", "--state", user.folder / "again", "--job", "photos")
    assert stat.S_IMODE((user.folder / "again").stat().st_mode) == 0o700


def test_a_copy_alone_does_not_take_the_place_of_the_volume_that_it_was_made_of(user, state):
    """What would be stored on it, no other would have; a disk that was moved there is the volume itself."""
    shutil.copytree(user.folder / "v1", user.folder / "copied")
    before = (user.folder / "copied" / ".bucketpull" / "ledger").read_bytes()
    sync = ("sync", "upyun://photos", "copied", "--state", state, "--quiet")

    assert "are both the volume" in user.run(*sync, expect=2).stderr
    assert (user.folder / "copied" / ".bucketpull" / "ledger").read_bytes() == before
    assert "a copy of a disk is the same volume" in user.says("doctor", "v1", "copied", expect=3)
    shutil.rmtree(user.folder / "v1")
    user.run(*sync)
