"""The journal's folder is its user's alone to change: who else may write there can put links in the places of our files."""

import os
import stat
from pathlib import Path

from bucketpull.domain.errors import ConfigError


def check_ours(folder: Path) -> None:
    """Make sure that nobody but this user and root may change what lies in a folder that is there. A group may, if it was let.

    Raises:
        ConfigError: Somebody else may.
        OSError: It cannot be looked at.

    """
    found = folder.stat()
    if found.st_uid not in {os.geteuid(), 0}:
        raise ConfigError(
            f"journal {folder}: its folder belongs to user {found.st_uid}; "
            "run as that user, or name another folder with --state"
        )
    if found.st_mode & stat.S_IWOTH:
        raise ConfigError(
            f"journal {folder}: everybody may write in its folder; "
            "chmod o-w it, or name another folder with --state"
        )
