"""Whether files and folders can be written and can be trusted, checked before anything is made."""

import errno
import os
import stat
from collections.abc import Sequence
from typing import Final

from bucketpull.domain.errors import ConfigError
from bucketpull.domain.user_input import shown_value
from bucketpull.report.console import tell
from bucketpull.trusted_path import foreign_link

# A full disk is the job's to wait for; descriptors are this process's own.
_MOST_BYTES: Final = 16 << 20
_MOST_SECRET: Final = 10_000
_NO_MATTER: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE})


def refuse_foreign_link(what: str, path: str | os.PathLike[str]) -> None:
    """Make sure that no link of somebody else leads to where we write: it may lead anywhere, at any time.

    Raises ConfigError where one does; `what` names the path.
    """
    link = foreign_link(path)
    if link is not None:
        raise ConfigError(f"{what}: {link.words}")


def check_folder(what: str, path: str) -> None:
    """Make sure that a folder can be written, or made: tried with a file that has no name.

    Raises ConfigError where it cannot; `what` names it.
    """
    there = path
    while not os.path.lexists(there):
        there = os.path.dirname(there) or "."
    if not os.path.isdir(there):
        raise ConfigError(f"{what}: {there} is not a directory; name another one")
    try:
        _make_nameless(there)
    except OSError as error:
        if error.errno not in _NO_MATTER:
            reason = f"{there} cannot be written ({error.strerror})"
            if error.errno == errno.EPERM:
                raise ConfigError(
                    f"{what}: {reason}; let it be changed (chattr -i), or name another"
                ) from error
            raise ConfigError(f"{what}: {reason}; name another one, or mount it so that it can be") from error


def _make_nameless(folder: str) -> None:
    try:
        os.close(os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC))
    except OSError:  # perhaps only because its file system has no such files
        import tempfile

        with tempfile.TemporaryFile(dir=folder):
            pass


def check_file(what: str, path: str) -> None:
    """Make sure that a file can be written at a path later. Raises ConfigError where it is a directory, or none can be made there."""
    if not path:
        raise ConfigError(f"{what} '': name a file")
    if os.path.isdir(path):
        raise ConfigError(f"{what} {path}: is a directory; name a file")
    if os.path.exists(path):
        if not os.access(path, os.W_OK):
            raise ConfigError(f"{what} {path}: cannot be written; name another file")
        return
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ConfigError(f"{what} {path}: {folder} is not a directory; name a file in one")
    check_folder(f"{what} {path}", folder)


def read_settings_file(what: str, path: str) -> tuple[bytes, os.stat_result]:
    """Read what somebody wrote for us: a file, or a pipe from whoever started us. A device has no end.

    Raises:
        ConfigError: It is something else, or too long to have been written by anybody; `what` names the path.
        OSError: It cannot be read.

    """
    kind = os.stat(path).st_mode
    if stat.S_ISCHR(kind) or stat.S_ISBLK(kind):
        raise ConfigError(f"{what}: is a device; name a file")
    with open(path, "rb") as file:
        data = file.read(_MOST_BYTES + 1)
        if len(data) > _MOST_BYTES:
            raise ConfigError(f"{what}: is longer than {_MOST_BYTES >> 20} MiB; name the right file")
        return data, os.fstat(file.fileno())


def read_secret(what: str, path: str | os.PathLike[str]) -> str:
    """Read a file that holds a secret; say so where others can read it, or decide what is in it. Bytes beyond ASCII are replaced.

    Raises OSError where it cannot be read.
    """
    with open(path, encoding="ascii", errors="replace") as file:
        found = os.fstat(file.fileno())
        text = file.read(_MOST_SECRET)
    warn_of_owner(what, path, found)
    if found.st_mode & 0o077:
        tell(f"{what} {path}: others can read it; chmod 600 {path}")
    return text


def check_apart(state: str, volumes: Sequence[str]) -> None:
    """Make sure that the journal has a folder of its own: on a volume if you like, but not its root, and not what is ours there.

    Raises ConfigError where it has none.
    """
    from bucketpull.volumes.identity import HOME  # 5 ms, which a command's help does not need

    place = os.path.realpath(state)
    for volume in volumes:
        if place == volume or is_inside(place, os.path.join(volume, HOME)):
            raise ConfigError(
                f"--state {shown_value(state)}: is volume {volume} itself; name a folder of its own"
            )


def is_inside(path: str, folder: str) -> bool:
    """Say whether a path is a folder, or below it; both are real."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def warn_of_owner(what: str, path: str | os.PathLike[str], found: os.stat_result) -> None:
    """Say so where a file, or a link that leads to it, belongs to neither this user nor root; a pipe or a terminal comes from whoever started us."""
    user, where = os.geteuid(), f"{what} {path}"
    link = foreign_link(path)
    if link is not None:
        tell(f"{where}: {link.words}")
    if stat.S_ISREG(found.st_mode) and found.st_uid not in {user, 0}:
        tell(
            f"{what} {path}: belongs to user {found.st_uid}, who can change it at any time; chown {user} {path}"
        )


def warn_of_writers(what: str, path: str | os.PathLike[str], found: os.stat_result) -> None:
    """Say so where others can write to a file."""
    if stat.S_ISREG(found.st_mode) and found.st_mode & 0o022:
        tell(f"{what} {path}: others can write to it, and have this user run commands; chmod go-w {path}")
