"""A job whose coordinator runs in this process: what `sync` and `coordinate` have in common, from the first request to the end."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final

import msgspec

from bucketpull import __version__
from bucketpull.agent.parameters import AgentParameters
from bucketpull.agent.shell import AgentShell
from bucketpull.coordinator.parameters import CoordinatorParameters
from bucketpull.coordinator.shell import CoordinatorShell
from bucketpull.domain.counting import counted
from bucketpull.domain.endpoints import EndpointSpec
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.model import Position
from bucketpull.domain.progress import JobState, Snapshot
from bucketpull.domain.selection import EVERYTHING
from bucketpull.fetch.certificates import authorities
from bucketpull.fetch.loop import FetchLoop
from bucketpull.journal.database import OPTION, PRICE, RESERVE, check_ours
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.report.document import exit_code_of, summary_dict
from bucketpull.report.events import STOPPING
from bucketpull.report.nonblocking_stream import flush_all
from bucketpull.report.reporters import open_reporter
from bucketpull.sources.source_settings import SourceSettings
from bucketpull.transport.mailbox import end_tasks
from bucketpull.transport.processes import ForkedPool, ForkServer
from bucketpull.volumes.volume import DiskVolume
from bucketpull.web import control_socket
from bucketpull.web.history import load_history, record_history
from bucketpull.web.server import Server
from bucketpull.wiring.downloader_process import process_main
from bucketpull.wiring.file_checks import check_apart, check_file, check_folder, refuse_foreign_link
from bucketpull.wiring.job_limits import budget_of
from bucketpull.wiring.job_status import absent_volumes
from bucketpull.wiring.journals import identity_of
from bucketpull.wiring.monitor import Monitor
from bucketpull.wiring.notifier import Notifier
from bucketpull.wiring.remote_control import JobControl
from bucketpull.wiring.selected_source import order_of, selected, selection_digest, selection_of
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.signals import on_signals
from bucketpull.wiring.source_client import Findings, Patience, SourceClient, probe
from bucketpull.wiring.system import SystemClock, check_limit
from bucketpull.wiring.volume_opening import check_pack_folders, open_again, owner_of

if TYPE_CHECKING:
    from bucketpull.ports import Inbox, Transport
    from bucketpull.web.api import Api, ApiRequest, ApiResponse, Handler, JobView
    from bucketpull.web.dashboard import Dashboard

_LEAVE_SECONDS: Final = 40.0  # an agent that was told to stop closes its volumes; longer than it allows them
_LAST_WORDS_SECONDS: Final = 1.0  # for a terminal or a pipe that does not read
_ABANDONED: Final = (
    "the unfinished run chose other objects (--include, --exclude, sizes, dates), or objects were pruned since: it ends here, and the source "
    "is listed anew; what is stored stays"
)


DashboardOpener = Callable[["Handler", "JobView"], Awaitable["Dashboard"]]


def dashboard_opener(settings: Settings) -> DashboardOpener | None:
    """Return what opens the dashboard if it is asked for; see `dashboard_at`."""
    if settings.dashboard is None:
        return None
    from bucketpull.wiring.dashboard_access import dashboard_at  # most jobs have none

    return dashboard_at(settings.dashboard, "--dashboard", settings)


class Opening(msgspec.Struct, frozen=True):
    """What a job begins with: its source, where that is asked and begins, its first answers, the fork server, and the journal."""

    source: SourceSettings
    endpoints: Sequence[EndpointSpec]
    root: Position
    findings: Findings
    fork_server: ForkServer
    journal: SqliteJournal


def check_job(settings: Settings, volumes: Sequence[str] = ()) -> None:
    """Make sure that the settings can be used, before any request or side effect. `volumes` are real paths.

    Raises ConfigError where they cannot.
    """
    check_limit()
    check_adopting(settings.source_config(), settings)
    selection_of(settings)
    budget_of(settings)
    if settings.packing() is not None:
        check_pack_folders(volumes)
    if settings.summary is not None:
        check_file("--summary", settings.summary)
    if settings.state == "":
        raise ConfigError("--state '': name a folder for the journal")
    state = settings.state_folder()
    refuse_foreign_link(f"--state {state}", state)
    check_folder(f"--state {state}", os.path.realpath(state))
    if os.path.isdir(state):
        check_ours(state)
    check_apart(state, volumes)
    authorities(settings.ca_file)


def check_adopting(source: SourceSettings, settings: Settings) -> None:
    """Make sure that files of others can be told from objects. Raises ConfigError where they cannot."""
    if settings.adopt and source.identity().get("style"):
        raise ConfigError("--adopt: nothing states the length of image versions; give it without --style")


def coordinator_parameters(settings: Settings, machine: str, selection: str | None) -> CoordinatorParameters:
    """Return what the coordinator is told; `machine` is the one whose agent runs beside it."""
    return CoordinatorParameters(
        exits_when_full=settings.when_full == "exit",
        local_machine=machine,
        budget=budget_of(settings),
        selection=selection,
    )


def agent_parameters(
    settings: Settings,
    journal: str,
    machine: str,
    endpoints: Sequence[EndpointSpec],
    *,
    is_last_resort: bool = False,
) -> AgentParameters:
    """Return the parameters of this machine's worker; `endpoints` are the source's."""
    return AgentParameters(
        machine=machine,
        journal=journal,
        version=__version__,
        incarnation=secrets.token_hex(4),
        durability=settings.durability,
        verify=settings.verify,
        hang_seconds=settings.hang_seconds,
        packs=settings.pack is not None,
        endpoints=tuple(endpoints),
        adopts=settings.adopt or "",
        keeps_foreign=settings.foreign == "keep",
        is_last_resort=is_last_resort,
    )


def agent_shell(
    settings: Settings,
    parameters: AgentParameters,
    source: SourceSettings,
    inbox: Inbox,
    pool: ForkedPool,
    volumes: Sequence[DiskVolume],
) -> AgentShell:
    """Return the agent of this machine."""
    reopen = partial(open_again, settings=settings, owner=owner_of(parameters.journal, source))
    return AgentShell(parameters, inbox, pool, volumes, SystemClock(), reopen)


@contextlib.contextmanager
def opened(settings: Settings) -> Iterator[Opening]:
    """Ask the source, fork the fork server before there are threads, and open the journal; at the end close both.

    Raises:
        SourceRefused: Credentials, permission or bucket are wrong; nothing was written.
        JournalError: See `SqliteJournal.open`.

    """
    source, fetch, selection = settings.source_config(), settings.fetch_options(), selection_of(settings)
    patience = Patience(settings.source, longest=math.inf)
    asked = selected(source.open(), selection)
    with closing(FetchLoop(fetch)) as loop:
        findings = probe(SourceClient(asked, loop, patience))
    if findings.first_page is not None and findings.first_page.serial:
        settings.tell(
            "the source does not list in the order of the keys' bytes: it is listed page by page, which takes longer"
        )
    main = partial(process_main, source=source, fetch=fetch, selection=selection, packing=settings.packing())
    with (
        closing(ForkServer(main)) as fork_server,
        closing(_open_journal(settings, SystemClock().now())) as journal,
    ):
        yield Opening(source, asked.endpoints, asked.root(), findings, fork_server, journal)


def _open_journal(settings: Settings, now: float) -> SqliteJournal:
    """Open the job's journal, and make it if there is none; see `SqliteJournal.open` for what it raises."""
    options = {OPTION + name: value for name, value in settings.source_settings().remembered().items()}
    given = msgspec.structs.asdict(settings.prices())
    prices = {PRICE + name: "" if price is None else str(price) for name, price in given.items()}
    kept = {RESERVE: settings.reserve if settings.volumes else ""}  # each worker has its own
    configuration = identity_of(settings) | options | prices | kept
    return SqliteJournal.open(
        settings.state_folder(),
        settings.job_name(),
        configuration,
        now,
        order_of(settings),
        settings.retry_seconds,
    )


class Job:
    """A coordinator with its reporters and its remote control. `machine` is the one whose volumes are in this process, "" for none."""

    def __init__(
        self,
        settings: Settings,
        opening: Opening,
        transport: Transport,
        parameters: CoordinatorParameters,
        machine: str,
        notifier: Notifier | None = None,
    ) -> None:
        self._settings = settings
        self._opening = opening
        self._notifier = notifier
        self.shell = CoordinatorShell(opening.journal, transport, SystemClock(), parameters)
        self.coordinator = self.shell.coordinator
        self.monitor = Monitor(
            self.coordinator,
            SystemClock(),
            settings.job_name(),
            settings.source,
            None if opening.source.identity()["prefix"] else opening.findings.usage_bytes,
            [
                open_reporter(json=settings.json, quiet=settings.quiet),
                *(notifier.reporters if notifier else []),
            ],
            opening.endpoints,
            settings.prices(),
            absent_volumes(opening.journal),
        )
        if notifier is not None:
            notifier.note_to = self.monitor.note
        if opening.journal.abandons(parameters.selection):
            self.monitor.note("warning", "selection.changed", _ABANDONED)
        self.control = JobControl(settings, opening.journal, self.shell, self.monitor, machine)
        self.control.begin()
        self.monitor.has_timetable = self.control.bandwidth.has_timetable
        self._history = load_history(settings.state_folder())
        self._has_ended = self._is_told = False

    @cached_property
    def api(self) -> Api:
        """Its remote control, made for the first who asks something."""
        from bucketpull.web.api import Api

        return Api(self.control, self._history, self.control, lambda: self._has_ended)

    async def _answer(self, request: ApiRequest) -> ApiResponse:
        return await self.api.answer(request)

    @contextlib.asynccontextmanager
    async def with_dashboard(self, open_dashboard: DashboardOpener | None) -> AsyncIterator[None]:
        """Serve the dashboard, if it is asked for, until the end of the block."""
        dashboard = await open_dashboard(self.api.answer, self.control) if open_dashboard else None
        try:
            yield
        finally:
            if dashboard is not None:
                await dashboard.close()

    async def run(self, inbox: Inbox, parameters: AgentParameters, volumes: Sequence[DiskVolume]) -> None:
        """Run with a worker in this process until the job ends or a signal stops it."""
        pool = ForkedPool(self._opening.fork_server, self._settings.process_count())
        worker = agent_shell(self._settings, parameters, self._opening.source, inbox, pool, volumes)
        pool.start_all()
        async with self._steered():
            await self._run_together(worker)

    def conclude(self) -> ExitCode:
        """Show and write the end of the job; return how it ended. Raises SourceRefused where that is why it ended."""
        snapshot = self.monitor.snapshot()
        summary = summary_dict(snapshot)
        kept = msgspec.json.encode(summary | {"rates": msgspec.structs.asdict(snapshot.rates)})
        self._opening.journal.end(snapshot.state, snapshot.at, kept.decode())
        self._write_summary(msgspec.json.encode(summary))
        self._warn_of_rules(snapshot)
        self.monitor.close(snapshot)
        flush_all(_LAST_WORDS_SECONDS)  # what is told next is not written through the reporter's stream
        self._is_told = True  # while a page may still ask how it ended
        self.coordinator.raise_refusal()
        return exit_code_of(snapshot)

    def _warn_of_rules(self, last: Snapshot) -> None:
        """Say that the rules exclude all that was listed: they may be mistyped, and nothing failed."""
        listed = last.counters.listed
        excludes_all = last.state is JobState.COMPLETE and listed == last.counters.excluded
        if excludes_all and selection_digest(self._settings) != EVERYTHING:
            self.monitor.note("warning", "rules.exclude-all", unwanted(listed))

    def _write_summary(self, summary: bytes) -> None:
        """Write the summary for `--summary`; if that fails, say so without changing how the job ended."""
        if self._settings.summary is None:
            return
        from bucketpull.report.output_files import replacing  # most jobs write none

        try:
            with replacing(self._settings.summary) as file:
                file.write(msgspec.json.format(summary) + b"\n")
        except OSError as error:
            text = f"--summary {self._settings.summary}: not written: {error.strerror}"
            self.monitor.note("error", "summary.failed", text)

    @contextlib.asynccontextmanager
    async def _steered(self) -> AsyncIterator[None]:
        """Serve other commands of this machine; if that fails, the job runs without."""
        folder = self._settings.state_folder()
        server = Server(self._answer, control_socket.user_of)
        try:
            server.start(control_socket.listen(folder))
        except OSError as error:
            text = f"{folder}: no socket there ({error.strerror}); give another --state to steer the job"
            self.monitor.note("warning", "control.refused", text)
        try:
            yield
        finally:
            await server.close()
            control_socket.remove(folder)

    def _stop_on_signals(self) -> None:
        async def interrupt() -> None:
            self.monitor.note("info", "job.interrupted", STOPPING)
            await self.shell.stop()

        def leave() -> None:
            self.monitor.close(msgspec.structs.replace(self.monitor.snapshot(), state=JobState.INTERRUPTED))
            flush_all(_LAST_WORDS_SECONDS)
            if self._notifier is not None:
                self._notifier.end(ExitCode.INTERRUPTED)

        on_signals(interrupt, leave, lambda: self._is_told)

    async def _run_together(self, worker: AgentShell) -> None:
        shell = self.shell
        self._stop_on_signals()
        watching = asyncio.create_task(self.monitor.run(), name="monitor")
        recording = asyncio.create_task(
            record_history(self._history, self.control.snapshot, self._settings.state_folder()), name="charts"
        )
        timing = asyncio.create_task(self.control.bandwidth.run(shell), name="timetable")
        working = asyncio.create_task(worker.run(), name="worker")
        booking = asyncio.create_task(shell.run(self._opening.root), name="coordinator")
        try:
            await asyncio.wait({working, booking, watching}, return_when=asyncio.FIRST_COMPLETED)
            for task in (working, watching):
                if task.done() and task.exception() is not None:
                    await task
            await booking
            await asyncio.wait({working}, timeout=_LEAVE_SECONDS)
        finally:
            await end_tasks((booking, working, watching, timing, recording))
            self._has_ended = True
            await shell.close()
        self.coordinator.conclude()
        if self.coordinator.missing:
            self.monitor.note(
                "warning", "books.short", short_books(self.coordinator.missing, self.coordinator.lost)
            )
        self.monitor.latest = self.monitor.snapshot()  # for those who still look


def unwanted(listed: int) -> str:
    """Say that of so many listed objects none is wanted."""
    options = "check --include, --exclude, --rules-file, and those of size and date"
    if not listed:
        return f"no object was listed outside of folders that the rules exclude; {options}"
    return f"{counted(listed, 'objects were')} listed, and the rules exclude all; {options}"


def short_books(objects: int, lost: int) -> str:
    """Say that ledgers hold so many objects less than the books count; `lost` of them are not merely counted twice."""
    if not lost:
        return (
            f"the ledgers of the volumes hold {counted(objects, 'objects')} less than the books count, where what is listed on two pages counts twice; "
            "the next run compares every page with the ledgers"
        )
    return (
        f"the ledgers of the volumes hold {counted(objects, 'objects')} less than the books count; run the same command again: it compares every "
        "page with the ledgers, and fetches what is missing; if it says so again, `bucketpull verify VOLUME... --repair` puts the totals right"
    )
