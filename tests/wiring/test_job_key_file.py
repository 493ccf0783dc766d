"""The key by which a worker speaks to its coordinator."""

import os

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.wiring.job_key_file import FILE, coordinator_key, told_key, worker_key
from bucketpull.wiring.settings import Settings


def test_a_job_key_file_that_is_named_and_not_there_is_said(tmp_path):
    path = str(tmp_path / "photos.key")
    with pytest.raises(
        ConfigError, match="there is no such file; copy the coordinator's job-key there"
    ) as error:
        worker_key(Settings(job="photos", job_key_file=path))
    assert path in str(error.value)


def test_a_worker_that_is_given_no_key_is_told_what_to_give(tmp_path):
    with pytest.raises(ConfigError, match="no job key: give --job-key-file FILE"):
        worker_key(Settings(job="photos", state=str(tmp_path)))


def test_a_key_that_is_put_there_while_the_coordinator_begins_is_used_and_stays(tmp_path, capsys):
    settings = Settings(job="photos", state=str(tmp_path))
    known = coordinator_key(settings)
    theirs = "k" * 43
    (tmp_path / FILE).write_text(theirs + "\n")
    (tmp_path / FILE).chmod(0o600)

    key = told_key(settings, known)

    assert key.secret == theirs.encode()
    assert (tmp_path / FILE).read_text() == theirs + "\n"
    assert f"job key {key.id} is used" in capsys.readouterr().err


def test_a_key_is_made_where_there_is_none(tmp_path, capsys):
    settings = Settings(job="photos", state=str(tmp_path))

    key = told_key(settings, coordinator_key(settings))

    assert coordinator_key(settings) == key
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert f"job key {key.id} is made" in capsys.readouterr().err


def test_what_a_killed_process_with_our_id_left_of_a_key_is_in_nobody_s_way(tmp_path):
    (tmp_path / f".{FILE}.{os.getpid()}").write_text("k" * 20)
    settings = Settings(job="photos", state=str(tmp_path))

    key = told_key(settings, coordinator_key(settings))

    assert coordinator_key(settings) == key
    assert [each.name for each in tmp_path.iterdir()] == [FILE]
