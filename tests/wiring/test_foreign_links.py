"""Nothing is written where a link of somebody else leads."""

import os

import pytest

from bucketpull.domain.errors import ConfigError
from bucketpull.wiring.file_checks import refuse_foreign_link
from bucketpull.wiring.volume_opening import check_paths


@pytest.fixture
def theirs(tmp_path):
    """A link of another user's to a folder of ours; to make it takes root."""
    (tmp_path / "folder").mkdir()
    link = tmp_path / "link"
    link.symlink_to("folder")
    os.lchown(link, 65534, 65534)
    return link


def test_a_volume_behind_one_is_refused_before_anything_is_made(tmp_path, theirs):
    with pytest.raises(ConfigError, match=f"volume {theirs}: {theirs} is a link of user 65534") as error:
        check_paths([str(theirs)])

    assert "name the folder itself" in str(error.value)
    assert os.listdir(tmp_path / "folder") == []


def test_a_volume_below_one_is_refused(theirs):
    with pytest.raises(ConfigError, match="is a link of user 65534"):
        check_paths([str(theirs / "disk")])


def test_a_folder_behind_a_link_of_ours_is_used(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")

    assert check_paths([str(tmp_path / "link")]) == [str(tmp_path / "folder")]
    refuse_foreign_link("--state", tmp_path / "link")
