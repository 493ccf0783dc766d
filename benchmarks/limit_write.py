"""The limit, second half: the same files created, written and renamed from memory, by cached directory handles."""

import os
import sys
from pathlib import Path

FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC


def main() -> None:
    """Write every object of the list once."""
    lines, destination = Path(sys.argv[1]).read_text().splitlines(), Path(sys.argv[3])
    noise = os.urandom(max(int(line.partition(" ")[0]) for line in lines))
    work = os.open(destination, os.O_RDONLY | os.O_DIRECTORY)
    directories: dict[str, int] = {}
    for line in lines:
        size, _, key = line.partition(" ")
        directory, _, name = key.rpartition("/")
        folder = directories.get(directory)
        if folder is None:
            folder = directories[directory] = os.open(destination / directory, os.O_RDONLY | os.O_DIRECTORY)
        fd = os.open("part", FLAGS, 0o644, dir_fd=work)
        os.write(fd, noise[: int(size)])
        os.close(fd)
        os.rename("part", name, src_dir_fd=work, dst_dir_fd=folder)


main()
