"""The metrics of an object server for Prometheus, at an address of its own: `/metrics`, and `/healthz` for health checks."""

from collections.abc import Collection, Iterator

from aiohttp import web
from aiohttp.typedefs import Handler
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from bucketpull.reading.object_server import ObjectServer, refused_host


class ServerMetrics(Collector):
    """Collects when it is asked."""

    def __init__(self, server: ObjectServer) -> None:
        self._server = server

    def collect(self) -> Iterator[Metric]:
        """Give the server's figures."""
        answers = CounterMetricFamily("bucketpull_serve_responses", "Answers by status.", labels=["status"])
        for status, count in sorted(self._server.counts.items()):
            answers.add_metric([str(status)], count)
        yield answers
        yield CounterMetricFamily("bucketpull_serve_sent_bytes", "Bytes of objects sent.", self._server.sent)
        yield CounterMetricFamily(
            "bucketpull_serve_seconds",
            "Seconds from a request to its answer, all together.",
            self._server.seconds,
        )
        yield GaugeMetricFamily("bucketpull_serve_connections", "Open connections.", self._server.connections)
        away = GaugeMetricFamily(
            "bucketpull_serve_volume_away", "1 for a volume that does not answer.", labels=["path"]
        )
        for path in self._server.troubles():
            away.add_metric([path], 1)
        yield away


async def start_metrics(
    server: ObjectServer, host: str, port: int, names: Collection[str] | None
) -> web.AppRunner:
    """Listen for Prometheus; `names` are those by which it may be asked, as in `Options`.

    Raises OSError where the address cannot be had.
    """
    registry = CollectorRegistry()
    registry.register(ServerMetrics(server))

    async def metrics(request: web.Request) -> web.Response:
        del request
        return web.Response(body=generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def health(request: web.Request) -> web.Response:
        del request
        troubles = server.troubles()
        return web.json_response({"volumes_away": troubles}, status=503 if troubles else 200)

    @web.middleware
    async def guarded(request: web.Request, handler: Handler) -> web.StreamResponse:
        response = refused_host(request, names) or await handler(request)
        response.headers["X-Content-Type-Options"] = "nosniff"  # no page of another site loads it as a script
        return response

    app = web.Application(middlewares=[guarded])
    app.router.add_get("/metrics", metrics)
    app.router.add_get("/healthz", health)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, host, port).start()
    return runner
