"""What an edge may do to a body although nobody wants it to."""

import gzip

from upyun_simulator.message import Reply


def gzip_reply(reply: Reply) -> None:
    """Compress a reply's body."""
    reply.content = gzip.compress(reply.body.read(0, len(reply.content)), 1, mtime=0)
    reply.set_header("Content-Encoding", "gzip")
    weaken(reply)


def weaken(reply: Reply) -> None:
    """Make the ETag a weak one."""
    etag = reply.header("ETag")
    if etag and not etag.startswith("W/"):
        reply.set_header("ETag", f"W/{etag}")
