"""What the HTTP interface counts, in Prometheus's text format. No id and no number is ever a label."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from starlette.requests import Request
from starlette.responses import Response

from xiaohao import __version__

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """Counters of one web process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "xiaohao_http_requests",
            "HTTP requests answered",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "xiaohao_http_request_seconds",
            "Time from a request's headers to the end of its response",
            ("method", "route"),
            buckets=_BUCKETS,
            registry=self.registry,
        )
        build = Gauge("xiaohao_web_build", "Always 1", ("version",), registry=self.registry)
        build.labels(__version__).set(1)

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request. `route` is the route's template, never the path that was asked for."""
        self._requests.labels(method, route, str(status)).inc()
        self._seconds.labels(method, route).observe(seconds)


async def show(request: Request) -> Response:
    """`GET /metrics`."""
    metrics: Metrics = request.app.state.metrics
    return Response(generate_latest(metrics.registry), media_type="text/plain; version=0.0.4; charset=utf-8")
