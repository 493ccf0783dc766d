"""A worker's processes on this machine, each joined to it by a socket pair.

They are forked by a small process of its own, the fork server, which is made before the program has threads or an event
loop: so a new process costs 2 ms instead of an interpreter's start (150 ms), at any time, also after one died.
"""

import asyncio
import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from bucketpull.domain.errors import TransportError
from bucketpull.domain.messages import Died, Frames, FromProcess, ToProcess, frame
from bucketpull.transport.mailbox import Mailbox

READ_BYTES = 1 << 20
LEAVE_SECONDS = 1.0
FORK_SECONDS = 30.0
FORK_TRIES = 60

Main = Callable[[socket.socket, int], None]


class ForkServer:
    """Makes processes that run `main(socket, number)`. Create it before any thread; ends when its parent does."""

    def __init__(self, main: Main) -> None:
        ours, theirs = socket.socketpair()
        gc.freeze()  # a collection in a new process would touch, and so copy, every object of ours
        self._pid = os.fork()
        if self._pid == 0:
            ours.close()
            _serve_forks(theirs, main)
        theirs.close()
        self._socket = ours

    def start(self, number: int) -> socket.socket:
        """Start a process; return our end of its socket."""
        ours, theirs = socket.socketpair()
        try:
            socket.send_fds(self._socket, [number.to_bytes(4, "little")], [theirs.fileno()])
        except OSError as error:
            raise TransportError(
                "cannot start a worker process: the fork server has ended, perhaps for lack of memory "
                f"({error.strerror}); start bucketpull again, it goes on where it was"
            ) from error
        finally:
            theirs.close()
        return ours

    def close(self) -> None:
        """End the fork server, if it has not ended; processes live on until their sockets close."""
        if self._socket.fileno() >= 0:
            self._socket.close()
            os.waitpid(self._pid, 0)


def _serve_forks(requests: socket.socket, main: Main) -> None:
    """Fork a process for each request, until the parent is gone. Never returns.

    It waits for its children, so that their CPU time counts as the whole program's.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        data, fds, _, _ = socket.recv_fds(requests, 4, 1)
        if not data:
            _leave()
        number = int.from_bytes(data, "little")
        _kill(number)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # none is reaped before it is known
        pid = _fork()
        if pid == 0:
            requests.close()
            _run(main, socket.socket(fileno=fds[0]), number)
        if pid is not None:
            _children[number] = pid
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        os.close(fds[0])


def _fork() -> int | None:
    """Fork; where the machine is short of processes or memory, wait for them. None if there are none for long."""
    for _ in range(FORK_TRIES):
        try:
            return os.fork()
        except OSError:
            time.sleep(FORK_SECONDS / FORK_TRIES)
    return None


_children: dict[int, int] = {}  # the fork server's, by number: those that have not been reaped


def _kill(number: int) -> None:
    """Kill a process that was replaced, and may hang."""
    pid = _children.pop(number, None)
    if pid is not None:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _reap(*_: object) -> None:
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG)) != (0, 0):
            for number, pid in list(_children.items()):
                if pid == ended[0]:
                    del _children[number]


def _leave() -> None:
    """Wait a little for children that are ending, then kill those that hang."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    deadline = time.monotonic() + LEAVE_SECONDS
    while _children and time.monotonic() < deadline:
        _reap()
        time.sleep(0.002)
    for number in list(_children):
        _kill(number)
    os._exit(0)


def _run(main: Main, ours: socket.socket, number: int) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    try:
        main(ours, number)
    except BaseException:  # noqa: BLE001 - the last frame of a forked process: show the bug, leave with its status
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


class _Line:
    """One process as the event loop sees it."""

    def __init__(self, number: int, end: socket.socket) -> None:
        end.setblocking(False)
        self.number = number
        self.end = end
        self.frames = Frames()
        self.unsent = bytearray()


class ForkedPool:
    """See `ports.ProcessPool`. Call `start_all` in the event loop."""

    def __init__(self, fork_server: ForkServer, size: int) -> None:
        self._fork_server = fork_server
        self.size = size
        self._lines: dict[int, _Line] = {}
        self._heard: Mailbox[tuple[int, FromProcess]] = Mailbox()
        self._closing = False
        self._gone = asyncio.Event()
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode = msgspec.msgpack.Decoder(FromProcess).decode

    def start_all(self) -> None:
        """Start the processes."""
        for number in range(self.size):
            self.start(number)

    def send(self, process: int, message: ToProcess) -> None:
        """See `ports.ProcessPool`."""
        line = self._lines.get(process)
        if line is None:
            return
        idle = not line.unsent
        line.unsent += frame(self._encode(message))
        if idle:
            self._flush(line)

    async def receive(self) -> list[tuple[int, FromProcess]]:
        """See `ports.ProcessPool`."""
        return await self._heard.take_all()

    def kill(self, process: int) -> None:
        """See `ports.ProcessPool`: its socket is closed; if it does not end, the fork server kills it when it makes the new one."""
        line = self._lines.get(process)
        if line is not None and not self._closing:
            self._lost(line)

    def start(self, process: int) -> None:
        """See `ports.ProcessPool`."""
        if self._closing:
            return
        line = self._lines[process] = _Line(process, self._fork_server.start(process))
        asyncio.get_running_loop().add_reader(line.end, self._read, line)

    async def close(self, seconds: float) -> None:
        """See `ports.ProcessPool`: a process that does not leave in time sees its socket close, and ends."""
        self._closing = True
        if self._lines:
            for line in self._lines.values():
                line.end.shutdown(socket.SHUT_WR)
            try:
                async with asyncio.timeout(seconds):
                    await self._gone.wait()
            except TimeoutError:
                pass
        for line in list(self._lines.values()):
            self._drop(line)
        self._fork_server.close()

    def _drop(self, line: _Line) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(line.end)
        loop.remove_writer(line.end)
        line.end.close()
        self._lines.pop(line.number, None)

    def _read(self, line: _Line) -> None:
        try:
            data = line.end.recv(READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lost(line)
            return
        for message in line.frames.feed(data):
            self._heard.put((line.number, self._decode(message)))

    def _lost(self, line: _Line) -> None:
        self._drop(line)
        if not self._closing:
            self._heard.put((line.number, Died()))
        elif not self._lines:
            self._gone.set()

    def _flush(self, line: _Line) -> None:
        loop = asyncio.get_running_loop()
        try:
            while line.unsent:
                del line.unsent[: line.end.send(line.unsent[:READ_BYTES])]
        except BlockingIOError:
            loop.add_writer(line.end, self._flush, line)
            return
        except OSError:
            line.unsent.clear()
        loop.remove_writer(line.end)
