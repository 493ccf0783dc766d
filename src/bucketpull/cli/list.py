"""`bucketpull list`: an inventory of a source, for people and for the services that fetch by URL."""

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from bucketpull.cli import options
from bucketpull.domain.counting import counted
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.keys import urls_of
from bucketpull.domain.model import Part, show
from bucketpull.downloader.walk import ListingWalk
from bucketpull.fetch.loop import FetchLoop
from bucketpull.report.console import News, result_stream, tell
from bucketpull.report.figures import count
from bucketpull.report.list_forms import FORMS, Columns, Form
from bucketpull.report.list_output import (
    PARQUET,
    ListOutput,
    ListState,
    Mark,
    StreamOutput,
    check_output,
    is_folder,
    open_output,
    read_state,
    state_of,
)
from bucketpull.report.output_files import is_stream, replacing
from bucketpull.sources.source_settings import SourceSettings
from bucketpull.wiring.file_checks import check_file
from bucketpull.wiring.selected_source import selected, selection_of
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.source_client import Patience, SourceClient, reach, turn
from bucketpull.wiring.system import SystemClock

_MARK_SECONDS = 2.0
_MARK_SHARE = 20  # of the time goes to marks, at most one part
_SHOW_SECONDS = 5.0
_SHOWN_KEYS = 3


@click.command("list", cls=options.ChoosingCommand)
@click.argument("places", metavar="SOURCE", nargs=-1)
@options.output
@click.option(
    "--format",
    "form",
    type=click.Choice([*FORMS, "parquet"]),
    default="keys",
    show_default=True,
    help="What to write: keys, a table, URLs, or the list of a service that fetches by URL.",
)
@click.option("--base-url", metavar="URL", help="What the objects' URLs begin with (default: --cdn-url).")
@click.option("--rate", metavar="N", help="At most N requests a second.")
@options.source
@options.choosing
@options.common
def list_(places: tuple[str, ...], output: str | None, form: str, base_url: str | None, **flags: Any) -> int:
    """List what SOURCE holds, and fetch nothing.

    With --output a list that was interrupted goes on where it was when the same command is run again. The forms oss (Alibaba),
    oms (Huawei), volcengine and parquet are folders of files; gcs (Google) is one sorted file. Exit 3 if a folder could not be
    listed, or a key has no place in the form.

    \b
    bucketpull list upyun://photos --output keys.txt
    bucketpull list upyun://photos --include '/2024/**' --max-size 1M
    bucketpull list s3://photos --format jsonl | jq .size
    bucketpull list upyun://photos --format oss --cdn-url https://img.example.com --output photos-list
    """
    settings = options.settings_of_job(places, flags)
    return _run(settings, output, form, base_url)


def _run(settings: Settings, output: str | None, name: str, base_url: str | None) -> ExitCode:
    config = settings.source_config()
    form = FORMS.get(name, PARQUET)
    if form.has_md5s:
        config = config.with_versions()
    base = _base(name, form, base_url, config)
    path = None if output is None else Path(output)
    check_output(name, form, path)
    if path is not None and path.is_dir() and not is_folder(form):
        check_file("--output", str(path))
    selection = selection_of(settings)
    which = msgspec.json.encode([config.identity(), name, base, msgspec.to_builtins(selection)])
    mark = None if path is None or is_stream(path) else _mark(path, form, which)
    state = ListState(msgspec.Raw(which)) if mark is None else mark.more
    with closing(FetchLoop(settings.fetch_options())) as fetcher:
        source = selected(config.open(), selection)
        patience = Patience(settings.source)
        reach(SourceClient(source, fetcher, patience))
        with _opened(name, form, path, mark) as opened:
            inventory = _Inventory(opened, base, state)
            walk = ListingWalk(source, fetcher, SystemClock(), inventory.take, state.frontier, settings.rate)
            inventory.run(walk, patience, News(quiet=settings.quiet, seconds=_SHOW_SECONDS))
    return _told(inventory, walk, settings)


def _base(name: str, form: Form[Columns], base_url: str | None, config: SourceSettings) -> str:
    """Return what URLs begin with; "" where none are written, or objects bring their own."""
    base = base_url or (getattr(config, "cdn_url", None) or "").partition(" ")[0]
    if form.needs_urls and not base and config.scheme() != "urls":
        raise ConfigError(f"--format {name}: where can the objects be fetched? Give --cdn-url or --base-url")
    return base.rstrip("/") + "/" if base and form.has_urls else ""


def _mark(path: Path, form: Form[Columns], which: bytes) -> Mark | None:
    """Read how far a list came before. Raises ConfigError where it was another one."""
    place = state_of(path, is_folder(form))
    mark = read_state(place)
    if mark is not None and bytes(mark.more.identity) != which:
        raise ConfigError(f"{path}: was begun as another list; name another --output, or remove {place}")
    return mark


@contextmanager
def _opened(
    name: str, form: Form[Columns], path: Path | None, mark: Mark | None
) -> Iterator[ListOutput[Columns]]:
    """Open where a form goes, None for standard output. Raises ConfigError where another place cannot be written."""
    if path is None:
        yield StreamOutput(form, result_stream(name))
        return
    try:
        if is_stream(path):
            with replacing(path) as stream:
                yield StreamOutput(form, stream)
        else:
            with closing(open_output(form, path, mark)) as output:
                yield output
    except OSError as error:
        raise ConfigError(
            f"--output {path}: {error.strerror or error}; name a place that can be written"
        ) from error


class _Inventory:
    """A list in writing."""

    def __init__(self, output: ListOutput[Columns], base: str, state: ListState) -> None:
        self._output = output
        self._base = base
        self.state = state
        self.shown: list[bytes] = []
        self._due = 0.0

    def take(self, part: Part) -> None:
        """Write a page's objects."""
        if not part.names:
            return
        columns = _columns(part, self._base)
        left_out = self._output.write(columns)
        self.state.objects += len(columns.keys) - len(left_out)
        self.state.left_out += len(left_out)
        self.shown += left_out[: _SHOWN_KEYS - len(self.shown)]

    def run(self, walk: ListingWalk, patience: Patience, news: News) -> None:
        """Walk to the end, with a mark now and then."""
        started = time.monotonic()
        while not walk.is_over:
            turn(walk, patience)
            if news.are_due():
                seconds, left = time.monotonic() - started, len(walk.frontier())
                tell(
                    f"{counted(self.state.objects, 'objects')}, {counted(walk.pages, 'pages')} in {seconds:.0f} s, {count(left)} to list"
                )
            began = time.monotonic()
            if began >= self._due and self._output.can_mark:
                self._mark(walk)
                ended = time.monotonic()
                self._due = ended + max(_MARK_SECONDS, _MARK_SHARE * (ended - began))
        self._output.finish()

    def _mark(self, walk: ListingWalk) -> None:
        failed = self.state.failed + len(walk.failures)
        self._output.mark(msgspec.structs.replace(self.state, frontier=walk.frontier(), failed=failed))


def _columns(part: Part, base: str) -> Columns:
    names, nothing = part.names, [""] * len(part.names)
    if part.directory:
        above = part.directory + b"/"
        names = [above + name for name in names]
    urls = part.urls or (urls_of(base, names) if base else nothing)
    return Columns(names, part.sizes, part.mtimes, part.versions or nothing, urls)


def _told(inventory: _Inventory, walk: ListingWalk, settings: Settings) -> ExitCode:
    state = inventory.state
    failed = state.failed + len(walk.failures)
    for failure in walk.failures[:_SHOWN_KEYS]:
        tell(f"not listed: {show(failure.directory) or '/'}: {failure.reason}: {failure.detail}")
    if state.left_out:
        shown = ", ".join(show(key) for key in inventory.shown)
        tell(f"left out: {counted(state.left_out, 'keys')} that this form cannot hold, such as {shown}")
    settings.tell(f"{counted(state.objects, 'objects')} listed")
    return ExitCode.INCOMPLETE if failed or state.left_out else ExitCode.COMPLETE
