"""Metrics of the server, in the Prometheus text format."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from starlette.requests import ClientDisconnect

from affectstream.server.errors import ServingError

# tensorflow/serving, servables/tensorflow/util.cc: `/tensorflow/serving/request_count` and
# `request_latency`, with the names of util/prometheus_exporter.cc.
REQUEST_COUNT = ":tensorflow:serving:request_count"
REQUEST_LATENCY = ":tensorflow:serving:request_latency"
REQUEST_BUCKETS_US = tuple(10 * 1.8**power for power in range(33))
MODEL_NAME = "model_name"
PREDICTIONS = ("Predict", "Classify", "Regress")
US_PER_S = 1e6
LATENCY_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
ANALYSIS_BUCKETS_S = (0.5, 1, 2, 5, 10, 20, 60, 120, 300)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128)


disable_created_metrics()  # metrics that TensorFlow Serving does not have


@dataclass
class Timing:
    """Timing of one request while it is processed.

    Attributes:
      method: "Predict", "Classify", "Regress", "GetModelMetadata", "GetModelStatus"; "" if unknown.
      started_s: `time.perf_counter` at the start of the latency.
    """

    method: str
    started_s: float = field(default_factory=time.perf_counter)

    def restart(self) -> None:
        """Restarts the clock when the request has fully arrived."""
        self.started_s = time.perf_counter()


class Metrics:
    """Metrics of one server, in its own registry.

    `:tensorflow:serving:request_count` and `...request_latency` count the same as TensorFlow
    Serving's: all requests of REST and the predictions of gRPC, and the latency of successful ones
    in microseconds. No label contains text from clients, not even an unknown model name, so the
    number of series is bounded.

    Attributes:
      model_name: name of the served model; label of its metrics.
    """

    def __init__(self, model_name: str = "") -> None:
        self.model_name = model_name
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        named = MODEL_NAME
        self._requests = self._counter(REQUEST_COUNT, "Requests, by status.", (named, "status"))
        self._latency = self._histogram(
            REQUEST_LATENCY,
            "Microseconds from the received request to its answer.",
            (named, "API", "entrypoint"),
            REQUEST_BUCKETS_US,
        )
        self._by_method = self._counter(
            "affectstream_requests",
            "Requests, by protocol and method too.",
            (named, "status", "entrypoint", "method"),
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

    def count_request(
        self, entrypoint: str, method: str, status: str, seconds: float = 0.0
    ) -> None:
        """Counts a request.

        Args:
          entrypoint: "REST" or "GRPC".
          method: see `Timing`.
          status: name of a gRPC code, also "OK".
          seconds: duration of a successful request.
        """
        self._by_method.labels(self.model_name, status, entrypoint, method).inc()
        is_rest, is_prediction = entrypoint == "REST", method in PREDICTIONS
        if not is_rest and not is_prediction:
            return
        self._requests.labels(self.model_name, status).inc()
        if status == "OK":
            # TensorFlow Serving takes it from the REST path, which does not contain it for status
            # and metadata.
            api = method.lower() if is_rest and is_prediction else "" if is_rest else method
            latency = self._latency.labels(self.model_name, api, entrypoint)
            latency.observe(seconds * US_PER_S)

    @contextlib.contextmanager
    def time_request(self, entrypoint: str, method: str) -> Iterator[Timing]:
        """Counts the block as one request; a ServingError gives its status."""
        timing = Timing(method)
        status = "INTERNAL"
        try:
            yield timing
            status = "OK"
        except ServingError as error:
            status = error.code.name
            raise
        except (asyncio.CancelledError, ClientDisconnect):
            status = "CANCELLED"
            raise
        finally:
            seconds = time.perf_counter() - timing.started_s
            self.count_request(entrypoint, timing.method, status, seconds)

    def count_batch(self, signature: str, num_rows: int, seconds: float) -> None:
        """Counts a batch that ran through the model."""
        self._batches.labels(self.model_name, signature).observe(num_rows)
        self._run.labels(self.model_name).observe(seconds)

    def add_queued_rows(self, change: int) -> None:
        """Adds `change`, which may be negative, to the number of queued rows."""
        self._queued.labels(self.model_name).inc(change)

    def count_rejection(self, reason: str) -> None:
        """Counts a refused request: queue_full, deadline, too_large, unavailable."""
        self._rejected.labels(self.model_name, reason).inc()

    def set_version_available(self, number: int, is_available: bool) -> None:
        """Records that a version became available or unavailable."""
        if is_available:
            self._version.labels(self.model_name, str(number)).set(1)
        else:
            with contextlib.suppress(KeyError):
                self._version.remove(self.model_name, str(number))

    def count_analysis(self, status: int, seconds: float) -> None:
        """Counts an analysed or refused recording with its HTTP status."""
        self._analyses.labels(str(status)).inc()
        self._analysis_s.observe(seconds)

    def text(self) -> bytes:
        """All metrics in the text format."""
        # The library appends `_total` to the name of every counter.
        return generate_latest(self.registry).replace(
            f"{REQUEST_COUNT}_total".encode(), REQUEST_COUNT.encode()
        )
