"""Checks of who else on this machine may read our secrets, or write where we do."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bucketpull.cli.doctor.machine import Check, failed, passed, warned
from bucketpull.trusted_path import foreign_link
from bucketpull.volumes.identity import HOME

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def check_access(path: str) -> Iterator[Check]:
    """Look at a volume's directory, at our own in it, and at those above it."""
    found = os.stat(path)
    mode = f"mode {stat.S_IMODE(found.st_mode):o}"
    checks = list(_check_own(path))
    if found.st_mode & stat.S_IWOTH:
        remedy = "chmod o-w: they can remove and replace what is stored"
        checks.append(warned(path, f"everybody may write there ({mode})", remedy))
    elif not _is_ours(found):
        remedy = "chown it: that user can remove and replace what is stored"
        checks.append(warned(path, f"belongs to user {found.st_uid}", remedy))
    link = foreign_link(path)
    if link is not None:
        remedy = "name the folder itself: that user may lead it anywhere"
        checks.append(failed(path, f"{link.link} is a link of user {link.user}", remedy))
    checks += _check_above(path, path)
    yield from checks or [passed(path, f"nobody else may write there ({mode})")]


def check_journal_access(folder: Path) -> Iterator[Check]:
    """Look at the folders above that of a journal. The journal's own is refused by all commands where others may write in it."""
    yield from _check_above("journal", folder)


def _check_above(name: str, path: str | Path) -> Iterator[Check]:
    for above in Path(os.path.realpath(path)).parents:
        if not above.exists():  # the folder of a job that is to be
            continue
        state = above.stat()
        if not _is_ours(state):
            remedy = "chown it, or name a folder elsewhere: that user can put another one in its place"
            yield warned(name, f"{above} belongs to user {state.st_uid}", remedy)
        if state.st_mode & stat.S_IWOTH and not state.st_mode & stat.S_ISVTX:
            remedy = "chmod o-w, or they can put another in its place"
            yield warned(name, f"everybody may write in {above}", remedy)


def _check_own(path: str) -> Iterator[Check]:
    own = f"{path}/{HOME}"
    try:
        found = os.lstat(own)
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        yield failed(path, f"{HOME} is a symbolic link", "look at what it leads to, and remove it")
    elif not _is_ours(found):
        remedy = "run bucketpull as that user, or look at what is in it and give it to this one with chown -R"
        yield failed(path, f"{HOME} belongs to user {found.st_uid}", remedy)


def _is_ours(found: os.stat_result) -> bool:
    return found.st_uid in {os.geteuid(), 0}


def check_secrets(*paths: str | None) -> Iterator[Check]:
    """Look at the files that may hold a password or a key; None is none."""
    for path in filter(None, paths):
        try:
            mode = stat.S_IMODE(os.stat(path).st_mode)
        except OSError:
            continue  # whoever needs it says so
        if mode & _OTHERS:
            yield warned(
                "secrets",
                f"others can read {path} (mode {mode:o})",
                f"chmod 600 {path}, if there is a password or key in it",
            )
        else:
            yield passed("secrets", f"nobody else can read {path}")
