"""Disks to read from."""

from tests.volumes.conftest import disks

__all__ = ["disks"]
