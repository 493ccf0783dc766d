"""Checks of the source and the broker: names, credentials, the clock, and whether the CDN gives what the origin has."""

import asyncio
import logging
import math
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from email.utils import parsedate_to_datetime
from itertools import islice
from typing import Final
from urllib.parse import urlsplit, urlunsplit

from bucketpull.cli.doctor.machine import Check, CheckResult, failed, passed, warned
from bucketpull.domain.counting import counted
from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.errors import AnswerError, ConfigError, Reason
from bucketpull.domain.http_exchange import Response, Wanted
from bucketpull.domain.model import Page, key_of, show
from bucketpull.extras import adding
from bucketpull.fetch.loop import FetchLoop
from bucketpull.report.figures import count, size
from bucketpull.report.printable import printable
from bucketpull.report.reasons import explain
from bucketpull.report.times import duration
from bucketpull.sources.registry import credentials_of
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.source_client import Patience, SourceClient, wanted_of

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
            config = self._settings.source_config()
        except ConfigError as error:
            yield failed("configuration", str(error), "see `bucketpull sync --help`")
            return
        with closing(FetchLoop(self._settings.fetch_options())) as fetcher:
            silent = Patience(self._settings.source, told=lambda _: None, longest=math.inf)
            client = SourceClient(config.open(), fetcher, silent)
            yield from [check_name(f"{shown(spec)} host", url) for spec, url in _hosts(client)]
            yield from self._ask(client)

    def _ask(self, client: SourceClient) -> Iterator[Check]:
        try:
            listed = client.source.page_here(client.source.root())
        except AnswerError as error:
            _, remedy = explain(error.reason)
            yield failed("list", error.detail, remedy)
            return
        if listed is not None:
            yield from _check_list(client, listed)
            return
        response = client.ask_for_page(client.source.root())
        clock = _check_clock(response)
        if clock is not None:
            yield clock
        try:
            page = _page(client, response)
        except AnswerError as error:
            yield _refused(error, self._settings.source)
            return
        yield passed("credentials", f"these credentials may list {self._settings.source}")
        if len(client.listing.sites) > 1:
            yield from [_check_site(client, site) for site in client.listing.sites]
        yield from _check_order(client, page)
        yield from _check_usage(client)
        yield from self._fetch(client, self._objects(client, page))

    def _fetch(self, client: SourceClient, objects: list[Wanted]) -> Iterator[Check]:
        """Fetch objects from the endpoints that would be asked for them: copies are compared, else an origin is asked."""
        if not objects:
            yield warned(
                "objects",
                f"none of up to {size(_LARGEST)} found in {_LOOKS} pages of the listing",
                "name a folder that has some",
            )
            return
        asked = {name for wanted in objects for name in client.routes(wanted)}
        specs = [spec for spec in client.fetching.values() if spec.name in asked]
        copies = [spec for spec in specs if not spec.is_origin]
        for spec in copies:
            for site in spec.sites:
                yield from self._compare(client, spec, site, objects)
        if copies:
            return
        for spec in specs:
            yield _check_fetching(client, spec, objects)
            if spec.advice and len(client.fetching) == 1:
                yield warned(spec.advice.about, spec.advice.found, spec.advice.remedy)

    def _objects(self, client: SourceClient, first: Page) -> list[Wanted]:
        """Find a few objects that have copies, images before others; where none has, others."""
        found: list[Wanted] = []
        for page in _pages(client, first):
            found += wanted_of(page.part)
            if len(found) >= 100 * _COMPARED:
                break
        if found:
            self.mean_bytes = sum(each.size for each in found) / len(found)
        small = [each for each in found if 0 < each.size <= _LARGEST]
        usable = [each for each in small if _is_comparable(client, each)] or small
        usable.sort(key=lambda each: not each.name.lower().endswith(_IMAGES))
        return usable[:_COMPARED]

    def _compare(
        self, client: SourceClient, spec: EndpointSpec, site: str, objects: list[Wanted]
    ) -> Iterator[Check]:
        """Fetch each object from one address of an endpoint that keeps copies, and from the origin behind it."""
        compared = False
        title = spec.title if len(spec.sites) == 1 else f"{shown(spec)} {site.partition('://')[2]}"
        for wanted in objects:
            key = _named(wanted)
            routes = client.routes(wanted)
            if spec.name not in routes:
                continue
            response, verdict = client.fetch(wanted, spec.name, site)
            if verdict.reason is not None:
                meaning, remedy = explain(verdict.reason)
                where = "" if len(spec.sites) == 1 else f"{site.partition('://')[2]}: "
                check = failed(shown(spec), f"{where}{key}: {meaning} ({verdict.detail})", remedy)
                if verdict.reason is Reason.THROTTLED:  # a job slows down, and goes on
                    check.verdict = CheckResult.WARN
                yield check
                return
            for origin in [name for name in routes if client.fetching[name].is_origin]:
                compared = True
                whole, verdict = client.fetch(wanted, origin)
                if verdict.reason is not None:
                    _, remedy = explain(verdict.reason)
                    yield warned(
                        shown(client.fetching[origin]), f"{key}: {verdict.reason}: {verdict.detail}", remedy
                    )
                elif whole.body != response.body:
                    remedy = (
                        "switch image optimisation (WebP, compression) of the domain off, purge its cache"
                    )
                    yield failed(shown(spec), f"{key}: its bytes are not those of the origin", remedy)
                    return
        yield passed(
            shown(spec),
            f"{counted(len(objects), 'objects come')} from {title}, byte for byte as from the origin"
            if compared
            else f"{counted(len(objects), 'objects come')} from {title}",
        )


def _refused(error: AnswerError, source: str) -> Check:
    """Say what is wrong where the first page does not come."""
    meaning, remedy = explain(error.reason, credentials=credentials_of(source))
    found = f"{meaning}: {error.detail}"
    if error.reason is Reason.NO_BUCKET:
        return failed("bucket", found, remedy)
    if error.reason is Reason.REGION:
        return failed("region", found, remedy)
    if error.reason is Reason.SKEW:
        return failed("clock", found, remedy)
    if error.reason in {Reason.CREDENTIALS, Reason.PERMISSION}:
        return failed("credentials", found, remedy)
    return failed("listing", found, remedy)


def _pages(client: SourceClient, first: Page) -> Iterator[Page]:
    """Go through some pages below the first one: half of them downwards, for objects may lie at the bottom alone, then across."""
    yield first
    folders = _folders(first)
    for look in range(1, _LOOKS):
        if not folders:
            return
        position = client.source.root()
        position.directory = folders.pop(-1 if look < _LOOKS // 2 else 0)
        try:
            page = client.page(position)
        except AnswerError:
            continue
        yield page
        folders += _folders(page)


def _folders(page: Page) -> list[bytes]:
    return [key_of(page.part.directory, name) for name in reversed(page.directories)]


def _check_fetching(client: SourceClient, spec: EndpointSpec, objects: list[Wanted]) -> Check:
    """Fetch an object: who may list need not be allowed to read. Archived ones prove nothing of the others."""
    found: list[Check] = []
    for wanted in objects:
        key = _named(wanted)
        _, verdict = client.fetch(wanted, spec.name)
        if verdict.reason is None:
            return passed(shown(spec), f"{key} comes whole")
        meaning, remedy = explain(verdict.reason)
        text = f"{key}: {meaning} ({verdict.detail})"
        if verdict.reason is Reason.ARCHIVED:
            found.append(warned(shown(spec), text, remedy))
        else:
            found.insert(0, failed(shown(spec), text, remedy))
    return found[0]


def _named(wanted: Wanted) -> str:
    return printable(show(key_of(wanted.directory, wanted.name)))


def shown(spec: EndpointSpec) -> str:
    """Name an endpoint in a check."""
    return spec.name.upper()


def _is_comparable(client: SourceClient, wanted: Wanted) -> bool:
    """Tell whether a job would ask an endpoint that keeps copies for an object, where there is one."""
    copies = {spec.name for spec in client.fetching.values() if not spec.is_origin}
    return not copies or not copies.isdisjoint(client.routes(wanted))


def _hosts(client: SourceClient) -> list[tuple[EndpointSpec, str]]:
    """Return each address once, origins first."""
    found: dict[str, EndpointSpec] = {}
    fetching = sorted(client.fetching.values(), key=lambda spec: not spec.is_origin)
    for spec in (*fetching, client.listing):
        for url in spec.sites:
            found.setdefault(url, spec)
    return [(spec, url) for url, spec in found.items()]


def check_name(name: str, url: str) -> Check:
    """Resolve the host of a URL."""
    host = urlsplit(url).hostname or ""
    began = time.monotonic()
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError as error:
        return failed(name, f"{host}: {error.strerror}", "check the spelling, and /etc/resolv.conf")
    took = time.monotonic() - began
    text = f"{host} has {count(len(found))} addresses" if len(found) > 1 else f"{host} has 1 address"
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
    distance = duration(abs(offset))
    found = f"{distance} ahead of the server's" if offset > 0 else f"{distance} behind the server's"
    remedy = "it is corrected for the requests, but set it: timedatectl set-ntp true"
    return warned("clock", found, remedy)


def _page(client: SourceClient, response: Response) -> Page:
    """Read the first page; when the clock was refused it has been corrected, so ask again."""
    try:
        return client.source.read_page(client.source.root(), response, time.time())
    except AnswerError as error:
        if error.reason is not Reason.CLOCK:
            raise
    return client.page(client.source.root())


def _check_list(client: SourceClient, page: Page) -> Iterator[Check]:
    """Look at the first lines of a list that lies on this machine, and fetch their objects."""
    if page.unreadable:
        told = f"{count(len(page.unreadable))} of its first lines name nothing: {page.unreadable[0]}"
        yield warned("list", told, "correct it")
    found = list(islice(wanted_of(page.part), _COMPARED))
    for wanted in found:
        _, verdict = client.fetch(wanted, client.routes(wanted)[0])
        if verdict.reason is not None:
            key = _named(wanted)
            meaning, remedy = explain(verdict.reason)
            yield failed("list", f"{key}: {meaning} ({verdict.detail})", remedy)
            return
    yield passed("list", f"its first {counted(len(found), 'objects come')}")


def _check_order(client: SourceClient, first: Page) -> Iterator[Check]:
    """Look at one more page of a long listing: whether it goes on where it was asked to."""
    try:
        pages = [first, *(client.page(position) for position in first.following[:1])]
    except AnswerError as error:
        _, remedy = explain(error.reason)
        yield warned("listing", f"its second page: {error.reason}: {error.detail}", remedy)
        return
    if any(page.serial for page in pages):
        remedy = "nothing to do; all else works"
        yield warned(
            "listing", "not in the order of the keys' bytes: page by page, which takes longer", remedy
        )


def _check_site(client: SourceClient, site: str) -> Check:
    """Ask one of several addresses for the first page."""
    name, host = shown(client.listing), site.partition("://")[2]
    response = client.ask(client.source.list_request(client.source.root(), site, time.time()), site)
    if response.failure is None:
        return passed(name, f"{host} answers")
    meaning, _ = explain(response.failure)
    return warned(
        name, f"{host}: {meaning} ({response.detail})", "the others are used; leave it out if it stays away"
    )


def _check_usage(client: SourceClient) -> Iterator[Check]:
    try:
        usage = client.usage()
        if usage is not None:
            yield passed("usage", f"the bucket holds {size(usage)}")
    except AnswerError as error:
        remedy = "the time left cannot be told while the listing goes on; all else works"
        yield warned("usage", f"the bucket's size is not told: {error.detail}", remedy)


def check_broker(url: str) -> Check:
    """Connect to RabbitMQ."""
    try:
        import aiormq
    except ImportError:
        return failed(
            "broker",
            "the RabbitMQ client is not installed",
            f"add the extra rabbitmq by `{adding('rabbitmq')}`",
        )
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
