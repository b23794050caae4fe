"""TensorFlow Serving's REST: status, metadata and `:predict` of a model; what a monitor reads.

Source: tensorflow/serving, g3doc/api_rest.md, model_servers/http_rest_api_util.cc (paths, status
and metadata as JSON) and model_servers/http_rest_api_handler.cc.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import grpc
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from server import json_tensors
from server.limits import Limits
from server.status import ServingError, invalid

if TYPE_CHECKING:
    from server.metrics import Metrics
    from server.model_server import ModelServer

Result = TypeVar("Result")

PREDICT_PATH = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/(\d+)|/labels/([^/:]+))?:(classify|regress|predict)"
)
STATUS_PATH = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/(\d+)|/labels/([^/:]+))?(?:/(metadata))?"
)
LARGEST_VERSION = 2**63 - 1
# As many requests can wait for their batches; the rest stands in line, up to as many again.
NUM_THREADS = 64
# Lists of Python take some ten times the memory of their JSON, and one core reads one at a time.
NUM_PARSERS = 2
# Bodies held at a time, in largest bodies.
HELD_BODIES = 4
JSON_TYPE = "application/json"


@dataclass(frozen=True)
class Target:
    """Which model a path names."""

    name: str
    version: int | None
    label: str | None
    verb: str


class RestApi:
    """Endpoints; what blocks runs in threads of its own.

    Args:
      model_server: answers.
      limits: `max_body_bytes`.
      metrics: counts requests.
      is_ready: whether requests should be sent here now.
    """

    def __init__(
        self,
        model_server: ModelServer,
        limits: Limits,
        metrics: Metrics,
        is_ready: Callable[[], bool],
    ) -> None:
        self._server = model_server
        self._metrics = metrics
        self._is_ready = is_ready
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="rest")
        self._parsers = threading.BoundedSemaphore(NUM_PARSERS)
        self._num_running = 0
        self._num_bytes_held = 0
        self._most_bytes_held = HELD_BODIES * limits.max_body_bytes

    def routes(self) -> list[Route]:
        """Routes for Starlette."""
        return [
            Route("/v1/models", self._status, methods=["GET"]),
            Route("/v1/models/{rest:path}", self._status, methods=["GET"]),
            Route("/v1/models/{rest:path}", self._predict, methods=["POST"]),
            Route("/monitoring/prometheus/metrics", self._metrics_text, methods=["GET"]),
            Route("/metrics", self._metrics_text, methods=["GET"]),
            Route("/healthz", self._healthz, methods=["GET"]),
            Route("/readyz", self._readyz, methods=["GET"]),
        ]

    def close(self) -> None:
        """Ends the threads; what did not begin is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    # === Endpoints ===

    async def _status(self, request: Request) -> Response:
        target = _target(STATUS_PATH, request)
        if not target.name:
            raise invalid("Missing model name in request.")
        text = self._metadata_json if target.verb == "metadata" else self._status_json
        return Response(await self._in_thread(lambda: text(target)), media_type=JSON_TYPE)

    async def _predict(self, request: Request) -> Response:
        target = _target(PREDICT_PATH, request)
        body = await self._whole_body(request)
        try:
            answer = await self._in_thread(lambda: self._answer(target, body))
        finally:
            self._num_bytes_held -= len(body)
        return Response(answer, media_type=JSON_TYPE)

    async def _metrics_text(self, request: Request) -> Response:
        return PlainTextResponse(self._metrics.text())

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        if self._is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", 503)

    # === What blocks ===

    def _answer(self, target: Target, body: bytes) -> bytes:
        method = target.verb.capitalize()
        with self._metrics.timed("REST", method):
            if target.verb != "predict":
                return self._refuse_verb(target)
            with self._parsers:
                parsed = json_tensors.read_body(body)
            chosen = (target.name, target.version, target.label, parsed.signature)
            with self._server.prepare(*chosen) as (loaded, signature):
                with self._parsers:
                    inputs = parsed.tensors(loaded.signatures[signature])
                answer = self._server.run(loaded, signature, inputs)
        return json_tensors.write_outputs(answer.outputs, parsed.is_rows)

    def _refuse_verb(self, target: Target) -> bytes:
        self._server.metadata(target.name, target.version, target.label)  # or NOT_FOUND
        kind = {"classify": "classification", "regress": "regression"}[target.verb]
        raise invalid(
            f"Expected {kind} signature method_name to be tensorflow/serving/{target.verb}."
            " Was: tensorflow/serving/predict"
        )

    def _status_json(self, target: Target) -> bytes:
        from server import messages

        with self._metrics.timed("REST", "GetModelStatus"):
            statuses = self._server.statuses(target.name, target.version, target.label)
        return messages.status_json(statuses)

    def _metadata_json(self, target: Target) -> bytes:
        from server import messages

        with self._metrics.timed("REST", "GetModelMetadata"):
            loaded = self._server.metadata(target.name, target.version, target.label)
        return messages.metadata_json(target.name, loaded)

    # === How much at a time ===

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        if self._num_running >= 2 * NUM_THREADS:
            self._metrics.rejected("queue_full")
            raise ServingError(
                grpc.StatusCode.RESOURCE_EXHAUSTED, "too many requests at a time; try again"
            )
        self._num_running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._num_running -= 1

    async def _whole_body(self, request: Request) -> bytes:
        """The body; its bytes are counted as held until the caller gives them back."""
        pieces: list[bytes] = []
        num_bytes = 0
        try:
            async for piece in request.stream():
                if self._num_bytes_held + len(piece) > self._most_bytes_held:
                    self._metrics.rejected("queue_full")
                    text = "too many large requests at a time; try again"
                    raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, text)
                pieces.append(piece)
                num_bytes += len(piece)
                self._num_bytes_held += len(piece)
        except BaseException:
            self._num_bytes_held -= num_bytes
            raise
        return b"".join(pieces)


def _target(pattern: re.Pattern[str], request: Request) -> Target:
    path = request.scope["path"]
    found = pattern.fullmatch(path)
    if found is None:
        raise invalid(f"Malformed request: {request.method} {path[:200]}")
    name, version, label, verb = found.groups()
    number = None
    if version is not None:
        number = int(version) if len(version) <= len(str(LARGEST_VERSION)) else None
        if number is None or number > LARGEST_VERSION:
            raise invalid(f"Failed to convert version: {version[:40]} to numeric.")
    return Target(name or "", number, label, verb or "")
