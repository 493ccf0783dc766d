"""Looks up the addresses of host names. When it is asked, and which address is taken, is decided by who asks."""

import os
import socket
from collections.abc import Callable
from threading import Thread
from urllib.parse import urlsplit

Found = Callable[[list[str]], None]


class Resolver:
    """Looks up the addresses of host names in threads, so that a name server that does not answer blocks nothing.

    `wake_fd` is readable when there are answers; `deliver` makes the callbacks.
    """

    def __init__(self) -> None:
        self.wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._answers: list[tuple[Found, list[str]]] = []
        self._is_closed = False

    def ask(self, site: str, found: Found) -> None:
        """Ask for the addresses of a site ("https://host:port") in the system's order; none where there is no name or no answer."""
        host = urlsplit(site).hostname or ""
        try:
            Thread(target=self._look_up, args=(host, found), name=f"name {host}", daemon=True).start()
        except RuntimeError:  # this machine starts no more threads now
            found([])

    def _look_up(self, host: str, found: Found) -> None:
        addresses: list[str] = []
        try:
            for *_, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
                addresses.append(str(address[0]))
        except OSError:
            addresses.clear()
        self._answers.append((found, list(dict.fromkeys(addresses))))
        if not self._is_closed:
            os.eventfd_write(self.wake_fd, 1)

    def deliver(self) -> None:
        """Hand over what was found."""
        os.eventfd_read(self.wake_fd)
        while self._answers:
            found, addresses = self._answers.pop(0)
            found(addresses)

    def close(self) -> None:
        """Make no more callbacks. A thread may still be at work, so the descriptor stays open as long as the process."""
        self._is_closed = True
