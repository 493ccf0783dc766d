"""A job as the dashboard shows it from outside: whether its coordinator runs or not."""

import asyncio
from typing import Final
from urllib.parse import quote, urlencode

from bucketpull.domain.errors import BucketpullError, ConfigError
from bucketpull.domain.progress import Snapshot
from bucketpull.web.api import Api, failed
from bucketpull.web.history import load_history
from bucketpull.web.request import ApiRequest, ApiResponse
from bucketpull.wiring.coordinator_client import local_client
from bucketpull.wiring.job_status import job_status
from bucketpull.wiring.journals import JournalPanel, existing_folder, journal_to_read
from bucketpull.wiring.settings import Settings

_ANSWER_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 1.0


class JobAtRest(JournalPanel):
    """See `web.panel.JobView`: what the journal says of a job that does not run."""

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
            return job_status(reader, self._folder, self._settings.reserve).snapshot


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
