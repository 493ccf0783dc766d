"""Pull a whole object-storage bucket onto your own disks."""

__version__ = "0.1.0"
