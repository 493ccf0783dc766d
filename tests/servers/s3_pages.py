"""A service with a great many keys that are made by a formula: only ListObjectsV2 and GET, no signature is checked; and one that errs.

`python -m tests.servers.s3_pages --keys 1000000` serves until it is interrupted, and writes its address first. One process
answers some 2,000,000 keys a second.
"""

import argparse
import asyncio
import threading
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, Self
from urllib.parse import parse_qs, quote_from_bytes, unquote_to_bytes

BUCKET: Final = "bucket"
_PAGE: Final = 1000
_ENTRY: Final = (
    "<Contents><Key>%s</Key><LastModified>2016-11-09T14:26:58.000Z</LastModified>"
    "<ETag>&quot;d41d8cd98f00b204e9800998ecf8427e&quot;</ETag><Size>%d</Size>"
    "<StorageClass>STANDARD</StorageClass></Contents>"
)


class Fault(Enum):
    """How a service errs."""

    NONE = ""
    DEAF = "start-after is ignored"
    ORDER = "keys come in an order that ignores case"
    TWICE = "each page begins with the last key of the page before"
    CIRCLE = "start-after is ignored, and the fourth page leads back to the second"
    GOES_DEAF = "start-after is ignored from the second page on, and no token is given"


class Numbered(Sequence[bytes]):
    """The keys `photos/0000000.jpg` and so on, of which none takes memory."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        """Return how many there are."""
        return self._count

    def __getitem__(self, index: int) -> bytes:  # type: ignore[override]  # no slices
        """Return one."""
        if index >= self._count:
            raise IndexError(index)
        return b"photos/%07d.jpg" % index


class PageServer:
    """`with PageServer(keys) as server`: a service at `server.url` on a thread of its own; the bucket is `BUCKET`.

    `requests` counts those for pages by how they were asked for ("first", "start-after", "token"), and those for objects ("object").
    """

    def __init__(self, keys: Sequence[bytes], fault: Fault = Fault.NONE) -> None:
        order: Callable[[bytes], bytes] = bytes.lower if fault is Fault.ORDER else bytes
        self._keys = keys if isinstance(keys, Numbered) else sorted(keys, key=order)
        self._order = order
        self._fault = fault
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None
        self.requests: Counter[str] = Counter()
        self.url = ""

    async def listen(self) -> None:
        """Listen on a free port of localhost."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    def __enter__(self) -> Self:
        """Start it."""
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self.listen(), self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                path, _, query = head.split(b" ", 2)[1].decode().partition("?")
                body = self._page(query) if "list-type" in query else self._object(path)
                status = b"200 OK" if body is not None else b"404 Not Found"
                text = body or b""
                writer.write(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (status, len(text), text))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _object(self, path: str) -> bytes | None:
        """Return the bytes of an object: its key."""
        self.requests["object"] += 1
        key = unquote_to_bytes(path.removeprefix(f"/{BUCKET}/"))
        place = bisect_right(self._keys, self._order(key), key=self._order)
        return key if place and self._keys[place - 1] == key else None

    def _page(self, query: str) -> bytes:
        asked = {
            name: values[0].encode("latin-1") for name, values in parse_qs(query, encoding="latin-1").items()
        }
        begin = self._begin(asked)
        end = min(len(self._keys), begin + min(_PAGE, int(asked.get("max-keys", b"1000"))))
        entries = [
            _ENTRY % (quote_from_bytes(self._keys[index]), len(self._keys[index]))
            for index in range(begin, end)
        ]
        more = end < len(self._keys)
        following = "" if not more or self._fault is Fault.GOES_DEAF else f"{self._following(begin, end)}"
        return (
            f"<ListBucketResult><Name>{BUCKET}</Name><KeyCount>{end - begin}</KeyCount><EncodingType>url</EncodingType>"
            f"<IsTruncated>{str(more).lower()}</IsTruncated>"
            f"<NextContinuationToken>{following}</NextContinuationToken>{''.join(entries)}</ListBucketResult>"
        ).encode()

    def _begin(self, asked: dict[str, bytes]) -> int:
        """Return the number of the first key of a page."""
        token, after = asked.get("continuation-token"), asked.get("start-after")
        self.requests["token" if token else "start-after" if after else "first"] += 1
        if token:
            return int(token)
        if after is None or self._fault in {Fault.DEAF, Fault.CIRCLE, Fault.GOES_DEAF}:
            return 0
        place = bisect_right(self._keys, self._order(after), key=self._order)
        return place - 1 if self._fault is Fault.TWICE and place else place

    def _following(self, begin: int, end: int) -> int:
        if self._fault is Fault.CIRCLE and begin >= 3 * _PAGE:
            return _PAGE
        return end - 1 if self._fault is Fault.TWICE else end


async def _run(keys: int) -> None:
    server = PageServer(Numbered(keys))
    await server.listen()
    print(server.url, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--keys", type=int, default=1_000_000)
    asyncio.run(_run(parser.parse_args().keys))
