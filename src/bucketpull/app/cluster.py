"""`coordinate` and `work`: the same coordinator and worker as in `sync`, with RabbitMQ between them."""

import asyncio
import hashlib
from collections.abc import Sequence
from functools import partial

import msgspec

from bucketpull import __version__
from bucketpull.app.clock import SystemClock
from bucketpull.app.job import check_limits, conclude, on_signals, run_together, watched
from bucketpull.app.monitor import Monitor
from bucketpull.app.panel import JobPanel, Watcher
from bucketpull.app.parts import (
    check_summary,
    fetch_options,
    machine_name,
    open_journal,
    source_config,
    worker_policy,
)
from bucketpull.app.probe import Findings, probe
from bucketpull.app.process import process_main
from bucketpull.app.settings import Settings
from bucketpull.app.steering import Steering
from bucketpull.app.volumes import check_paths, open_all, open_one
from bucketpull.domain.errors import ConfigError, ExitCode
from bucketpull.domain.model import Pulse, Welcome
from bucketpull.engine.coordinator import Coordinator, CoordinatorPolicy
from bucketpull.engine.worker import Worker
from bucketpull.fetch.loop import CurlLoop
from bucketpull.journal.sqlite import SqliteJournal
from bucketpull.report.choice import open_reporter
from bucketpull.sources.config import UpyunConfig
from bucketpull.sources.upyun import UpyunSource
from bucketpull.transport.direct import DirectTransport
from bucketpull.transport.joined import JoinedTransport
from bucketpull.transport.processes import Nursery, ProcessCrew
from bucketpull.transport.rabbitmq import RabbitInbox, RabbitTransport

SECRETS = {"operator": "", "password": "", "token": "", "token_expires": 0, "cdn_secret": ""}


def run_coordinate(settings: Settings, watchers: Sequence[Watcher] = ()) -> ExitCode:
    """List the bucket and keep the books until the job has ended; return how."""
    broker = _broker(settings)
    check_summary(settings)
    check_limits(settings)
    config = source_config(settings)
    fetch = fetch_options(settings)
    loop = CurlLoop(fetch)
    findings = probe(UpyunSource(config), loop)
    loop.close()
    nursery = Nursery(partial(process_main, source=config, fetch=fetch))
    try:
        journal = open_journal(settings, SystemClock().now())
    except BaseException:
        nursery.close()
        raise
    try:
        return asyncio.run(_coordinate(settings, broker, config, journal, nursery, findings, watchers))
    finally:
        journal.close()


async def _coordinate(
    settings: Settings,
    broker: str,
    config: UpyunConfig,
    journal: SqliteJournal,
    nursery: Nursery,
    findings: Findings,
    watchers: Sequence[Watcher],
) -> ExitCode:
    lister = f"{machine_name(settings)}/lister"
    clock = SystemClock()
    welcome = _welcome(settings, config, journal)
    far = RabbitTransport(broker, settings.job_name(), settings.queue_type, welcome, __version__)
    await far.start()
    near = DirectTransport()
    transport = JoinedTransport(near, far, frozenset({lister}))
    policy = CoordinatorPolicy(
        exits_when_full=settings.when_full == "exit", local_machines=frozenset({lister})
    )
    coordinator = Coordinator(journal, transport, clock, policy)
    crew = ProcessCrew(nursery, settings.process_count())
    worker = Worker(
        worker_policy(settings, journal.id, lister),
        near.inbox,
        crew,
        [],
        clock,
        partial(open_one, expected=None, settings=settings),
    )
    monitor = Monitor(
        coordinator,
        clock,
        settings.job_name(),
        settings.source,
        None if config.prefix else findings.usage_bytes,
        [open_reporter(json=settings.json, quiet=settings.quiet)],
    )
    steering = Steering(settings, journal, coordinator, monitor, machine="")
    crew.start()
    await steering.start()
    try:
        async with watched(watchers, JobPanel(coordinator, journal, monitor)):
            await run_together(coordinator, worker, monitor, UpyunSource(config).root(), settings)
    finally:
        await steering.close()
        await transport.close()
    return conclude(settings, journal, coordinator, monitor)


def run_work(settings: Settings) -> ExitCode:
    """Download for a coordinator until the job has ended, or until told to stop."""
    broker = _broker(settings)
    if settings.job is None:
        raise ConfigError("--job: say whose work to do, with the name that the coordinator has")
    paths = check_paths(settings.volumes)
    machine = machine_name(settings)
    hello = _hello(machine, settings)
    welcome = asyncio.run(_join(settings, broker, machine, hello))
    config = _with_credentials(welcome, settings)
    fetch = fetch_options(settings)
    nursery = Nursery(partial(process_main, source=config, fetch=fetch))
    settings = msgspec.structs.replace(
        settings, layout=welcome.layout, durability=welcome.durability, verify=welcome.verify
    )
    try:
        volumes = open_all(paths, {}, settings)
    except BaseException:
        nursery.close()
        raise
    policy = msgspec.structs.replace(
        worker_policy(settings, welcome.journal, machine),
        scans=False,
        incarnation=hello.incarnation,
        job_digest=welcome.job_digest,
    )

    async def work() -> ExitCode:
        inbox = RabbitInbox(broker, settings.job_name(), machine, settings.queue_type)
        crew = ProcessCrew(nursery, settings.process_count())
        worker = Worker(
            policy, inbox, crew, volumes, SystemClock(), partial(open_one, expected=None, settings=settings)
        )
        crew.start()
        await inbox.start()
        loop = asyncio.get_running_loop()
        on_signals(loop, lambda: loop.create_task(worker.stop(), name="stop"))
        await worker.run()
        return ExitCode.COMPLETE if worker.dismissed else ExitCode.INTERRUPTED

    return asyncio.run(work())


async def _join(settings: Settings, broker: str, machine: str, hello: Pulse) -> Welcome:
    import sys

    inbox = RabbitInbox(broker, settings.job_name(), machine, settings.queue_type)
    await inbox.start()
    joining = asyncio.create_task(inbox.join(hello))
    on_signals(asyncio.get_running_loop(), joining.cancel)
    try:
        done, _ = await asyncio.wait({joining}, timeout=3.0)
        if not done and not settings.quiet:
            print(f"waiting for the coordinator of job {settings.job_name()}", file=sys.stderr)
        return await joining
    except asyncio.CancelledError:
        raise SystemExit(int(ExitCode.INTERRUPTED)) from None
    finally:
        await inbox.close()


def _broker(settings: Settings) -> str:
    if settings.broker is None:
        raise ConfigError("--broker: say where RabbitMQ is, such as amqp://USER:PASSWORD@HOST/VHOST")
    return settings.broker


def _welcome(settings: Settings, config: UpyunConfig, journal: SqliteJournal) -> Welcome:
    source = msgspec.json.encode(msgspec.structs.replace(config, **SECRETS))
    parts = (source, settings.layout, settings.durability, settings.verify, journal.id)
    digest = hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:16]
    return Welcome(
        settings.job_name(), journal.id, digest, source, settings.layout, settings.durability, settings.verify
    )


def _with_credentials(welcome: Welcome, settings: Settings) -> UpyunConfig:
    config = msgspec.json.decode(welcome.source, type=UpyunConfig)
    return msgspec.structs.replace(
        config,
        operator=settings.operator,
        password=settings.password,
        token=settings.token,
        token_expires=settings.token_expires,
        cdn_secret=settings.token_secret,
    ).checked()


def _hello(machine: str, settings: Settings) -> Pulse:
    policy = worker_policy(settings, "", machine)
    return Pulse(
        machine=machine,
        incarnation=policy.incarnation,
        version=policy.version,
        processes=settings.process_count(),
        objects=0,
        bytes=0,
        skipped=0,
        window=0,
        scan_window=0,
        holds=[],
        retries={},
        failures={},
        lanes={},
        volumes=[],
    )
