"""`bucketpull plan`: what a job would take."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Sequence
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.bandwidth_schedule import parse_bandwidth
from bucketpull.domain.counting import counted
from bucketpull.domain.demand import (
    Demand,
    Fit,
    FreeSpace,
    SampledPage,
    cost,
    demand,
    fit,
    fit_packed,
    packed,
    rounded,
    seconds,
)
from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.errors import AnswerError, ConfigError, ExitCode, SourceSilent, VolumeError
from bucketpull.domain.http_exchange import Response, Wanted
from bucketpull.domain.model import Page, Part, Position
from bucketpull.domain.packing import Packing
from bucketpull.domain.reserve import parse_reserve
from bucketpull.fetch.loop import FetchLoop
from bucketpull.report.console import say_on, tell, words
from bucketpull.report.plan_output import Plan, Speed, plan_dict, plan_lines
from bucketpull.report.printable import json_line
from bucketpull.volumes.identity import identify
from bucketpull.volumes.reader import open_reader
from bucketpull.wiring.selected_source import selected, selection_of
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.source_client import Patience, SourceClient, reach, wanted_of
from bucketpull.wiring.volume_opening import check_paths

if TYPE_CHECKING:
    from bucketpull.ports import Fetcher


@click.command(cls=options.ChoosingCommand)
@options.places("SOURCE VOLUME...")
@click.option(
    "--sample", type=options.count, default="50", show_default=True, metavar="N", help="List at most N pages."
)
@options.source
@options.choosing
@click.option("--concurrency", metavar="auto|N", help="Transfers in flight while it measures (default: 32).")
@click.option("--rate", metavar="N", help="The job's limit of requests a second.")
@click.option("--bandwidth", metavar="SIZE", help="The job's limit of bytes a second, also by time of day.")
@options.prices
@options.packing
@options.reserve
@options.common
def plan(places: tuple[str, ...], sample: int, **flags: Any) -> int:
    """Estimate objects, space, inodes, requests and days for SOURCE, and whether it fits on VOLUMEs.

    It asks for the bucket's size, lists a sample, fetches objects for three seconds to measure, and writes nothing. Exit 0 if it
    fits, 5 if not.

    \b
    bucketpull plan upyun://photos /mnt/d1 --cdn-url https://img.example.com
    bucketpull plan upyun://photos /mnt/d1 --cdn-url https://img.example.com --price-per-gb 0.29
    bucketpull plan upyun://photos /mnt/d1 --include '/2024/**' --newer 30d
    """
    return _run(options.settings_of_job(places, flags), sample)


_KEPT = 200  # objects of a page, for the measurement
_TRIES = 3
_AS_LISTED = 0.01  # of the listed sizes: so little is no image version, but an object that changed


class Sample(msgspec.Struct):
    """What was listed: its pages, whether they are everything, some of the objects, and how many pages could not be had."""

    pages: list[SampledPage]
    whole: bool
    parts: list[Part]
    lost: int = 0


def _run(settings: Settings, pages: int) -> ExitCode:
    """Print what the job would take; exit 5 if the volumes have no room for it."""
    rooms = [_room(path, settings) for path in _distinct(check_paths(settings.volumes))]
    config = settings.source_config()
    patience = Patience(settings.source)
    with closing(FetchLoop(settings.fetch_options())) as fetcher:
        client = SourceClient(selected(config.open(), selection_of(settings)), fetcher, patience)
        findings, first_page = reach(client)
        sample = take_sample(client, pages, first_page)
        needed = demand(
            sample.pages, sample.whole, None if config.identity()["prefix"] else findings.usage_bytes
        )
        measured = measure(client, fetcher, sample.parts, settings.fixed_concurrency()) if needed else None
    if needed is None and sample.lost:
        raise SourceSilent(
            f"plan: {counted(sample.lost, 'folders')} could not be listed: {patience.trouble}; run it again"
        )
    if needed is None:
        raise ConfigError(
            f"plan: no object in {counted(len(sample.pages), 'pages')} of the listing; increase --sample"
        )
    if measured is not None and abs(measured.share - 1.0) > _AS_LISTED:
        needed = _styled(needed, measured.share)
    by = next(iter(client.fetching.values()))
    plan = _plan(settings, by, findings.usage_bytes, sample, needed, measured, rooms)
    if settings.json:
        say_on(json_line(plan_dict(plan)))
    else:
        for line in plan_lines(plan, words()):
            say_on(line)
    return ExitCode.NO_ROOM if plan.fit.share > 1 else ExitCode.COMPLETE


def _plan(
    settings: Settings,
    by: EndpointSpec,
    usage: int | None,
    sample: Sample,
    needed: Demand,
    measured: Speed | None,
    rooms: Sequence[FreeSpace],
) -> Plan:
    packing = settings.packing()
    found: Fit = fit(needed, rooms) if packing is None else fit_packed(needed, rooms, packing.size)
    rate, width = settings.rate, _bandwidth(settings, measured)
    speeds = [rate, measured.objects_per_second if measured else None]
    objects = min([speed for speed in speeds if speed], default=None)
    return Plan(
        source=settings.source,
        usage_bytes=usage,
        whole=sample.whole,
        pages=len(sample.pages),
        sampled_objects=sum(page.objects for page in sample.pages),
        demand=needed,
        seconds=seconds(needed, objects, width),
        measured=measured,
        rate=rate,
        bandwidth=settings.bandwidth,
        by=by.title,
        by_origin=by.is_origin,
        rooms=list(rooms),
        fit=found,
        packed=packed(needed, (packing or Packing()).size),
        packs=packing is not None,
        cost=cost(needed, settings.prices()),
    )


def _bandwidth(settings: Settings, measured: Speed | None) -> float | None:
    """Return the bytes a second of the mean hour; None without a limit."""
    if settings.bandwidth is None:
        return None
    table = parse_bandwidth(settings.bandwidth)
    limits = [table.at(hour * 3600.0) for hour in range(24)]
    free = measured.bytes_per_second if measured else None
    known = [min(limit, free) if limit and free else limit or free for limit in limits]
    return sum(each for each in known if each) / 24 if all(known) else None


# --- the volumes


def _distinct(paths: Sequence[str]) -> list[str]:
    """Leave out folders on a file system that was named before: its room is there once."""
    seen: dict[int, str] = {}
    for path in paths:
        device = os.stat(_there(path)).st_dev
        if device in seen:
            tell(f"volume {path}: is on the file system of {seen[device]}; its room counts once")
        seen.setdefault(device, path)
    return list(seen.values())


def _there(path: str) -> str:
    return path if os.path.isdir(path) else os.path.dirname(path)


def _room(path: str, settings: Settings) -> FreeSpace:
    status = os.statvfs(_there(path))
    total = status.f_blocks * status.f_frsize
    free = status.f_bavail * status.f_frsize - parse_reserve(settings.reserve, total)
    room = FreeSpace(path, max(0, free), status.f_favail if status.f_files else None)
    if os.path.isdir(path) and identify(path) is not None:
        try:
            reader = open_reader(path)
        except VolumeError as error:
            tell(str(error))
            return room
        room.held_objects, room.held_bytes = reader.ledger.objects, reader.ledger.size
        reader.close()
    return room


# --- the sample


def take_sample(client: SourceClient, limit: int, first: Page) -> Sample:
    """List at most so many pages, chosen at random among those that are known of."""
    generator = random.Random(0)  # the same bucket gives the same plan
    waiting = [client.source.root()]
    pages: list[SampledPage] = []
    parts: list[Part] = []
    lost = 0
    while waiting and len(pages) < limit:
        at = generator.randrange(len(waiting))
        waiting[at], waiting[-1] = waiting[-1], waiting[at]
        position = waiting.pop()
        page = first if not pages and not lost else _list(client, position)
        if page is None:
            lost += 1
            continue
        pages.append(_sampled(position, page))
        parts.append(_thinned(page.part, generator))
        directory = position.directory
        waiting += [Position(directory + b"/" + name if directory else name) for name in page.directories]
        waiting += page.following
    return Sample(pages, not waiting and not lost, parts, lost)


def _list(client: SourceClient, position: Position) -> Page | None:
    for attempt in range(_TRIES):
        try:
            return client.page(position)
        except AnswerError as error:
            client.patience.blame(error.reason, error.detail)
            time.sleep(error.retry_after_seconds or 0.2 * attempt)
    return None


def _sampled(position: Position, page: Page) -> SampledPage:
    sizes = page.part.sizes
    return SampledPage(len(sizes), sum(sizes), sum(map(rounded, sizes)), first=not position.cursor)


def _thinned(part: Part, generator: random.Random) -> Part:
    """Keep some objects of a page, for the measurement."""
    return part.take(generator.sample(range(len(part.names)), min(len(part.names), _KEPT)))


def _styled(needed: Demand, share: float) -> Demand:
    """Scale the space to image versions, of which the listing does not tell the sizes."""
    waste = needed.disk_bytes.value - needed.bytes.value
    return msgspec.structs.replace(
        needed,
        bytes=needed.bytes.times(share),
        disk_bytes=msgspec.structs.replace(
            needed.bytes.times(share),
            value=needed.bytes.value * share + waste,
            low=needed.bytes.low * share,
            high=needed.bytes.high * share * 1.5 + waste,
        ),
    )


_SECONDS: Final = 3.0
_OBJECTS: Final = 400
_IN_FLIGHT: Final = 32


def measure(
    client: SourceClient, fetcher: Fetcher, parts: Sequence[Part], concurrency: int | None = None
) -> Speed | None:
    """Fetch some of the objects; None where there are none, or none came."""
    objects = [wanted for part in parts for wanted in wanted_of(part) if client.routes(wanted)]
    random.Random(1).shuffle(objects)
    attempt = _Attempt(client, fetcher, objects[:_OBJECTS])
    attempt.run(concurrency or _IN_FLIGHT)
    if not attempt.objects:
        return None
    return Speed(
        attempt.objects / attempt.seconds,
        attempt.received / attempt.seconds,
        attempt.received / attempt.listed if attempt.listed else 1.0,
        concurrency or _IN_FLIGHT,
        attempt.seconds,
        attempt.failed,
    )


class _Attempt:
    """Fetches until the objects or the time are at their end; counts whole answers."""

    def __init__(self, client: SourceClient, fetcher: Fetcher, waiting: list[Wanted]) -> None:
        self._client = client
        self._fetcher = fetcher
        self._waiting = waiting
        self._ended = False
        self.objects = self.listed = self.received = self.failed = 0
        self.seconds = 0.0

    def run(self, concurrency: int) -> None:
        began = time.monotonic()
        while not self._ended and (self._waiting or self._fetcher.in_flight):
            while self._waiting and self._fetcher.in_flight < concurrency:
                self._submit(self._waiting.pop())
            self._fetcher.run_once(0.1)
            self.seconds = time.monotonic() - began
            self._ended = self.seconds >= _SECONDS

    def _submit(self, wanted: Wanted) -> None:
        endpoint = self._client.routes(wanted)[0]
        site = self._client.site(self._client.fetching[endpoint])
        request = self._client.source.object_request(wanted, endpoint, site, time.time())
        self._fetcher.submit(request, partial(self._note, wanted.size))

    def _note(self, size: int, response: Response) -> None:
        if self._ended:
            return
        if response.status != 200 or response.failure is not None:
            self.failed += 1
            return
        self.objects += 1
        self.listed += size
        self.received += response.received
