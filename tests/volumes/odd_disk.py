"""A file system with oddities, through FUSE: folds names and keeps dates as FAT does, is slow, and fails when told.

Usage: odd_disk.py BACKING MOUNT_POINT fold|ascii|exact [SECONDS], which each write takes; `ascii` folds letters of ASCII alone. While BACKING/../fault holds
`OPERATION ERRNO [PART]`, that operation fails so, with PART only where a path contains it.
"""

import errno
import os
import sys
import time
import unicodedata
from pathlib import Path

import mfusepy

_STAT = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
_TIMES = ("st_atime", "st_mtime", "st_ctime")
_FAILING = {"create", "write", "flush", "utimens", "rename", "mkdir", "readdir", "getattr"}


def _failing(operation, number, parts):
    def call(*arguments):
        if not parts or any(isinstance(path, str) and parts[0] in path for path in arguments):
            raise mfusepy.FuseOSError(number)
        return operation(*arguments)

    return call


class OddDisk(mfusepy.Operations):
    use_ns = True

    def __init__(self, backing, names, write_seconds=0.0):
        self.write_seconds = write_seconds
        self.backing = backing
        self.fault = Path(backing).parent / "fault"
        self.fold = names == "fold"
        self.ascii = names == "ascii"

    def __getattribute__(self, name):
        """Every operation is looked up here first."""
        operation = object.__getattribute__(self, name)
        if name in _FAILING and (fault := object.__getattribute__(self, "fault")).exists():
            wanted, number, *parts = fault.read_text().split()
            if wanted == name:
                return _failing(operation, int(number), parts)
        return operation

    def _at(self, path):
        if self.ascii:
            path = os.fsdecode(os.fsencode(path).lower())
        return self.backing + (unicodedata.normalize("NFD", path).casefold() if self.fold else path)

    def getattr(self, path, fh=None):
        try:
            found = os.lstat(self._at(path))
        except OSError as error:
            raise mfusepy.FuseOSError(error.errno or errno.EIO) from error
        times = {name: getattr(found, name + "_ns") for name in _TIMES}
        if self.fold:  # FAT keeps even seconds, and no date of change
            times["st_mtime"] = times["st_ctime"] = times["st_mtime"] // 2_000_000_000 * 2_000_000_000
        return {**{name: getattr(found, name) for name in _STAT}, **times}

    def readdir(self, path, fh):
        return [".", "..", *os.listdir(self._at(path))]

    def statfs(self, path):
        found = os.statvfs(self.backing)
        names = (
            "f_bsize",
            "f_frsize",
            "f_blocks",
            "f_bfree",
            "f_bavail",
            "f_files",
            "f_ffree",
            "f_favail",
            "f_namemax",
        )
        return {name: getattr(found, name) for name in names}

    def mkdir(self, path, mode):
        os.mkdir(self._at(path), mode)

    def rmdir(self, path):
        os.rmdir(self._at(path))

    def unlink(self, path):
        os.unlink(self._at(path))

    def rename(self, old, new):
        os.rename(self._at(old), self._at(new))

    def create(self, path, mode, fi=None):
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC, mode)

    def open(self, path, flags):
        return os.open(self._at(path), flags & ~os.O_NOFOLLOW)

    def read(self, path, size, offset, fh):
        return os.pread(fh, size, offset)

    def write(self, path, data, offset, fh):
        if self.write_seconds:
            time.sleep(self.write_seconds)
        return os.pwrite(fh, data, offset)

    def truncate(self, path, length, fh=None):
        os.truncate(self._at(path), length)

    def utimens(self, path, times=None):
        os.utime(self._at(path), ns=times)

    def flush(self, path, fh):
        return 0

    def fsync(self, path, datasync, fh):
        os.fsync(fh)

    def release(self, path, fh):
        os.close(fh)


if __name__ == "__main__":
    disk = OddDisk(sys.argv[1], sys.argv[3], float((*sys.argv, 0)[4]))
    mfusepy.FUSE(disk, sys.argv[2], foreground=True, nothreads=True)
