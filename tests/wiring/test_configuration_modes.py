"""Who else may read or write a configuration or a key is told."""

import os

import pytest

from bucketpull.transport.job_key import new_key
from bucketpull.wiring.job_key_file import worker_key
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.settings_loader import _from_file


@pytest.mark.parametrize(("mode", "told"), [(0o644, True), (0o640, True), (0o600, False)])
@pytest.mark.parametrize(
    "line", ['password = "secret"', 'broker = "amqp://u:secret@h/"', 'job-key = "secret"']
)
def test_a_password_that_others_can_read_is_told_and_not_shown(tmp_path, capsys, mode, told, line):
    file = tmp_path / "job.toml"
    file.write_text(line + "\n")
    file.chmod(mode)
    _from_file(str(file))
    said = capsys.readouterr().err
    assert (
        f"others can read the {line.partition(' ')[0].replace('-', '_')} in it; chmod 600 {file}" in said
    ) is told
    assert "secret" not in said


def test_a_configuration_without_secrets_may_be_read(tmp_path, capsys):
    file = tmp_path / "job.toml"
    file.write_text('reserve = "5%"\n')
    file.chmod(0o644)
    _from_file(str(file))
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_configuration_to_which_others_can_write_is_told(tmp_path, capsys, mode):
    file = tmp_path / "job.toml"
    file.write_text('on-end = "true"\n')
    file.chmod(mode)
    _from_file(str(file))
    assert f"--config {file}: others can write to it" in (said := capsys.readouterr().err)
    assert f"chmod go-w {file}" in said


@pytest.fixture
def foreign(tmp_path, monkeypatch):
    """A file of another user's; who may not give files away becomes somebody else."""
    file = tmp_path / "theirs"
    file.touch(0o600)
    if os.geteuid() == 0:
        os.chown(file, 65534, 65534)
    else:
        monkeypatch.setattr("os.geteuid", lambda: 65534)
    return file


def test_a_configuration_of_another_user_is_told(foreign, capsys):
    foreign.write_text('on-end = "true"\n')
    _from_file(str(foreign))
    said = capsys.readouterr().err
    assert (
        f"--config {foreign}: belongs to user {foreign.stat().st_uid}, who can change it at any time" in said
    )
    assert f"chown {os.geteuid()} {foreign}" in said


def test_a_job_key_of_another_user_is_told_and_not_shown(foreign, capsys):
    foreign.write_text(text := new_key())
    worker_key(Settings(job_key_file=str(foreign)))
    said = capsys.readouterr().err
    assert f"job key {foreign}: belongs to user {foreign.stat().st_uid}" in said
    assert text not in said


def test_a_configuration_behind_a_link_of_another_user_is_told(tmp_path, foreign, capsys):
    foreign.write_text('on-end = "true"\n')
    link = tmp_path / "link"
    link.symlink_to(foreign)
    if os.geteuid() == 0:
        os.chown(foreign, 0, 0)
        os.lchown(link, 65534, 65534)
    _from_file(str(link))
    assert f"--config {link}: {link} is a link of user" in capsys.readouterr().err
