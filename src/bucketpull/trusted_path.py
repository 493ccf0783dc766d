"""Follows the symbolic links on the way to a path only where this user or root made them: whoever owns a link may lead it anywhere.

It goes by the descriptor of a folder and one name in it, so that what is swapped meanwhile leads nowhere else.
"""

import errno
import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import msgspec

# O_DIRECTORY: a folder that is mounted when it is first entered is.
_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LOOK: Final = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS: Final = 40  # as many as Linux follows: path_resolution(7)


class ForeignLinkError(OSError):
    """A link on the way to a path belongs to neither this user nor root."""

    def __init__(self, link: str, user: int) -> None:
        self.words = (
            f"{link} is a link of user {user}, who may lead it anywhere; "
            "name the folder itself, or make the link yourself"
        )
        super().__init__(errno.EPERM, self.words)
        self.link, self.user = link, user


class LastStep(msgspec.Struct, frozen=True):
    """Where the links on the way to a path end."""

    folder: int  # its descriptor
    name: str  # in that folder; there need be none
    linked: bool  # a link that is the path itself has led here
    magic: bool  # what /proc shows as a link, a descriptor above all: only the kernel can follow it

    def open(self, flags: int, mode: int = 0o666) -> int:
        """Open it, and no link that was put there since."""
        return os.open(self.name, flags | (0 if self.magic else os.O_NOFOLLOW), mode, dir_fd=self.folder)


def foreign_link(path: str | os.PathLike[str]) -> ForeignLinkError | None:
    """Return the first symbolic link on the way to a path, at any component and hop by hop, that belongs to neither this user nor root; None where there is none."""
    try:
        with last_step(path):
            return None
    except ForeignLinkError as error:
        return error
    except OSError:
        return None


def open_folder(path: str | os.PathLike[str], flags: int = os.O_RDONLY) -> int:
    """Open a folder, to be listed; with `os.O_PATH` only to reach what is in it.

    Raises:
        ForeignLinkError: A link of somebody else leads there.
        OSError: It is not there, or cannot be read.

    """
    with last_step(path) as step:
        return step.open(flags | os.O_DIRECTORY | os.O_CLOEXEC)


def make_folder(path: str | os.PathLike[str], *, parents: bool = False) -> None:
    """Make a folder where there is none, with `parents` those above it too.

    Raises:
        ForeignLinkError: A link of somebody else leads there.
        OSError: It cannot be made.

    """
    try:
        with last_step(path) as step, suppress(FileExistsError):
            os.mkdir(step.name, dir_fd=step.folder)
    except FileNotFoundError:
        above = os.path.dirname(os.path.abspath(path))
        if not parents or os.path.lexists(above):
            raise
        make_folder(above, parents=True)
        make_folder(path)


def make_private_folder(path: str | os.PathLike[str]) -> None:
    """Make a folder where there is none, and those above it, for this user alone, whatever the umask is.

    Raises:
        OSError: It cannot be made.

    """
    above = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(above):
        make_private_folder(above)
    os.makedirs(path, 0o700, exist_ok=True)


def user_folder(variable: str, usual: str) -> str | None:
    """Return our folder below a base folder of this user, by the XDG Base Directory Specification; None where the user has no home.

    `variable` names the base folder; where it does not, that is `usual` in the home.
    """
    base = os.environ.get(variable, "")
    if os.path.isabs(base):
        return os.path.join(base, "bucketpull")
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        with suppress(KeyError):  # a user without an entry, as in a container
            home = pwd.getpwuid(os.getuid()).pw_dir
    return os.path.join(home, usual, "bucketpull") if os.path.isabs(home) else None


@contextmanager
def last_step(path: str | os.PathLike[str]) -> Iterator[LastStep]:
    """Follow the links on the way to a path, which must belong to this user or to root, up to what is no link.

    Raises:
        OSError: A link is somebody else's, there are too many, or a folder on the way is not there.

    """
    text = os.fspath(path)
    steps, folder = text.split("/")[::-1], os.open("/" if text.startswith("/") else ".", _FOLDER)
    linked, links = False, 0
    try:
        while True:
            name = steps.pop() or "."
            target, magic = _link(folder, name)
            if target is not None and not magic:
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), text)
                linked = linked or not steps
                steps += target.split("/")[::-1]
                if target.startswith("/"):
                    folder = _entered(folder, "/", 0)
            elif steps:
                folder = _entered(folder, name, 0 if magic else os.O_NOFOLLOW)
            else:
                yield LastStep(folder, name, linked, magic)
                return
    finally:
        os.close(folder)


def _link(folder: int, name: str) -> tuple[str | None, bool]:
    """Return where a link leads, None for what is none, and whether only the kernel can follow it."""
    try:
        fd = os.open(name, _LOOK, dir_fd=folder)
    except FileNotFoundError:
        return None, False
    try:
        found = os.fstat(fd)
        if not stat.S_ISLNK(found.st_mode):
            return None, False
        if found.st_uid not in trusted_users():
            link = os.path.join(os.readlink(f"/proc/self/fd/{folder}"), name)
            raise ForeignLinkError(link, found.st_uid)
        return os.readlink("", dir_fd=fd), found.st_dev == os.stat("/proc").st_dev
    finally:
        os.close(fd)


def _entered(folder: int, name: str, flags: int) -> int:
    """Go from one folder, which is closed, to another."""
    inner = os.open(name, _FOLDER | flags, dir_fd=folder)
    os.close(folder)
    return inner


def trusted_users() -> set[int]:
    """Return the users whose files are written to: this one and root."""
    return {os.geteuid(), 0}
