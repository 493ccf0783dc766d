"""The key by which a worker speaks to its coordinator."""

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.wiring.job_key_file import worker_key
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
