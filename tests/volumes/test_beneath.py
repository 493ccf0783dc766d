"""Files beneath a volume are written whole."""

import os

from bucketpull.volumes import beneath


def test_a_short_write_is_gone_on_with(tmp_path, monkeypatch):
    """Linux takes at most 2 GiB at once, and less on a signal; and 1,024 pieces."""
    pieces = [b"hello", b"beautiful", b"world"] * 400
    write_at, write = os.pwritev, os.writev
    monkeypatch.setattr(os, "pwritev", lambda fd, some, at: write_at(fd, [b"".join(some)[:7]], at))
    monkeypatch.setattr(os, "writev", lambda fd, some: write(fd, [b"".join(some)[:7]]))
    for at in (None, 3):
        fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        assert beneath.write_all(fd, pieces, at) == 19 * 400
        os.close(fd)
        assert (tmp_path / "file").read_bytes() == bytes(at or 0) + b"hellobeautifulworld" * 400
