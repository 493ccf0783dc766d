"""A folder for what is too long for memory and needed only for the while."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from bucketpull.domain.errors import ConfigError


@contextmanager
def scratch_folder(name: str, below: str | None = None) -> Iterator[str]:
    """Make a folder that only this user can enter, below `below` or else TMPDIR, and remove it in the end.

    Raises:
        ConfigError: There is no place where one can be made, as in a container with a read-only root and without /tmp.

    """
    try:
        folder = tempfile.TemporaryDirectory(prefix=f"bucketpull-{name}-", dir=below)
    except OSError as error:
        raise ConfigError(
            f"temporary files cannot be written ({error.strerror}); set TMPDIR to a folder where they can be"
        ) from error
    with folder as path:
        yield path
