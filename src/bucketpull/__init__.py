"""Pull a whole object-storage bucket onto your own disks."""

import os

TYPE_CHECKING = False  # `typing` is not imported before the start's collections of garbage are put off
if TYPE_CHECKING:
    from bucketpull.reading.bucket import Bucket

__all__ = ["__version__", "open"]
__version__ = "0.1.0"


def open(*volumes: str | os.PathLike[str]) -> "Bucket":  # noqa: A001 - `bucketpull.open`, as in `tarfile.open`
    """Open what was pulled onto one or more volumes, to read it by key.

    with bucketpull.open("/mnt/d1", "/mnt/d2") as bucket:
        data = bucket.read("2024/img-000.jpg")

    Raises:
        bucketpull.domain.errors.VolumeError: A volume is not there, or two are the same one.

    """
    from bucketpull.reading.bucket import Bucket

    return Bucket(volumes)
