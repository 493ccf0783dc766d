"""Real file systems to try volumes on: sized tmpfs, and ext4 or xfs in a file that can fill up, fail and lose its power."""

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

FREEZE, THAW = 0xC0045877, 0xC0045878  # FIFREEZE, FITHAW
SHUT_DOWN = 0x8004587D  # EXT4_IOC_SHUTDOWN; XFS_IOC_GOINGDOWN is the same
WITHOUT_LOG_FLUSH = 2

ODD_DISK = Path(__file__).with_name("odd_disk.py")

_umount2 = ctypes.CDLL(None, use_errno=True).umount2


def run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@dataclass
class Disk:
    """One mounted file system."""

    path: str
    image: str = ""
    options: str = "loop"
    mounted: bool = False
    server: subprocess.Popen[bytes] | None = None
    command: tuple[str, ...] = ()  # of the server
    _is_shut_down: bool = False

    def serve(self) -> None:
        """Start an odd disk's server, and wait until it is there."""
        self.server = subprocess.Popen(self.command)
        deadline = time.monotonic() + 20
        while not os.path.ismount(self.path):
            assert time.monotonic() < deadline, "FUSE does not work here"
            assert self.server.poll() is None, "FUSE does not work here"
            time.sleep(0.01)
        self.mounted = True

    def unplug(self) -> None:
        """Take an odd disk away while it is in use: from now on it is not connected."""
        assert self.server is not None
        self.server.kill()
        self.server.wait(20)

    def plug_in(self) -> None:
        """Put it back, with all that it held."""
        self.unmount(lazily=True)
        self.serve()

    def hang(self) -> None:
        """Let every call to an odd disk wait until `answer`."""
        assert self.server is not None
        self.server.send_signal(signal.SIGSTOP)

    def answer(self) -> None:
        assert self.server is not None
        self.server.send_signal(signal.SIGCONT)

    def remount(self, options: str) -> None:
        run("mount", "-o", f"remount,{options}", self.path)

    def fail(self, operation: str = "", number: int = 0, part: str = "") -> None:
        """Let every such operation of an odd disk, on paths with this part, fail with this error number; without one, none."""
        fault = Path(self.image, "fault")
        if operation:
            fault.with_suffix(".new").write_text(f"{operation} {number} {part}")
            fault.with_suffix(".new").rename(fault)
        else:
            fault.unlink()

    def freeze(self) -> None:
        """Let every write wait until `thaw`, as a disk does that is far too slow."""
        self._ioctl(FREEZE, 0)

    def thaw(self) -> None:
        self._ioctl(THAW, 0)

    def shut_down(self) -> None:
        """Cut the power: what is not on the disk by now is lost, and all further access fails."""
        self._ioctl(SHUT_DOWN, struct.pack("I", WITHOUT_LOG_FLUSH))
        self._is_shut_down = True

    def unmount(self, lazily: bool = False) -> None:
        deadline = time.monotonic() + 20
        while _umount2(self.path.encode(), 2 if lazily else 0):
            assert time.monotonic() < deadline, f"{self.path} stays busy"
            time.sleep(0.05)
        self.mounted = False

    def mount(self) -> None:
        # A process that ends just now may still hold what was shut down; then the broken file system came back.
        deadline = time.monotonic() + 60
        while self._is_shut_down and subprocess.check_output(["losetup", "--associated", self.image]):
            assert time.monotonic() < deadline, f"{self.image} stays in use"
            time.sleep(0.05)
        self._is_shut_down = False
        run("mount", "-o", self.options, self.image, self.path)
        self.mounted = True

    def _ioctl(self, request: int, argument: int | bytes) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, request, argument)
        finally:
            os.close(fd)


class Disks:
    """Makes file systems and takes them away again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: list[Disk] = []

    def tmpfs(self, size: str = "64m", inodes: int = 0) -> Disk:
        disk = self._new()
        options = f"size={size}" + (f",nr_inodes={inodes}" if inodes else "")
        run("mount", "-t", "tmpfs", "-o", options, "tmpfs", disk.path)
        disk.mounted = True
        return disk

    def ext4(self, megabytes: int = 64, options: str = "loop", *mkfs: str) -> Disk:
        return self._image("mkfs.ext4", "-q", "-F", "-m", "0", *mkfs, megabytes=megabytes, options=options)

    def xfs(self, megabytes: int = 320, options: str = "loop") -> Disk:
        return self._image("mkfs.xfs", "-q", megabytes=megabytes, options=options)

    def odd(self, names: str = "exact", write_seconds: float = 0.0, on: str = "") -> Disk:
        """Make one that folds names (`odd_disk.py`), that is slow, or that fails when told to by `Disk.fail`; `on` is where it keeps all."""
        disk = self._new()
        disk.image = on or f"{disk.path}.odd"
        backing = f"{disk.image}/backing"
        Path(backing).mkdir(parents=True, exist_ok=True)
        disk.command = (sys.executable, str(ODD_DISK), backing, disk.path, names, str(write_seconds))
        disk.serve()
        return disk

    def close(self) -> None:
        for disk in self._made:
            if disk.mounted:
                disk.unmount(lazily=True)
        for disk in self._made:
            if disk.server is not None:
                disk.server.terminate()
                disk.server.wait(20)

    def _image(self, *mkfs: str, megabytes: int, options: str) -> Disk:
        disk = self._new()
        disk.image, disk.options = f"{disk.path}.image", options
        Path(disk.image).touch()
        os.truncate(disk.image, megabytes << 20)
        run(*mkfs, disk.image)
        disk.mount()
        return disk

    def _new(self) -> Disk:
        disk = Disk(f"{self._folder}/disk{len(self._made)}")
        Path(disk.path).mkdir()
        self._made.append(disk)
        return disk


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    """Give a maker of file systems. It needs root, as CI and developers' containers have it."""
    made = Disks(tmp_path)
    yield made
    made.close()
