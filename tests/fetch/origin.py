"""Origins that misbehave, a thread a connection, each following a script."""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Peer:
    """One accepted connection. `origin.over` is set when the test ends: scripts that hold a connection wait for it."""

    def __init__(self, sock: socket.socket, origin: "Origin") -> None:
        self.sock = sock
        self.origin = origin
        self._rest = b""

    def request(self) -> bytes:
        """Read one request head; b"" when the client has gone."""
        while b"\r\n\r\n" not in self._rest:
            more = self.sock.recv(65536)
            if not more:
                return b""
            self._rest += more
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        with self.origin.lock:
            self.origin.requests.append(head)
        return head

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self, body: bytes, status: str = "200 OK", *headers: str) -> None:
        lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
        self.send("\r\n".join(lines).encode() + body)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def hold(self) -> None:
        self.origin.over.wait(30)


Script = Callable[[Peer], None]


class Origin:
    def __init__(
        self, script: Script, host: str, wrap: Callable[[socket.socket], socket.socket] | None
    ) -> None:
        self.script = script
        self.wrap = wrap
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.requests: list[bytes] = []
        self.connections = 0
        self.sock = socket.create_server(
            (host, 0), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512
        )
        self.port: int = self.sock.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept, daemon=True)]
        self.threads[0].start()

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        return f"{scheme}://{host}:{self.port}{path}"

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self.sock.accept()
            except (
                OSError
            ):  # at the end; or no descriptor was left: Linux takes one before it waits for a connection
                if self.over.wait(0.01):
                    return
                continue
            if self.over.is_set():
                sock.close()
                return
            self.connections += 1
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            if self.wrap is not None:
                sock = self.wrap(sock)
            with sock:
                self.script(Peer(sock, self))
        except OSError:
            sock.close()

    def close(self) -> None:
        self.over.set()
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


@contextmanager
def origin(
    script: Script, host: str = "127.0.0.1", wrap: Callable[[socket.socket], socket.socket] | None = None
) -> Iterator[Origin]:
    served = Origin(script, host, wrap)
    try:
        yield served
    finally:
        served.close()


def always(body: bytes, status: str = "200 OK", *headers: str) -> Script:
    """Answer every request of a connection alike."""

    def script(peer: Peer) -> None:
        while peer.request():
            peer.answer(body, status, *headers)

    return script


def first(data: bytes, then: Callable[[Peer], None] | None = None) -> Script:
    """Read one request, send raw bytes, do something, close."""

    def script(peer: Peer) -> None:
        peer.request()
        peer.send(data)
        if then is not None:
            then(peer)

    return script
