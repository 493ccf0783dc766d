"""The objects that are pulled: their names and sizes by formula, their bytes in a folder, their listing as pages."""

import json
import os
import random
import tarfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

BUCKET = "bench"
OBJECTS_PER_DIRECTORY = 1_000
LISTED_AT = 1_600_000_000  # every object's mtime, Unix seconds
END = "g2gCZAAEbmV4dGQAA2VvZg"


@dataclass(frozen=True)
class Bucket:
    """A set of objects: `sizes[i]` bytes under `keys[i]`."""

    name: str
    keys: list[str]
    sizes: list[int]

    @property
    def bytes(self) -> int:
        """All objects together."""
        return sum(self.sizes)

    @property
    def directories(self) -> list[str]:
        """The directories that hold objects."""
        return sorted({key.rpartition("/")[0] for key in self.keys})


def uniform(name: str, size: int, count: int) -> Bucket:
    """Make a bucket of equal objects."""
    return Bucket(name, _keys(count), [size] * count)


def mixed(count: int) -> Bucket:
    """Make a bucket of images as they are found: most near 20 KiB, few of some 100 KiB, up to 4 MiB."""
    chance = random.Random(count)
    sizes = [min(4 << 20, max(200, int(chance.lognormvariate(9.9, 1.0)))) for _ in range(count)]
    return Bucket("mix", _keys(count), sizes)


def _keys(count: int) -> list[str]:
    return [f"photos/{index // OBJECTS_PER_DIRECTORY:03d}/img-{index:07d}.jpg" for index in range(count)]


def write_objects(bucket: Bucket, folder: Path) -> None:
    """Create the files that the origin serves; each begins with its own key, the rest is noise."""
    noise = random.Random(0).randbytes(max(bucket.sizes))
    for directory in bucket.directories:
        (folder / directory).mkdir(parents=True, exist_ok=True)
    for key, size in zip(bucket.keys, bucket.sizes, strict=True):
        (folder / key).write_bytes((key.encode() + noise)[:size])
        os.utime(folder / key, (LISTED_AT, LISTED_AT))  # answers say when the object was changed


def write_pages(bucket: Bucket, folder: Path) -> None:
    """Create the listing answers, a file a directory: all pages here are the only one of their directory."""
    listing: dict[str, dict[str, dict[str, object]]] = {"": {}}
    for key, size in zip(bucket.keys, bucket.sizes, strict=True):
        directory, _, name = key.rpartition("/")
        if directory not in listing:
            _list_directory(listing, directory)
        listing[directory][name] = _entry(name, "image/jpeg", size)
    for directory, entries in listing.items():
        target = folder / BUCKET / directory
        target.mkdir(parents=True, exist_ok=True)
        page = {"files": list(entries.values()), "iter": END}
        (target / "page.json").write_text(json.dumps(page, separators=(",", ":")))


def _list_directory(listing: dict[str, dict[str, dict[str, object]]], directory: str) -> None:
    parent, _, name = directory.rpartition("/")
    if parent not in listing:
        _list_directory(listing, parent)
    listing[parent][name] = _entry(name, "folder", 0)
    listing[directory] = {}


def _entry(name: str, kind: str, size: int) -> dict[str, object]:
    return {"type": kind, "length": size, "name": name, "last_modified": LISTED_AT}


def urls(bucket: Bucket, base: str) -> list[str]:
    """Return each object's address."""
    return [f"{base}/{quote(key)}" for key in bucket.keys]


def is_whole(bucket: Bucket, folder: Path) -> bool:
    """Tell whether a folder holds every object in its full size."""
    return all(
        (folder / key).is_file() and (folder / key).stat().st_size == size
        for key, size in zip(bucket.keys, bucket.sizes, strict=True)
    )


def is_packed(bucket: Bucket, folder: Path) -> bool:
    """Whether every object lies in a pack below a folder, with its size."""
    sizes: dict[str, int] = {}
    for pack in (folder / "packs").glob("*.tar"):
        with tarfile.open(pack) as archive:
            sizes |= {member.name: member.size for member in archive}
    return sizes == dict(zip(bucket.keys, bucket.sizes, strict=True))
