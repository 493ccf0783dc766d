"""A scripted job to look at, a dashboard that serves it from a thread, and a real browser driven by WebDriver."""

import asyncio
import base64
import contextlib
import http.client
import json
import math
import random
import re
import shutil
import subprocess
import threading
import time
from fnmatch import fnmatch

import msgspec
import pytest

from bucketpull.domain.budget import Prices, Spending
from bucketpull.domain.errors import JournalError, Reason
from bucketpull.domain.eta import Forecast
from bucketpull.domain.messages import Pulse
from bucketpull.domain.model import Counters, Extent, Failure, Outstanding
from bucketpull.domain.progress import DirectoryState, Note, Rates, Snapshot, StageProgress
from bucketpull.domain.status import EndpointStatus, VolumeState, VolumeStatus
from bucketpull.domain.user_limits import Limits
from bucketpull.journal.journal_reader import JobRecord
from bucketpull.web.api import Api
from bucketpull.web.dashboard import Dashboard, listen
from bucketpull.web.history import History

TB = 10**12
OBJECT = 33_000
TOTAL = 303_000_000
TREE = {
    b"": [(b"avatars", "done", 812_000, 0, 3), (b"products", "transferring", 163_118_433, 9_304_212, 4),
          (b"uploads", "transferring", 7_679_190, 4_000_000, 12),
          ("照片".encode(), "waiting", 0, 0, None)],
    b"avatars": [(b"avatars/large", "done", 270_400, 0, 0), (b"avatars/small", "done", 270_800, 0, 0),
                 (b"avatars/tmp<b>", "failed", 270_800, 0, 0)],
    b"products": [(b"products/2021", "done", 41_200_311, 0, 0), (b"products/2022", "done", 58_911_004, 0, 0),
                  (b"products/2023", "transferring", 63_007_118, 9_304_212, 0), (b"products/2024", "waiting", 0, 0, None)],
    b"uploads": [(b"uploads/%02d" % month, "transferring", 1_900_000 + month * 7_919, 400_000 * month, 0) for month in range(1, 5)],
}  # fmt: skip


class ScriptedPanel:
    """A job of 10 TB on two machines whose speed changes; time goes on by `advance` only."""

    def __init__(self, share=0.58):
        self.random = random.Random(7)
        self.now = time.time() - 1200
        self.begun = self.now - 118_000
        self.done = share * TOTAL
        self.seconds = 0.0
        self.requests = 0.0
        self.request_seconds = 0.0
        self.limits = Limits(requests_per_second=8000.0)
        self.ended = ""
        self.standing = ""
        self.retries = {"throttled": 1806, "timeout": 121, "reset": 38}
        self.failed = [
            Failure(
                b"products/2023", b"a-%04d.jpg" % number, 41_233, 1_690_000_000, "", reason, 6, status, detail
            )
            for number, (reason, status, detail) in enumerate(
                [(Reason.MISSING, 404, '{"msg":"file not found","code":40400001}')] * 9
                + [(Reason.FORBIDDEN, 403, "<html><title>403 Forbidden</title> hotlink protection")] * 4
                + [(Reason.TIMEOUT, 0, "no byte in 30 s from 198.51.100.7")]
            )
        ]
        self.calls = []
        self.sought = []
        self.speed = 0.0
        self.forecast = Forecast(TOTAL * OBJECT)

    @property
    def paused(self):
        return self.limits.paused

    def advance(self, seconds):
        wave = 4300 + 700 * math.sin(self.seconds / 140) + self.random.gauss(0, 160)
        if 500 < self.seconds % 1300 < 560:
            wave *= 0.35
            self.retries["throttled"] += 9
            self.retries["timeout"] += self.random.randrange(3)
        self.speed = 0.0 if self.paused else wave
        self.done += self.speed * seconds
        self.requests += self.speed * seconds
        self.latency = 0.052 + 0.014 * math.sin(self.seconds / 110) + abs(self.random.gauss(0, 0.002))
        self.request_seconds += self.speed * seconds * self.latency
        self.seconds += seconds
        self.now += seconds
        self.forecast.sample(self.now, self._counters(), self._outstanding(), not self.paused)

    def _counters(self):
        listed = int(self.done * 1.06) + 1_200_000
        return Counters(
            listed=listed,
            listed_bytes=listed * OBJECT,
            stored=int(self.done) - 120_617,
            skipped=120_600,
            failed=len(self.failed),
            vanished=3,
            directories=91_002,
            pages=120_331,
            bytes=int(self.done - 120_617) * OBJECT,
            skipped_bytes=120_600 * OBJECT,
        )

    def _outstanding(self):
        counters = self._counters()
        left = counters.listed - counters.stored - counters.skipped - counters.failed - counters.vanished
        return Outstanding(1204, 8, left // 1000, 24, left, left * OBJECT)

    def snapshot(self):
        counts = {}
        for failure in self.failed:
            counts[str(failure.reason)] = counts.get(str(failure.reason), 0) + 1
        counters, outstanding = self._counters(), self._outstanding()
        return Snapshot(
            job="photos",
            source="upyun://photos",
            state=self.ended or self.standing or ("paused" if self.paused else "transferring"),
            at=self.now,
            started=self.begun,
            seconds=self.now - self.begun,
            listing_done=False,
            counters=counters,
            outstanding=outstanding,
            rates=Rates(self.speed, 4318.0, self.speed * OBJECT, 4318.0 * OBJECT, self.speed * 1.06),
            estimate=self.forecast.estimate(counters, outstanding, False),
            machines=[] if self.ended else [self._machine("alpha", 0.56), self._machine("beta", 0.44)],
            volumes=self._volumes(),
            retries=dict(self.retries),
            failures=counts,
            limits=self.limits,
            limited_by="" if self.paused else "disk",
            notes=[
                Note(self.now - 5200, "info", "volume.added", "volume /mnt/disk4 (5d20c1f7ab93) was added"),
                Note(
                    self.now - 900,
                    "warning",
                    "volume.sickened",
                    "/mnt/disk4 on beta: input/output error; its work goes to others",
                ),
                Note(self.now - 300, "info", "limits.changed", "at most 8,000 requests a second"),
            ],
            stages={
                name: StageProgress(counters.stored, self.speed)
                for name in ("listed", "placed", "fetched", "written", "settled", "booked")
            },
            spent=Spending(
                bytes=6 * TB, requests=181_000_000, wasted={"truncated": 3 * 10**9, "stalled": 4 * 10**10}
            ),
            prices=Prices(0.29, 0.01),
        )

    def _machine(self, name, part):
        flying = 0 if self.paused else int(440 * part * (0.8 + 0.2 * math.sin(self.seconds / 90)))
        requests = int(self.requests * part)
        return Pulse(
            machine=name, incarnation="1", version="0.1.0", processes=8, objects=int(self.done * part),
            bytes=int(self.done * part) * OBJECT, window=24, scan_window=8, holds=list(range(24)), retries={},
            failures={}, volumes=[], limited_by="disk" if name == "alpha" else "",
            endpoints={
                "list": EndpointStatus(4, 8.0, 60_000, 3, 9000.0),
                "cdn": EndpointStatus(flying, 256.0, requests, 903, self.request_seconds * part, False),
            },
        )  # fmt: skip

    def _volumes(self):
        rows = [
            (
                "alpha",
                "/mnt/disk1",
                VolumeState.FULL,
                0.000475,
                0,
                "1.9 GB free is below its reserve of 5 GB",
            ),
            ("alpha", "/mnt/disk2", VolumeState.OPEN, 0.31, 84e6, ""),
            ("beta", "/mnt/disk3", VolumeState.OPEN, 0.44, 58e6, ""),
            ("beta", "/mnt/disk4", VolumeState.SICK, 0.52, 0, "input/output error on write"),
        ]
        return [
            VolumeStatus(
                id=path, machine=machine, path=path, state=state, free_bytes=int(free * 4 * TB), total_bytes=4 * TB,
                free_inodes=10**8, total_inodes=2 * 10**8, reserved_bytes=10**9, queued_bytes=10**7,
                stored_objects=int((1 - free) * 4 * TB / OBJECT), stored_bytes=int((1 - free) * 4 * TB),
                written_per_second=0.0 if self.paused else speed, detail=detail,
            )
            for machine, path, state, free, speed, detail in rows
        ]  # fmt: skip

    async def failures(self, limit, reason, pattern):
        found = [failure for failure in self.failed if reason in {None, failure.reason}]
        return [failure for failure in found if pattern is None or fnmatch(failure.name.decode(), pattern)][
            :limit
        ]

    async def directories(self, prefix, limit):
        rows = TREE.get(prefix, [])[:limit]
        return [
            DirectoryState(path, state, objects, objects * OBJECT, left, int(state == "failed"), below)
            for path, state, objects, left, below in rows
        ]

    async def pause(self, client):
        self.calls.append("pause")
        self.limits = msgspec.structs.replace(self.limits, paused=True)
        return "the job is paused"

    async def resume(self, client):
        self.calls.append("resume")
        self.limits = msgspec.structs.replace(self.limits, paused=False)
        return "the job goes on"

    async def stop(self, client):
        self.calls.append(("stop", client))
        return "the job stops; the same command goes on with it"

    async def books(self):
        configuration = {
            "source": "upyun://photos",
            "option.cdn_url": "https://img.example.com",
            "layout": "key",
            "price.per_gb": "0.29",
            "price.per_10k": "",
        }
        return JobRecord("0.1.0", configuration, [])

    async def where(self, directory, name):
        return [Extent("/mnt/disk2", 4096)]

    async def set_limits(self, limits, client):
        self.calls.append("limits")
        changes = msgspec.to_builtins(limits)
        self.limits = msgspec.structs.replace(self.limits, **changes)
        return "the limits are set"

    async def retry(self, reason, pattern, client):
        self.sought.append(pattern)
        self.calls.append(("retry", reason))
        kept = [failure for failure in self.failed if reason not in {None, failure.reason}]
        retried, self.failed = len(self.failed) - len(kept), kept
        return retried

    async def add_volume(self, path, client):
        self.calls.append(("add", path, client))
        return f"volume {path} is in use"

    async def drain_volume(self, volume, client):
        self.calls.append(("drain", volume, client))
        return f"volume {volume} takes no new objects"

    async def lose_volume(self, volume, client):
        if volume in {known.id for known in self._volumes()}:
            self.calls.append(("lost", volume, client))
            return f"volume {volume} is given up"
        raise JournalError(f"volume {volume}: the job has no such id; `bucketpull volumes` lists them")


class Served:
    """A dashboard on a free port in a thread of its own; its job goes on by a second every tenth of one."""

    def __init__(self, **options):
        self.panel = ScriptedPanel()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self.address = self.call(self._start(options))

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    async def _start(self, options):
        history = History()
        for _ in range(590):
            self.panel.advance(2)
            history.add(self.panel.snapshot())
        self._history = history
        self.has_ended = False
        api = Api(self.panel, history, self.panel, lambda: self.has_ended)
        options = {"host": "127.0.0.1", "volumes_below": ["/mnt"]} | options
        self.dashboard = Dashboard(
            api.answer,
            self.panel.snapshot,
            listeners=listen(options["host"], 0),
            last_look_seconds=0.0,
            **options,
        )
        address = self.dashboard.start()
        self._ticker = asyncio.create_task(self._tick())
        return address

    async def _tick(self):
        while True:
            await asyncio.sleep(0.1)
            self.panel.advance(1)
            self._history.add(self.panel.snapshot())

    @property
    def port(self):
        return self.dashboard.port

    @property
    def token(self):
        return self.dashboard.token

    def ask(self, method, path, body=None, **headers):
        """Send one request; return its status, its headers, and its body, decoded if it is JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            connection.request(method, path, body, names)
            answer = connection.getresponse()
            content = answer.read()
            is_json = answer.headers.get_content_type() == "application/json"
            return answer.status, answer.headers, json.loads(content) if is_json else content
        finally:
            connection.close()

    def close(self):
        async def end():
            self._ticker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._ticker
            await self.dashboard.close()

        self.call(end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def serve():
    """Return a function that serves a scripted job with options of `Dashboard`."""
    served = []

    def start(**options):
        served.append(Served(**options))
        return served[-1]

    yield start
    for one in served:
        one.close()


class Browser:
    """A headless Chromium by W3C WebDriver."""

    FLAGS = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-dev-shm-usage",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        "--lang=en-US",
    ]  # fmt: skip

    def __init__(self, driver_port, profile):
        self._port = driver_port
        self._path = ""
        options = {"args": [*self.FLAGS, f"--user-data-dir={profile}"]}
        logs = {"browser": "ALL"}
        wanted = {"browserName": "chrome", "goog:chromeOptions": options, "goog:loggingPrefs": logs}
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._path = f"/session/{session['sessionId']}"

    def _ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        try:
            text = json.dumps(body if body is not None else {}) if method == "POST" else None
            connection.request(method, self._path + path, text, {"Content-Type": "application/json"})
            value = json.loads(connection.getresponse().read())["value"]
        finally:
            connection.close()
        if isinstance(value, dict) and "error" in value:
            raise AssertionError(f"{path}: {value['error']}: {value['message'][:500]}")
        return value

    def open(self, address):
        self._ask("POST", "/url", {"url": address})

    def run(self, script, *arguments):
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script, *arguments):
        """Poll until a script returns something true, and return it."""
        deadline = time.monotonic() + 60
        while not (value := self.run(script, *arguments)):
            assert time.monotonic() < deadline, f"never true: {script}\n{self.text('body')}"
            threading.Event().wait(0.05)
        return value

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0]).innerText", selector)

    def click(self, selector):
        self._do(selector, "click")

    def type(self, selector, text):
        self._do(selector, "value", {"text": text})

    def _do(self, selector, action, body=None):
        """Act on an element; the page of a running job may have drawn it anew since it was found."""
        for _ in range(2):
            try:
                self._ask("POST", f"/element/{self._find(selector)}/{action}", body)
            except AssertionError as error:
                if "stale element reference" not in str(error):
                    raise
            else:
                return
        self._ask("POST", f"/element/{self._find(selector)}/{action}", body)

    def press(self, *keys):
        actions = [{"type": kind, "value": key} for key in keys for kind in ("keyDown", "keyUp")]
        self._ask("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": actions}]})

    def _find(self, selector):
        found = self._ask("POST", "/element", {"using": "css selector", "value": selector})
        return next(iter(found.values()))

    def emulate(self, width, height, *, phone=False, dark=False):
        """Take on a screen, and a colour scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
        scheme = {"features": [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]}
        self._ask(
            "POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": metrics}
        )
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": scheme})

    def reset(self):
        """Leave the page, and forget its screen and what the console said. Every served page is a site of its own."""
        self.open("about:blank")
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.clearDeviceMetricsOverride", "params": {}})
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setEmulatedMedia", "params": {}})
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Network.clearBrowserCookies", "params": {}})
        self.errors()

    def screenshot(self, path, *, whole=True):
        """Write the whole page, or only what is seen of it, as PNG."""
        params = {"format": "png", "captureBeyondViewport": whole}
        answer = self._ask("POST", "/goog/cdp/execute", {"cmd": "Page.captureScreenshot", "params": params})
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def errors(self):
        """Return what the console has said since the last call, but for plain information."""
        return [
            entry for entry in self._ask("POST", "/se/log", {"type": "browser"}) if entry["level"] != "INFO"
        ]

    def close(self):
        self._ask("DELETE", "")


@pytest.fixture(scope="session")
def driver_port():
    path = shutil.which("chromedriver")
    assert path, "chromedriver is missing: apt install chromium chromium-driver"
    process = subprocess.Popen(
        [path, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        if found := re.search(r"started successfully on port (\d+)", line):
            break
    else:
        raise AssertionError("chromedriver did not start")
    yield int(found[1])
    process.terminate()
    process.wait(30)
    process.stdout.close()


@pytest.fixture(scope="session")
def only_browser(driver_port, tmp_path_factory):
    browser = Browser(driver_port, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


@pytest.fixture
def browser(only_browser):
    """A browser as it is when it has just been started: to start one takes longer than most tests."""
    only_browser.reset()
    return only_browser
