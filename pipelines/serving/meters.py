"""What Prometheus is told: requests, how long they took, the model's age, what was odd in the input, what waits."""

from __future__ import annotations

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Meters:
    """Of one server. Quantiles are `histogram_quantile` over the buckets, which add up over servers; summaries do not."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        own = {"registry": self.registry, "namespace": "trainyard_serving"}
        self.requests = Counter("requests", "Answered requests.", ["path", "status"], **own)  # type: ignore[arg-type]
        self.seconds = Histogram("request_seconds", "How long.", ["path"], buckets=_SECONDS, **own)  # type: ignore[arg-type]
        self.rows = Counter("rows", "Rows that were predicted.", **own)  # type: ignore[arg-type]
        odd = "Values that were answered as in bulk: missing, or a category that training did not know."
        self.odd = Counter("odd_values", odd, ["feature", "kind"], **own)  # type: ignore[arg-type]
        self.model = Gauge("model_version", "The model that answers; 0 is none.", **own)  # type: ignore[arg-type]
        self.age = Gauge("model_age_seconds", "Since it became champion.", **own)  # type: ignore[arg-type]
        self.alarm = Gauge("alarm", "1 while what the ledger says cannot be served.", **own)  # type: ignore[arg-type]
        self.waiting = Gauge("spool_bytes", "Answers that the table does not have yet.", **own)  # type: ignore[arg-type]

    def requested(self, path: str, status: int, seconds: float) -> None:
        self.requests.labels(path, status).inc()
        self.seconds.labels(path).observe(seconds)

    def predicted(self, rows: int, odd: dict[tuple[str, str], int]) -> None:
        self.rows.inc(rows)
        for about, count in odd.items():
            self.odd.labels(*about).inc(count)

    def text(self, version: int, age: float, alarm: bool, waiting: int) -> bytes:
        """All of it, with what is so just now."""
        for gauge, value in ((self.model, version), (self.age, age), (self.alarm, alarm), (self.waiting, waiting)):
            gauge.set(value)
        return generate_latest(self.registry)
