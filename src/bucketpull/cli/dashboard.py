"""`bucketpull dashboard`: the page of a job that runs without one, or does not run."""

import asyncio
import signal
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlencode

import click

from bucketpull.cli import options
from bucketpull.domain.errors import BucketpullError, ConfigError, ExitCode
from bucketpull.domain.progress import Snapshot
from bucketpull.web.api import Api, ApiRequest, ApiResponse, failed
from bucketpull.web.history import load_history
from bucketpull.wiring.coordinator_client import local_client
from bucketpull.wiring.dashboard_access import dashboard_at
from bucketpull.wiring.job_status import job_status
from bucketpull.wiring.journals import JournalView, existing_folder, journal_to_read
from bucketpull.wiring.settings import Settings

if TYPE_CHECKING:
    from bucketpull.wiring.job import DashboardOpener

_DEFAULT_ADDRESS: Final = "127.0.0.1:8377"
_ANSWER_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 1.0


@click.command()
@click.argument("arguments", metavar="[SOURCE] [HOST:PORT]", nargs=-1)
@click.option(
    "--listen",
    "--dashboard",
    "address",
    metavar="HOST:PORT",
    help="Where to serve it (default: 127.0.0.1:8377); the argument HOST:PORT says the same.",
)
@options.dashboard_access
@options.volumes_below
@options.prices
@options.common
def dashboard(arguments: tuple[str, ...], address: str | None, **flags: Any) -> int:
    """Serve the page of a job, until Ctrl-C: from its coordinator while one runs, else from its journal.

    The job is named by SOURCE, --job or --state; if you have only one, by nothing.

    \b
    bucketpull dashboard --job photos
    bucketpull dashboard 127.0.0.1:9000 --state /mnt/ssd/photos
    """
    places = [argument for argument in arguments if options.is_address(argument)]
    sources = [argument for argument in arguments if argument not in places]
    if len(sources) > 1 or len(places) + (address is not None) > 1:
        raise ConfigError(f"dashboard {' '.join(arguments)}: name one SOURCE and one HOST:PORT at most")
    settings = options.settings({**flags, "source": next(iter(sources), None)})
    name = "--listen" if address is not None else "HOST:PORT"
    if address is None:
        address = next(iter(places), _DEFAULT_ADDRESS)
    panel = JobAtRest(settings)
    outside = JobApi(settings, panel)
    return asyncio.run(_serve(panel, outside, dashboard_at(address, name, settings)))


class JobAtRest(JournalView):
    """See `web.api.JobView`: what the journal says of a job that does not run."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._folder = existing_folder(settings)
        self._latest = self._read()

    async def follow(self) -> None:
        """Look at the journal and the disks again and again, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            self._latest = await asyncio.to_thread(self._read)

    def snapshot(self) -> Snapshot:
        """See `JobView`."""
        return self._latest

    def _read(self) -> Snapshot:
        with journal_to_read(self._settings) as reader:
            return job_status(reader, self._folder).snapshot


class JobApi:
    """Answers as the job's own API: by its coordinator while one runs, else from its journal."""

    def __init__(self, settings: Settings, panel: JobAtRest) -> None:
        self._folder = existing_folder(settings)
        self._panel = panel
        prices = {"price_per_gb": settings.price_per_gb, "price_per_10k": settings.price_per_10k}
        self._prices = {name: str(price) for name, price in prices.items() if price is not None}

    async def answer(self, request: ApiRequest) -> ApiResponse:
        """Answer a request, whatever it is."""
        request = request._replace(query={**self._prices, **request.query})
        answer = await asyncio.to_thread(self._forward, request)
        if answer is not None:
            return answer
        if request.method not in {"GET", "HEAD"}:
            error = ConfigError(f"journal {self._folder}: its job does not run; start it to change it")
            return failed(400, str(error))
        history = await asyncio.to_thread(load_history, self._folder)
        return await Api(self._panel, history).answer(request)

    def _forward(self, request: ApiRequest) -> ApiResponse | None:
        query = urlencode(request.query, errors="surrogateescape")  # keys need be no UTF-8
        target = quote(request.path, errors="surrogateescape") + (f"?{query}" if query else "")
        try:
            client = local_client(self._folder, _ANSWER_SECONDS)
            if client is None:
                return None
            return ApiResponse(*client.ask(request.method, target, request.body))
        except BucketpullError:  # it has just ended
            return None


async def _serve(panel: JobAtRest, outside: JobApi, open_dashboard: "DashboardOpener") -> ExitCode:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    following = asyncio.create_task(panel.follow(), name="follow")
    dashboard = await open_dashboard(outside.answer, panel)
    await stop.wait()
    following.cancel()
    await dashboard.close()
    return ExitCode.COMPLETE
