"""libcurl's multi interface, driven by `socket_action`: a transfer costs the same with a thousand connections as with sixty-four."""

import errno
import os
import select
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

import pycurl

from bucketpull.domain.errors import Reason
from bucketpull.domain.http_exchange import Request, Response
from bucketpull.fetch.curl_handle import BUFFER_BYTES, EasyHandle
from bucketpull.fetch.fetch_options import IDLE_SECONDS, FetchOptions
from bucketpull.fetch.running_request import Begun, Count, Done, RunningRequest, Sink

_IN: Final = select.EPOLLIN
_EVENTS: Final = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}
_READABLE: Final = pycurl.CSELECT_IN
_END_OF_HEADERS: Final = [b"\r\n"]
_BLANK: Final = frozenset({b"\r\n", b"\n"})
PAUSE_SECONDS: Final = 0.05
_LEAST_KEPT: Final = 4

_REASONS = {
    pycurl.E_URL_MALFORMAT: Reason.REJECTED,
    pycurl.E_COULDNT_RESOLVE_HOST: Reason.DNS,
    pycurl.E_COULDNT_RESOLVE_PROXY: Reason.DNS,
    pycurl.E_COULDNT_CONNECT: Reason.CONNECT,
    pycurl.E_SSL_CONNECT_ERROR: Reason.TLS,
    pycurl.E_PEER_FAILED_VERIFICATION: Reason.TLS,
    pycurl.E_SSL_CACERT_BADFILE: Reason.TLS,
    pycurl.E_SSL_CERTPROBLEM: Reason.TLS,
    pycurl.E_SSL_CIPHER: Reason.TLS,
    pycurl.E_SSL_ISSUER_ERROR: Reason.TLS,
    pycurl.E_GOT_NOTHING: Reason.RESET,
    pycurl.E_SEND_ERROR: Reason.RESET,
    pycurl.E_RECV_ERROR: Reason.RESET,
    pycurl.E_PARTIAL_FILE: Reason.TRUNCATED,
    pycurl.E_FILESIZE_EXCEEDED: Reason.SIZE,
    pycurl.E_WRITE_ERROR: Reason.INTERRUPTED,
    pycurl.E_ABORTED_BY_CALLBACK: Reason.INTERRUPTED,
}

_NAMELESS: Final = frozenset({Reason.CONNECT, Reason.TLS})
"""Errors of which libcurl mostly names no host; a list of URLs has many."""
_NO_TLS = "wrong version number"
_TOO_LARGE: Final = 100  # CURLE_TOO_LARGE: a line of 100 kB, or 5,000 lines
_LARGE_HEAD: Final = "Too large response headers"  # of 300 KiB in all: the code is that of a cut


class Curl:
    """The transfers that libcurl makes. `busy` is the loop's, of all transfers.

    Args:
        learn: Called with each request that got a whole answer, and the address of who gave it, if `is_unknown` says so.
        call_later: Calls back after so many seconds.

    """

    def __init__(
        self,
        options: FetchOptions,
        authorities: str | None,
        poller: select.epoll,
        busy: dict[RunningRequest, None],
        is_unknown: Callable[[Request, float], bool],
        learn: Callable[[Request, str], None],
        call_later: Callable[[float, Callable[[], None]], None],
    ) -> None:
        self.now = 0.0
        self.due: float | None = None
        self._counted: Count | None = None
        self._buffer_bytes = BUFFER_BYTES
        self._options = options
        self._authorities = authorities
        self._poller = poller
        self._busy = busy
        self._is_unknown = is_unknown
        self._learn = learn
        self._call_later = call_later
        self._free: list[EasyHandle] = []
        self._handles: list[EasyHandle] = []
        self._good: deque[pycurl.Curl] = deque()
        self._bad: deque[tuple[pycurl.Curl, int, str]] = deque()
        # libcurl's word on when it wants to be called: only the last counts. A deque's method costs less than one of ours.
        self._word: deque[int] = deque(maxlen=1)
        self._most_in_flight = self._kept = 0
        self._looked = 0.0
        self._multi = self._new_multi()

    def _new_multi(self) -> pycurl.CurlMulti:
        multi = pycurl.CurlMulti()
        multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        multi.setopt(pycurl.M_TIMERFUNCTION, self._word.append)
        self._kept = 0
        return multi

    def _keep(self, connections: int) -> None:
        """Have libcurl close idle connections beyond so many, of all that it has."""
        self._kept = min(max(connections, _LEAST_KEPT), self._options.kept_connections)
        self._multi.setopt(pycurl.M_MAXCONNECTS, self._kept)

    def close_unused(self, now: float) -> None:
        """Close connections that were not needed for `IDLE_SECONDS`: at a server that takes so many they keep others out.

        libcurl closes those beyond what it is to keep when a transfer ends. The last ones it closes with all that it has.
        """
        if now - self._looked < IDLE_SECONDS:
            return
        self._looked = now
        most, self._most_in_flight = self._most_in_flight, self._in_flight
        if most:
            self._keep(most)
        elif self._kept:
            self._multi.close()
            self._multi = self._new_multi()

    @property
    def _in_flight(self) -> int:
        return len(self._handles) - len(self._free)

    def submit(
        self,
        request: Request,
        done: Done,
        now: float,
        marked_at: float,
        sink: Sink | None,
        begun: Begun | None,
    ) -> None:
        """Make a request."""
        handle = self._free.pop() if self._free else self._new_handle()
        if self._in_flight > self._most_in_flight:
            self._most_in_flight = self._in_flight
            if self._most_in_flight > self._kept:
                self._keep(2 * self._most_in_flight)
        handle.prepare(request, done, sink, begun, self._counted, self._buffer_bytes)
        handle.started, handle.marked_at = now, marked_at
        self._busy[handle] = None
        self._multi.add_handle(handle.easy)

    def serve(self) -> None:
        """Call libcurl if it asked for that: to send new requests, and for its own timeouts."""
        self._hear()
        if self.due is not None and self.now >= self.due:
            self.due = None
            self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._hear()

    def _hear(self) -> None:
        if self._word:
            milliseconds = self._word.pop()
            self.due = None if milliseconds < 0 else self.now + milliseconds / 1000

    def count(self, counted: Count | None, buffer_bytes: int) -> None:
        """Report the sizes of received pieces from now on, or no longer; receive with a buffer of that size.

        What is under way keeps a smaller one: libcurl before 8.7 made it when the transfer began.
        """
        self._counted, self._buffer_bytes = counted, buffer_bytes
        for handle in self._handles:
            if handle in self._busy:
                handle.count(counted, min(buffer_bytes, handle.buffer_bytes))

    def close(self) -> None:
        """Abandon all transfers."""
        for handle in self._handles:
            if handle in self._busy:
                self._multi.remove_handle(handle.easy)
            handle.easy.close()
        self._handles.clear()
        self._multi.close()

    def _new_handle(self) -> EasyHandle:
        handle = EasyHandle(self._options, self._authorities, self._finish, self._pause)
        self._handles.append(handle)
        return handle

    def _pause(self, handle: EasyHandle) -> None:
        """Offer a sink again, a little later, what it did not take."""
        started = handle.started

        def resume() -> None:
            if handle in self._busy and handle.started == started and handle.is_paused:
                handle.resume()

        self._call_later(PAUSE_SECONDS, resume)

    # --- its sockets

    def ready(self, fd: int, event: int) -> None:
        """Tell libcurl of a socket's event."""
        self._multi.socket_action(fd, _READABLE if event == _IN else _curl_event(event))

    def _on_socket(self, what: int, fd: int, _multi: object, _data: object) -> None:
        """Register what libcurl waits for. A number may be that of another socket by now: what was closed is registered no more."""
        if what == pycurl.POLL_REMOVE:
            with suppress(OSError):
                self._poller.unregister(fd)
            return
        try:
            self._poller.modify(fd, _EVENTS[what])
        except FileNotFoundError:
            self._poller.register(fd, _EVENTS[what])

    # --- transfers that end

    def collect(self) -> int:
        """Call back for ended transfers; return how many there were. If a callback raises, the others are kept for later."""
        more, good, bad = self._multi.info_read()
        while more:
            self._good += good
            self._bad += bad
            more, good, bad = self._multi.info_read()
        self._good += good
        self._bad += bad
        ended = len(self._good) + len(self._bad)
        while self._good:
            self._finish(self._good.popleft().handle, None, "")
        while self._bad:
            easy, code, text = self._bad.popleft()
            reason, words = meant(code, text, easy.getinfo(pycurl.CONNECT_TIME) > 0)
            if reason in _NAMELESS:  # and libcurl has understood the URL
                asked = urlsplit(easy.handle.request.url)
                words = words if str(asked.hostname) in words else f"{words} ({asked.netloc})"
            self._finish(easy.handle, reason, words)
        return ended

    def _finish(self, handle: EasyHandle, failure: Reason | None, detail: str) -> None:
        easy = handle.easy
        self._multi.remove_handle(easy)
        del self._busy[handle]
        chunks, header_lines = handle.chunks[:], handle.header_lines[:]
        is_headed = header_lines[-1:] == _END_OF_HEADERS or _drop_trailers(header_lines)
        if failure is None:
            if not is_headed:
                failure, detail = Reason.RESET, "the connection ended within the answer's headers"
            elif self._is_unknown(handle.request, self.now):
                self._learn(handle.request, easy.getinfo(pycurl.PRIMARY_IP))
        response = Response(
            easy.getinfo(pycurl.RESPONSE_CODE),
            header_lines,
            chunks,
            # One piece is the rule; asking libcurl would cost 0.5 µs.
            (len(chunks[0]) if len(chunks) == 1 else sum(map(len, chunks))) + handle.poured,
            time.monotonic() - handle.started,
            failure,
            detail,
        )
        done = handle.done
        handle.release()
        self._free.append(handle)
        done(response)


def _drop_trailers(header_lines: list[bytes]) -> bool:
    """Drop what followed the body: it must not be taken for headers (RFC 9110, 6.5.1). Tell whether these are complete, which libcurl does not check."""
    end = max((at for at, line in enumerate(header_lines, 1) if line in _BLANK), default=0)
    is_next_head = header_lines[end:][:1] and header_lines[end].startswith(b"HTTP/")
    if not end or is_next_head:
        return False
    del header_lines[end:]
    return True


def _curl_event(event: int) -> int:
    mask = 0
    if event & (select.EPOLLIN | select.EPOLLHUP):
        mask |= pycurl.CSELECT_IN
    if event & select.EPOLLOUT:
        mask |= pycurl.CSELECT_OUT
    if event & select.EPOLLERR:
        mask |= pycurl.CSELECT_ERR
    return mask


def meant(code: int, text: str, connected: bool) -> tuple[Reason, str]:
    """Return the reason of a libcurl error, and its words, or better ones where those lead nobody on.

    Its only timeout here is that of connecting; a proxy may be slow after that.
    """
    if code == _TOO_LARGE or _LARGE_HEAD in text:
        return (
            Reason.GARBAGE,
            "the head of the answer is too large: above 300 KiB, 5,000 lines or 100 kB a line",
        )
    if _NO_TLS in text:
        text = f"the server does not speak TLS at this port: http:// in place of https://? ({text})"
    if code == pycurl.E_OPERATION_TIMEDOUT:
        return Reason.TIMEOUT if connected else Reason.CONNECT, text
    if code == pycurl.E_COULDNT_CONNECT and _is_short_of_descriptors():
        return Reason.MACHINE, text  # libcurl does not say why there was no socket
    return _REASONS.get(code, Reason.GARBAGE), text


def _is_short_of_descriptors() -> bool:
    try:
        os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
    except OSError as error:
        return error.errno in {errno.EMFILE, errno.ENFILE}
    return False
