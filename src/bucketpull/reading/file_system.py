"""A pulled bucket as a file system of fsspec, for pandas, PyArrow, Dask and others: `bucketpull://KEY`.

Give the volumes as `storage_options={"volumes": ["/mnt/d1", "/mnt/d2"]}`. It is read-only.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, ClassVar, TypeVar

from fsspec import AbstractFileSystem

from bucketpull.reading.bucket import Bucket

T = TypeVar("T")


class BucketFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """Reads objects by key. Directories follow from the slashes in keys; listing one goes through the whole ledger."""

    protocol: ClassVar[str] = "bucketpull"
    root_marker: ClassVar[str] = ""

    def __init__(self, volumes: Sequence[str] | str = (), **options: Any) -> None:  # noqa: ANN401 - those of fsspec
        """Open volumes. Raises VolumeError where one is not there."""
        super().__init__(**options)
        self._bucket = Bucket([volumes] if isinstance(volumes, str) else list(volumes))

    def info(self, path: str, **options: Any) -> dict[str, Any]:  # noqa: ANN401
        """Return what is known of an object, or of a directory."""
        del options
        path = self._strip_protocol(path)
        try:
            found = self._bucket.stat(path)
        except KeyError:
            below = path.rstrip("/") + "/" if path else ""
            if next(self._bucket.keys(below), None) is None:
                raise FileNotFoundError(path) from None
            return _directory(path.rstrip("/"))
        known = {"size": found.size, "mtime": found.mtime, "etag": found.etag}
        return {"name": path, "type": "file"} | known

    def ls(self, path: str, detail: bool = True, **options: Any) -> list[Any]:  # noqa: ANN401
        """Return what lies directly in a directory."""
        del options
        path = self._strip_protocol(path).rstrip("/")
        below = path + "/" if path else ""
        files: list[dict[str, Any]] = []
        folders: set[str] = set()
        for key in self._bucket.keys(below):
            name, slash, _ = key[len(below) :].partition("/")
            if slash:
                folders.add(below + name)
            else:
                files.append(self.info(key))
        found = [*map(_directory, sorted(folders)), *sorted(files, key=lambda each: str(each["name"]))]
        if not found:
            return [self.info(path)] if detail else [str(self.info(path)["name"])]
        return found if detail else [each["name"] for each in found]

    def cat_file(
        self,
        path: str,
        start: int | None = None,
        end: int | None = None,
        **options: Any,  # noqa: ANN401
    ) -> bytes:
        """Return an object, or the part of it from byte `start` up to `end`; negative numbers count from its end."""
        del options

        def read(key: str) -> bytes:
            if start is None and end is None:
                return self._bucket.read(key)
            first, last, _ = slice(start, end).indices(self._bucket.stat(key).size)
            return self._bucket.read(key, first, max(0, last - first))

        return _of_key(self._strip_protocol(path), read)

    def _open(self, path: str, mode: str = "rb", **options: Any) -> Any:  # noqa: ANN401
        del options
        if mode != "rb":
            msg = f"{path}: opened with {mode!r}; what was pulled is read-only"
            raise PermissionError(msg)
        return _of_key(path, self._bucket.open)


def _of_key(path: str, read: Callable[[str], T]) -> T:
    """Read the key that a path stands for: fsspec takes a slash off its end, which a key may have.

    Raises:
        FileNotFoundError: There is none.

    """
    for key in (path, path + "/"):
        with suppress(KeyError):
            return read(key)
    raise FileNotFoundError(path)


def _directory(path: str) -> dict[str, Any]:
    return {"name": path, "size": 0, "type": "directory"}
