"""Files that say what a job does: where somebody else decides what is in them, it is told."""

import os
import stat

from bucketpull.wiring.output import tell


def warn_of_owner(what: str, path: str | os.PathLike[str], found: os.stat_result) -> None:
    """Say so where a file belongs to neither this user nor root; a pipe or a terminal comes from whoever started us."""
    user = os.geteuid()
    if stat.S_ISREG(found.st_mode) and found.st_uid not in {user, 0}:
        tell(
            f"{what} {path}: belongs to user {found.st_uid}, who can change it at any time; chown {user} {path}"
        )


def warn_of_writers(what: str, path: str | os.PathLike[str], found: os.stat_result) -> None:
    """Say so where others can write to a file."""
    if stat.S_ISREG(found.st_mode) and found.st_mode & 0o022:
        tell(f"{what} {path}: others can write to it, and have this user run commands; chmod go-w {path}")
