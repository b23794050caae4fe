"""What the server counts, in the text format of Prometheus."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

from server.status import ServingError

LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
ANALYSIS_BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 60, 120, 300)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server, in a registry of its own.

    Names follow TensorFlow Serving's where it has one, with `_` for its `:`
    (tensorflow/serving, servables/tensorflow/util.cc: `/tensorflow/serving/request_count` and
    `request_latency`). No label takes a client's own words: the number of series is bounded.

    Attributes:
      model_name: of the model served; label of what is counted.
    """

    def __init__(self, model_name: str = "") -> None:
        self.model_name = model_name
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        named = "model_name"
        self._requests = self._counter(
            "tensorflow_serving_request_count",
            "Requests answered, by gRPC status.",
            (named, "status", "entrypoint", "method"),
        )
        self._latency = self._histogram(
            "tensorflow_serving_request_latency_seconds",
            "From the parsed request to its answer.",
            (named, "entrypoint", "method"),
            LATENCY_BUCKETS_S,
        )
        self._batches = self._histogram(
            "tensorflow_serving_batch_size",
            "Rows run at once.",
            (named, "signature"),
            BATCH_BUCKETS,
        )
        self._run = self._histogram(
            "affectstream_batch_run_seconds", "The model alone.", (named,), LATENCY_BUCKETS_S
        )
        self._queued = Gauge(
            "affectstream_queued_rows", "Rows that wait.", (named,), registry=self.registry
        )
        self._rejected = self._counter(
            "affectstream_rejected", "Requests refused under load.", (named, "reason")
        )
        self._version = Gauge(
            "affectstream_model_version_available",
            "1: this version answers.",
            (named, "version"),
            registry=self.registry,
        )
        self._analyses = self._counter(
            "affectstream_analyses", "Recordings analysed, by HTTP status.", ("status",)
        )
        self._analysis_s = self._histogram(
            "affectstream_analysis_seconds", "A recording, all of it.", (), ANALYSIS_BUCKETS_S
        )

    def _counter(self, name: str, text: str, labels: tuple[str, ...]) -> Counter:
        return Counter(name, text, labels, registry=self.registry)

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...]
    ) -> Histogram:
        return Histogram(name, text, labels, buckets=buckets, registry=self.registry)

    # === What happens ===

    def requested(self, entrypoint: str, method: str, status: str, seconds: float) -> None:
        """One answered request.

        Args:
          entrypoint: "REST" or "GRPC".
          method: "Predict", "GetModelMetadata", "GetModelStatus".
          status: name of a gRPC code, "OK" among them.
        """
        self._requests.labels(self.model_name, status, entrypoint, method).inc()
        self._latency.labels(self.model_name, entrypoint, method).observe(seconds)

    @contextlib.contextmanager
    def timed(self, entrypoint: str, method: str) -> Iterator[None]:
        """Counts what happens inside as one request; a ServingError gives its status."""
        started_s = time.perf_counter()
        status = "UNKNOWN"
        try:
            yield
            status = "OK"
        except ServingError as error:
            status = error.code.name
            raise
        finally:
            self.requested(entrypoint, method, status, time.perf_counter() - started_s)

    def ran(self, signature: str, num_rows: int, seconds: float) -> None:
        """One batch went through the model."""
        self._batches.labels(self.model_name, signature).observe(num_rows)
        self._run.labels(self.model_name).observe(seconds)

    def queued(self, change: int) -> None:
        """So many rows more (or fewer) wait."""
        self._queued.labels(self.model_name).inc(change)

    def rejected(self, reason: str) -> None:
        """A request was refused: queue_full, deadline, too_large, unavailable."""
        self._rejected.labels(self.model_name, reason).inc()

    def version(self, number: int, is_available: bool) -> None:
        """A version began or ceased to answer."""
        if is_available:
            self._version.labels(self.model_name, str(number)).set(1)
        else:
            with contextlib.suppress(KeyError):
                self._version.remove(self.model_name, str(number))

    def analysed(self, status: int, seconds: float) -> None:
        """One recording was analysed or refused, with this HTTP status."""
        self._analyses.labels(str(status)).inc()
        self._analysis_s.observe(seconds)

    def text(self) -> bytes:
        """Everything, in the text format."""
        return generate_latest(self.registry)
