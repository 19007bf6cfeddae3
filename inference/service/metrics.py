"""What the service counts, for Prometheus: the only file that knows its client. It knows numbers, never texts."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from inference.service.batching import TaggedBatch

CONTENT_TYPE = CONTENT_TYPE_LATEST
SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60)
SHARES = (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """Counters, gauges and histograms of one service."""

    def __init__(self) -> None:
        self.registry = one = CollectorRegistry()
        ProcessCollector(registry=one)
        self._requests = Counter("standpoint_requests", "Requests answered", ["path", "status"], registry=one)
        self._seconds = Histogram(
            "standpoint_request_seconds",
            "From a request's head to its whole answer",
            ["path"],
            buckets=SECONDS,
            registry=one,
        )
        self._documents = Counter("standpoint_documents", "Documents answered", ["outcome"], registry=one)
        self._tokens = Counter("standpoint_tokens", "Tokens read, context and special ones included", registry=one)
        self._padding = Counter("standpoint_padding_tokens", "Padding read beside them", registry=one)
        self._characters = Counter("standpoint_characters", "Code points of tagged texts", registry=one)
        self._truncated = Counter(
            "standpoint_truncations", "Documents of which some letter was not read; must be 0", registry=one
        )
        self._waited = Histogram(
            "standpoint_queue_seconds", "How long documents wait for the model", buckets=SECONDS, registry=one
        )
        self._batch_seconds = Histogram(
            "standpoint_batch_seconds", "How long a batch takes", buckets=SECONDS, registry=one
        )
        self._batch_documents = Histogram(
            "standpoint_batch_documents", "Documents in a batch", buckets=SIZES, registry=one
        )
        self._fill = Histogram(
            "standpoint_batch_fill_ratio", "Tokens of a batch over the budget", buckets=SHARES, registry=one
        )
        self._reloads = Counter("standpoint_reloads", "Changes of the model asked for", ["outcome"], registry=one)
        self._model = Gauge("standpoint_model_info", "The model that answers", ["version", "engine"], registry=one)

    def watch(self, name: str, about: str, value: Callable[[], float]) -> None:
        """A gauge that is read when it is asked for."""
        Gauge(f"standpoint_{name}", about, registry=self.registry).set_function(value)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """A request has been answered."""
        self._requests.labels(path, str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def document(self, outcome: str, characters: int = 0, truncated: bool = False) -> None:
        """A document has been answered: `tagged`, or the kind of its problem."""
        self._documents.labels(outcome).inc()
        self._characters.inc(characters)
        self._truncated.inc(truncated)

    def tagged(self, batch: TaggedBatch) -> None:
        """A batch has been tagged."""
        self._tokens.inc(batch.tokens)
        self._padding.inc(batch.padding)
        self._batch_seconds.observe(batch.seconds)
        self._batch_documents.observe(batch.documents)
        self._fill.observe(batch.tokens / batch.budget)
        for one in batch.waited:
            self._waited.observe(one)

    def reloaded(self, outcome: str) -> None:
        """A change of the model was asked for: `changed`, `same` or `failed`."""
        self._reloads.labels(outcome).inc()

    def model(self, version: str, engine: str) -> None:
        """Which model answers from now on."""
        self._model.clear()
        self._model.labels(version, engine).set(1)

    def text(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self.registry)
