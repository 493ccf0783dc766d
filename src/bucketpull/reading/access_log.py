"""A line a request, in the combined format of web servers, and the seconds that its answer took.

Lines are written together, some moments after the answers: a write of each costs as much as a small object.
"""

import asyncio
import time
from contextlib import suppress
from typing import Final, TextIO

from aiohttp import hdrs, web

from bucketpull.report.printable import printable

_DELAY_SECONDS: Final = 0.1
_MOST_LINES: Final = 1000


class AccessLog:
    """Belongs to one event loop; `close` writes what is left."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lines: list[str] = []
        self._due: asyncio.TimerHandle | None = None
        self._second = -1
        self._date = ""

    def add(self, request: web.BaseRequest, response: web.StreamResponse, seconds: float) -> None:
        """Note an answer."""
        length = response.content_length if response.content_length is not None else "-"
        line = f"{request.method} {request.raw_path} HTTP/{request.version.major}.{request.version.minor}"
        headers = request.headers
        agent, referer = headers.get(hdrs.USER_AGENT, "-"), headers.get(hdrs.REFERER, "-")
        text = printable(
            f'{request.remote} - - [{self._now()}] "{_quoted(line)}" {response.status} {length} '
            f'"{_quoted(referer)}" "{_quoted(agent)}" {seconds:.6f}'
        )
        self._lines.append(f"{text}\n")
        if len(self._lines) >= _MOST_LINES:
            self.close()
        elif self._due is None:
            self._due = asyncio.get_running_loop().call_later(_DELAY_SECONDS, self.close)

    def close(self) -> None:
        """Write what was noted; a full disk under the log stops no answer."""
        if self._due is not None:
            self._due.cancel()
            self._due = None
        lines, self._lines = self._lines, []
        with suppress(OSError, ValueError):
            self._stream.write("".join(lines))
            self._stream.flush()

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._date = time.strftime("%d/%b/%Y:%H:%M:%S +0000", time.gmtime(second))
        return self._date


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
