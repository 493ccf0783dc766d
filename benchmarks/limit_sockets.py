"""Below the limit: bare sockets and epoll, understanding just what this server says to just these requests.

No client that works elsewhere can be this cheap; it shows what an HTTP client costs at all.
"""

import select
import socket
import sys
from pathlib import Path
from urllib.parse import urlsplit


def main() -> None:
    """Fetch every object of the list once."""
    lines, base, connections = (
        Path(sys.argv[1]).read_text().splitlines(),
        urlsplit(sys.argv[2]),
        int(sys.argv[4]),
    )
    waiting = [
        f"GET /{line.partition(' ')[2]} HTTP/1.1\r\nHost: h\r\n\r\n".encode() for line in reversed(lines)
    ]
    poller, buffer, running = select.epoll(), bytearray(65_536), 0
    sockets: dict[int, socket.socket] = {}
    lacking: dict[int, int] = {}
    for _ in range(min(connections, len(waiting))):
        connection = socket.create_connection((base.hostname, base.port))
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[connection.fileno()], lacking[connection.fileno()] = connection, 0
        poller.register(connection.fileno(), select.EPOLLIN)
        connection.send(waiting.pop())
        running += 1
    while running:
        for fd, _event in poller.poll():
            received = sockets[fd].recv_into(buffer)
            left = lacking[fd] or _length(buffer)
            lacking[fd] = left - received
            if left == received:
                running -= 1
                if waiting:
                    sockets[fd].send(waiting.pop())
                    running += 1


def _length(buffer: bytearray) -> int:
    if not buffer.startswith(b"HTTP/1.1 200"):
        sys.exit(f"could not be fetched: {bytes(buffer[:100])!r}")
    start = buffer.index(b"Content-Length: ") + 16
    return buffer.index(b"\r\n\r\n") + 4 + int(buffer[start : buffer.index(b"\r", start)])


main()
