"""Limits on what clients can make the server spend."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1024 * 1024
THREAD_STOP_TIMEOUT_S = 2.0
"""How long a thread that was told to end may take to notice it, before it is left behind."""
SHUTDOWN_TIMEOUT_S = 8.0
"""From the end of `ServerLimits.drain_s` to that of the process, at the latest, whatever hangs."""


@dataclass(frozen=True)
class ServerLimits:
    """Every limit of the server.

    Attributes:
      max_body_bytes: of a prediction request over HTTP or gRPC; all together may hold four times
        that.
      max_upload_bytes: of a recording sent to `/v1/analyze`.
      max_media_s: longest accepted recording.
      max_analysis_s: a worker is killed after this time; an upload may also take this long to
        arrive.
      max_worker_bytes: memory limit of a worker, which is killed above it.
      num_workers: recordings analysed at the same time.
      max_waiting_uploads: uploads that wait for a worker; further ones are refused.
      max_batch_rows: rows per batch; a larger request is run in several batches. On two cores
        larger batches were slower per row (docs/contributing/benchmarks.md, "Size of a batch").
      max_batch_bytes: of the padded inputs of a merged batch; requests are not merged beyond it.
      batch_wait_s: how long a request waits for others to share its batch.
      max_queued_rows: rows that wait; further ones are refused.
      request_timeout_s: a request that waited longer is answered with DEADLINE_EXCEEDED.
      drain_s: time for running requests after a stop signal; requests that run longer are answered
        with UNAVAILABLE.
    """

    max_body_bytes: int = 64 * MIB
    max_upload_bytes: int = 200 * MIB
    max_media_s: float = 600.0
    max_analysis_s: float = 300.0
    max_worker_bytes: int = 4096 * MIB
    num_workers: int = 1
    max_waiting_uploads: int = 4
    max_batch_rows: int = 8
    max_batch_bytes: int = 128 * MIB
    batch_wait_s: float = 0.002
    max_queued_rows: int = 256
    request_timeout_s: float = 60.0
    drain_s: float = 30.0
