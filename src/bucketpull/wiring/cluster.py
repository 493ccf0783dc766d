"""`coordinate` and `work`: the same coordinator and worker as in `sync`, with RabbitMQ between them."""

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from functools import partial

import msgspec

from bucketpull import __version__
from bucketpull.agent.parameters import AgentParameters
from bucketpull.agent.shell import AgentShell
from bucketpull.domain.errors import ConfigError, ExitCode, SourceRefused
from bucketpull.domain.messages import Pulse, Welcome
from bucketpull.domain.selection import Selection
from bucketpull.journal.sqlite_journal import SqliteJournal
from bucketpull.report.console import tell, words_for_file
from bucketpull.report.events import STOPPING, BrokerEvents
from bucketpull.report.systemd import WorkerNotices
from bucketpull.report.worker_lines import WorkerLines, answered, joined, left
from bucketpull.sources.registry import pack, unpack
from bucketpull.sources.source_settings import SourceSettings
from bucketpull.transport.envelope import Session
from bucketpull.transport.job_key import JobKey
from bucketpull.transport.local import DirectTransport, JoinedTransport
from bucketpull.transport.processes import ForkedPool, ForkServer
from bucketpull.transport.rabbitmq_coordinator import RabbitTransport
from bucketpull.transport.rabbitmq_worker import RabbitInbox
from bucketpull.transport.remote_query import check_alone
from bucketpull.web.broker_queries import LedgerApi, answer_query
from bucketpull.wiring.downloader_process import process_main
from bucketpull.wiring.job import (
    DashboardOpener,
    Job,
    Opening,
    agent_parameters,
    agent_shell,
    check_adopting,
    check_job,
    coordinator_parameters,
    opened,
)
from bucketpull.wiring.job_key_file import coordinator_key, told_key, worker_key
from bucketpull.wiring.notifier import Notifier
from bucketpull.wiring.selected_source import selection_digest
from bucketpull.wiring.settings import Settings
from bucketpull.wiring.signals import on_signals
from bucketpull.wiring.system import SystemClock
from bucketpull.wiring.volume_opening import check_paths, known_paths, open_all, owner_of

_ALIVE_SECONDS = 10.0  # between two signs of life for systemd
# Of the ten that a worker has to leave: a sync, the receipts and the goodbye follow.
_STOP_SECONDS = 6.0


def run_coordinate(
    settings: Settings, open_dashboard: DashboardOpener | None, notifier: Notifier
) -> ExitCode:
    """List the bucket and keep the books until the job has ended; return how."""
    broker = settings.broker_url()
    check_job(settings)
    key = coordinator_key(settings)
    asyncio.run(check_alone(broker, settings.job_name()))
    with opened(settings) as opening:
        return asyncio.run(
            _coordinate(settings, broker, told_key(settings, key), opening, open_dashboard, notifier)
        )


async def _coordinate(
    settings: Settings,
    broker: str,
    key: JobKey,
    opening: Opening,
    open_dashboard: DashboardOpener | None,
    notifier: Notifier,
) -> ExitCode:
    lister = f"{settings.machine_name()}/lister"
    journal = opening.journal
    welcome = _welcome(settings, opening.source, journal)
    far = RabbitTransport(broker, settings.job_name(), settings.queue_type, key, welcome, __version__)
    far.inherit((work.id, work.machine) for work in journal.sent())
    await far.start()
    near = DirectTransport()
    transport = JoinedTransport(near, far, frozenset({lister}))
    parameters = coordinator_parameters(settings, lister, selection_digest(settings))
    job = Job(settings, opening, transport, parameters, machine="", notifier=notifier)
    _attach(far, job, journal)
    job.monitor.invitation = (
        f"no machine has joined: on each that has disks run `bucketpull work --job {settings.job_name()} VOLUME...`, "
        "with --broker and --job-key-file as here"
    )
    lists = agent_parameters(settings, journal.id, lister, opening.endpoints)
    try:
        async with job.with_dashboard(open_dashboard):
            await job.run(near.inbox, lists, [])
    finally:
        await transport.close()
    return job.conclude()


def _attach(far: RabbitTransport, job: Job, journal: SqliteJournal) -> None:
    """Connect the transport to the job: what it asks, and what it reports of the broker."""
    far.known = lambda machine: job.shell.call(lambda: known_paths(journal.volumes(), machine))
    far.outstanding = lambda works: job.shell.call(lambda: bool(journal.holders(works)))
    far.rejections.told = lambda text: job.monitor.note("warning", "message.refused", text, "messages")
    job.monitor.refusals_end = far.rejections.ending
    far.queries.answer = partial(answer_query, job.api)
    broker_events = BrokerEvents(partial(job.monitor.note, about="broker"), time.monotonic)
    far.link.lost, far.link.reached = broker_events.lost, broker_events.reached
    job.monitor.unheard = broker_events.seconds


def run_work(settings: Settings, notifier: Notifier) -> ExitCode:
    """Download for a coordinator until the job has ended, or until told to stop."""
    worker = _Worker(settings)
    welcome = asyncio.run(worker.join())
    source = _own_source(welcome, settings)
    check_adopting(source, settings)
    # What is wanted, the coordinator has chosen when it listed.
    main = partial(
        process_main,
        source=source,
        fetch=settings.fetch_options(),
        selection=Selection(),
        packing=welcome.packing,
    )
    with closing(ForkServer(main)) as fork_server:
        settings = msgspec.structs.replace(
            settings, layout=welcome.layout, durability=welcome.durability, verify=welcome.verify
        )
        owner = owner_of(welcome.journal, source)
        volumes = open_all(worker.paths, welcome.known, settings, owner)
        notifier.begin()
        leave = partial(notifier.end, ExitCode.INTERRUPTED)
        inbox = worker.inbox(welcome.journal, [volume.path for volume in volumes])
        pool = ForkedPool(fork_server, settings.process_count())
        parameters = worker.parameters(settings, welcome, source)
        shell = agent_shell(settings, parameters, source, inbox, pool, volumes)
        return asyncio.run(worker.work(shell, inbox, pool, leave))


class _Worker:
    """A worker, from before it joins until it leaves. Raises ConfigError where broker, job, volumes or key cannot be used."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._broker = settings.broker_url()
        if settings.job is None:
            raise ConfigError("--job: give the job's name, as the coordinator has it")
        self._job = settings.job_name()
        self.paths = check_paths(settings.volumes)
        key = worker_key(settings)
        self._hello = Pulse(
            settings.machine_name(), secrets.token_hex(4), __version__, settings.process_count()
        )
        key.of(self._hello.machine)
        self._session = Session(key, __version__, self._job, self._hello.incarnation)
        self._notices = WorkerNotices(words_for_file())

    def inbox(self, journal: str = "", volumes: Sequence[str] = ()) -> RabbitInbox:
        """Return the way to the coordinator."""
        machine, kind = self._hello.machine, self._settings.queue_type
        inbox = RabbitInbox(self._broker, self._job, machine, kind, self._session, journal, volumes=volumes)
        inbox.rejections.told = tell
        return inbox

    async def join(self) -> Welcome:
        """Wait for the coordinator, and return what it answers."""
        inbox = self.inbox()
        await inbox.start()
        joining = asyncio.create_task(inbox.join(self._hello, self._settings.tell))

        async def give_up() -> None:
            joining.cancel()

        on_signals(give_up)
        try:
            done, _ = await asyncio.wait({joining}, timeout=3.0)
            waiting = f"waiting for the coordinator of job {self._job}"
            self._notices.alive("" if done else waiting)
            if not done:
                self._settings.tell(waiting)
            while not done:
                done, _ = await asyncio.wait({joining}, timeout=_ALIVE_SECONDS)
                self._notices.alive()
            welcome = await joining
        except asyncio.CancelledError:
            raise SystemExit(int(ExitCode.INTERRUPTED)) from None
        finally:
            await inbox.close()
        self._say("info", answered(self._job, len(self.paths)))
        return welcome

    def parameters(self, settings: Settings, welcome: Welcome, source: SourceSettings) -> AgentParameters:
        """Return the parameters of a worker without a coordinator beside it: it does not list."""
        return msgspec.structs.replace(
            agent_parameters(settings, welcome.journal, self._hello.machine, source.open().endpoints),
            scans=False,
            stop_seconds=_STOP_SECONDS,
            incarnation=self._hello.incarnation,
            job_digest=welcome.job_digest,
            packs=welcome.packing is not None,
        )

    async def work(
        self, shell: AgentShell, inbox: RabbitInbox, pool: ForkedPool, leave: Callable[[], object]
    ) -> ExitCode:
        """Work until the job has ended, or a signal comes; say why it ends. At a second signal `leave` is called."""
        ledgers = LedgerApi(
            self._hello.machine, lambda: shell.latest.volumes if shell.latest else [], SystemClock()
        )
        inbox.queries.answer = ledgers.answer
        broker_events = BrokerEvents(lambda level, _, text: self._say(level, text), time.monotonic)
        inbox.link.lost, inbox.link.reached = broker_events.lost, broker_events.reached
        pool.start_all()
        await inbox.start()
        self._stop_on_signals(shell, leave)
        telling = asyncio.create_task(self._tell_of(shell), name="tell")
        try:
            await shell.run()
        finally:
            telling.cancel()
            self._notices.stopping()
            await ledgers.close()
        if shell.refusal is not None:
            raise SourceRefused(shell.refusal.reason, shell.refusal.detail)
        self._say("info", left(self._job, has_ended=shell.dismissed))
        return ExitCode.COMPLETE if shell.dismissed else ExitCode.INTERRUPTED

    def _stop_on_signals(self, shell: AgentShell, leave: Callable[[], object]) -> None:
        async def stop() -> None:
            self._say("info", STOPPING)
            await shell.stop()

        def leave_at_once() -> None:
            self._say("info", left(self._job, has_ended=False))
            leave()

        on_signals(stop, leave_at_once)

    async def _tell_of(self, shell: AgentShell) -> None:
        """Report what a worker does, on the terminal and to systemd."""

        def say_of(level: str, line: str) -> None:
            self._notices.alive(line)
            self._say(level, line)

        settings = self._settings
        say_of("info", joined(self._job, len(settings.volumes), settings.process_count()))
        lines = WorkerLines(time.monotonic())
        while True:
            await asyncio.sleep(1.0)
            self._notices.alive()
            if shell.latest is not None:
                for level, line in lines.look(shell.latest, shell.heard_at, time.monotonic()):
                    say_of(level, line)

    def _say(self, level: str, line: str) -> None:
        self._settings.tell(line, level=level, timed=True)


def _welcome(settings: Settings, config: SourceSettings, journal: SqliteJournal) -> Welcome:
    source = pack(config.public())
    packing = settings.packing()
    parts = (source, settings.layout, settings.durability, settings.verify)
    digest = hashlib.sha256(msgspec.json.encode((*parts, packing, journal.id))).hexdigest()[:16]
    return Welcome(settings.job_name(), journal.id, digest, *parts, packing=packing)


def _own_source(welcome: Welcome, settings: Settings) -> SourceSettings:
    """Return the source's configuration for this worker: the coordinator's, checked against and completed by what is set here."""
    config = unpack(welcome.source)
    own = type(config).of(config.place(), settings.options).checked()
    return config.held_against(own).with_secrets_of(own).checked()
