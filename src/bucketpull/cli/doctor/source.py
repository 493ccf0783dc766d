"""Checks of the source and the broker: names, credentials, the clock, and whether the CDN gives what the origin has."""

import asyncio
import logging
import socket
import time
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from bucketpull.cli.doctor.machine import Check, failed, passed, warned
from bucketpull.domain.errors import AnswerError, ConfigError, Reason
from bucketpull.domain.exchange import Response
from bucketpull.domain.model import Lane, Page, key_of
from bucketpull.fetch.loop import FetchLoop
from bucketpull.ports import Fetcher, Source
from bucketpull.report.figures import count, duration, size
from bucketpull.report.reasons import explain
from bucketpull.report.tables import printable
from bucketpull.sources.upyun.source import UpyunSource
from bucketpull.wiring.adapters import fetch_options, source_config
from bucketpull.wiring.preflight import ask
from bucketpull.wiring.settings import Settings

_CLOCK_SECONDS: Final = 60.0
_SLOW_NAME_SECONDS: Final = 1.0
_COMPARED: Final = 3
_LARGEST: Final = 4 << 20
_IMAGES: Final = (b".jpg", b".jpeg", b".png", b".gif", b".webp", b".bmp")
_LOOKS: Final = 20  # pages, in search of objects
_BROKER_SECONDS: Final = 5.0
_OLDEST_BROKER: Final = (3, 10)


class SourceChecks:
    """The checks of one source. `mean_bytes` is known after `run`, None where no object was seen."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.mean_bytes: float | None = None

    def run(self) -> Iterator[Check]:
        """Check one thing after the other, as far as it goes."""
        try:
            config = source_config(self._settings)
        except ConfigError as error:
            yield failed("configuration", str(error), "see `bucketpull sync --help`")
            return
        hosts = [("REST host", config.api_url), ("CDN host", config.cdn_url)]
        names = [check_name(name, url) for name, url in hosts if url]
        yield from names
        fetcher = FetchLoop(fetch_options(self._settings))
        try:
            yield from self._ask(UpyunSource(config), fetcher)
        finally:
            fetcher.close()

    def _ask(self, source: Source, fetcher: Fetcher) -> Iterator[Check]:
        request = source.list_request(source.root(), time.time())
        response = ask(fetcher, request)
        clock = _check_clock(response)
        if clock is not None:
            yield clock
        try:
            page = _page(source, fetcher, response)
        except AnswerError as error:
            meaning, remedy = explain(error.reason)
            yield failed("credentials", f"{meaning}: {error.detail}", remedy)
            return
        yield passed("credentials", f"the operator may list {self._settings.source}")
        yield from _check_usage(source, fetcher)
        objects = self._objects(source, fetcher, page)
        if not objects:
            yield warned(
                "objects", f"none found in {_LOOKS} pages of the listing", "name a folder that has some"
            )
        elif self._settings.cdn_url is None:
            remedy = "UPYUN keeps REST slow: name the bucket's CDN domain with --cdn-url"
            yield warned("CDN", "no CDN domain is named", remedy)
        else:
            yield from self._compare(source, fetcher, objects)

    def _objects(self, source: Source, fetcher: Fetcher, first: Page) -> list[tuple[bytes, bytes, int]]:
        """Find a few objects, images before others."""
        pages, looked = [first], 0
        found: list[tuple[bytes, bytes, int]] = []
        while pages and looked < _LOOKS and len(found) < 100 * _COMPARED:
            page, looked = pages.pop(0), looked + 1
            part = page.part
            found += [
                (part.directory, name, length) for name, length in zip(part.names, part.sizes, strict=True)
            ]
            for name in page.directories[: _LOOKS - looked - len(pages)]:
                position = source.root()
                position.directory = key_of(part.directory, name)
                response = ask(fetcher, source.list_request(position, time.time()))
                try:
                    pages.append(source.read_page(position, response, time.time()))
                except AnswerError:
                    continue
        if found:
            self.mean_bytes = sum(length for _, _, length in found) / len(found)
        usable = [each for each in found if 0 < each[2] <= _LARGEST and self._is_comparable(source, *each)]
        usable.sort(key=lambda each: not each[1].lower().endswith(_IMAGES))
        return usable[:_COMPARED]

    def _is_comparable(self, source: Source, directory: bytes, name: bytes, length: int) -> bool:
        """Tell whether a job would ask the CDN for an object, where there is one."""
        if self._settings.cdn_url is None:
            return True
        try:
            return Lane.CDN in source.lanes(directory, name, length)
        except AnswerError:
            return False

    def _compare(
        self, source: Source, fetcher: Fetcher, objects: list[tuple[bytes, bytes, int]]
    ) -> Iterator[Check]:
        """Fetch each object by CDN and by REST."""
        for directory, name, length in objects:
            key = printable(key_of(directory, name))
            response, reason, detail = _fetch(source, fetcher, directory, name, length, Lane.CDN)
            if reason is not None:
                meaning, remedy = explain(reason)
                yield failed("CDN", f"{key}: {meaning} ({detail})", remedy)
                return
            if self._settings.style:
                continue
            origin, reason, detail = _fetch(source, fetcher, directory, name, length, Lane.REST)
            if reason is not None:
                yield warned("REST", f"{key}: {reason}: {detail}", explain(reason).remedy)
            elif origin.body != response.body:
                remedy = "switch image optimisation (WebP, compression) of the domain off, purge its cache"
                yield failed("CDN", f"{key}: its bytes are not those of the origin", remedy)
                return
        what = "come" if self._settings.style else "are byte for byte those of the origin"
        yield passed(
            "CDN", f"{count(len(objects))} objects of {urlsplit(self._settings.cdn_url or '').netloc} {what}"
        )


def check_name(name: str, url: str) -> Check:
    """Resolve the host of a URL."""
    host = urlsplit(url).hostname or ""
    began = time.monotonic()
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        return failed(name, f"{host}: {error.strerror}", "check the spelling, and /etc/resolv.conf")
    took = time.monotonic() - began
    text = f"{host} has {count(len(found))} {'address' if len(found) == 1 else 'addresses'}"
    if took > _SLOW_NAME_SECONDS:
        return warned(
            name, f"{text}, after {took:.1f} s", "use a nearer name server, or a cache such as dnsmasq"
        )
    return passed(name, text)


def _check_clock(response: Response) -> Check | None:
    """Compare the clock with the server's, of the answer's date; None where there is no answer."""
    stated = response.headers().get("date")
    if stated is None:
        return None
    offset = time.time() - parsedate_to_datetime(stated).timestamp()
    if abs(offset) <= _CLOCK_SECONDS:
        return passed("clock", f"within {max(1, round(abs(offset)))} s of the server's")
    where = "ahead of" if offset > 0 else "behind"
    remedy = "it is corrected for the requests, but set it: timedatectl set-ntp true"
    return warned("clock", f"{duration(abs(offset))} {where} the server's", remedy)


def _page(source: Source, fetcher: Fetcher, response: Response) -> Page:
    """Read the first page; when the clock was refused it has been corrected, so ask again."""
    try:
        return source.read_page(source.root(), response, time.time())
    except AnswerError as error:
        if error.reason is not Reason.CLOCK:
            raise
    now = time.time()
    return source.read_page(source.root(), ask(fetcher, source.list_request(source.root(), now)), now)


def _check_usage(source: Source, fetcher: Fetcher) -> Iterator[Check]:
    request = source.usage_request(time.time())
    if request is None:
        return
    try:
        yield passed("usage", f"the bucket holds {size(source.read_usage(ask(fetcher, request)))}")
    except AnswerError as error:
        remedy = "the time left cannot be told while the listing goes on; all else works"
        yield warned("usage", f"the bucket's size is not told: {error.detail}", remedy)


def _fetch(
    source: Source, fetcher: Fetcher, directory: bytes, name: bytes, length: int, lane: Lane
) -> tuple[Response, Reason | None, str]:
    now = time.time()
    response = ask(fetcher, source.object_request(directory, name, length, lane, now))
    verdict = source.judge(name, length, lane, response, now)
    return response, verdict.reason, verdict.detail


def check_broker(url: str) -> Check:
    """Connect to RabbitMQ."""
    try:
        import aiormq
    except ImportError:
        return failed("broker", "the RabbitMQ client is not installed", "pip install 'bucketpull[rabbitmq]'")
    logging.getLogger("aiormq").setLevel(logging.CRITICAL)  # what it has to say is the check's to tell
    parts = urlsplit(url)
    shown = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query=""))

    async def connect() -> str:
        connection = await aiormq.connect(url)
        version = connection.server_properties.get("version", "")
        await connection.close()
        return str(version.decode() if isinstance(version, bytes) else version)

    try:
        version = asyncio.run(asyncio.wait_for(connect(), _BROKER_SECONDS))
    except (OSError, ValueError, TimeoutError, aiormq.exceptions.AMQPError) as error:
        words = str(error).replace(url, shown) or type(error).__name__
        remedy = "check host, port, user, password and virtual host of --broker, and that RabbitMQ runs"
        return failed("broker", f"{shown}: {words}", remedy)
    numbers = tuple(int(each) for each in version.split(".")[:2] if each.isdigit())
    if numbers and numbers < _OLDEST_BROKER:
        return failed("broker", f"RabbitMQ {version} at {shown}", "3.10 or newer is needed")
    return passed("broker", f"RabbitMQ {version} at {shown}")
