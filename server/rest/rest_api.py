"""TensorFlow Serving's REST API: status, metadata and `:predict` of a model; monitoring endpoints.

Source: tensorflow/serving, g3doc/api_rest.md, model_servers/http_rest_api_util.cc (paths, status
and metadata as JSON) and model_servers/http_rest_api_handler.cc.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from affectstream.server import gzip_body
from affectstream.server import routes as paths
from affectstream.server.errors import ServingError, invalid
from affectstream.server.rest import json_outputs, json_tensors
from affectstream.server.thread_pool import NUM_STATUS_THREADS, ThreadPool
from affectstream.server.versions.batching import unknown_signature
from affectstream.serving.exported.version_folder import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from affectstream.server.memory_quota import MemoryQuota, QuotaReservation
    from affectstream.server.metrics import Metrics
    from affectstream.server.versions.arrays import Arrays
    from affectstream.server.versions.loaded_version import LoadedVersion
    from affectstream.server.versions.model_server import ModelServer

# Fixed parts are case-insensitive, as in TensorFlow Serving; names and labels are not.
PREDICT_PATH = re.compile(
    r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?:(classify|regress|predict)",
    re.IGNORECASE | re.ASCII,
)
STATUS_PATH = re.compile(
    r"/v1/models(?:/([^/:]+))?(?:/versions/([0-9]+)|/labels/([^/:]+))?(?:/(metadata))?",
    re.IGNORECASE | re.ASCII,
)
LARGEST_VERSION = 2**63 - 1
JSON_TYPE = "application/json"


@dataclass(frozen=True)
class Target:
    """The model that a path names."""

    name: str
    version: int | None
    label: str | None
    verb: str


class RestApi:
    """Endpoints; blocking work runs in separate threads.

    Args:
      model_server: runs the requests.
      metrics: counts requests.
      quota: shared by all requests.
      is_ready: whether the server should receive requests now.
    """

    def __init__(
        self,
        model_server: ModelServer,
        metrics: Metrics,
        quota: MemoryQuota,
        is_ready: Callable[[], bool],
    ) -> None:
        self._server = model_server
        self._metrics = metrics
        self._is_ready = is_ready
        self._quota = quota
        self.threads = ThreadPool("rest", metrics)
        self.status_threads = ThreadPool("rest-status", metrics, NUM_STATUS_THREADS)

    def routes(self) -> list[Route]:
        """Routes for Starlette."""
        return [
            _in_any_case("/v1/models", self._status, "GET"),
            _in_any_case("/v1/models/{rest:path}", self._status, "GET"),
            _in_any_case("/v1/models/{rest:path}", self._predict, "POST"),
            *(Route(path, self._metrics_text, methods=["GET"]) for path in paths.METRICS),
            Route(paths.HEALTH, self._healthz, methods=["GET"]),
            Route(paths.READY, self._readyz, methods=["GET"]),
        ]

    # === Endpoints ===

    async def _status(self, request: Request) -> Response:
        with self._metrics.time_request("REST", "") as timing:
            target = _target(STATUS_PATH, request)
            timing.method = _method(target.verb)
            if not target.name:
                raise invalid("Missing model name in request.")
            text = self._metadata_json if target.verb == "metadata" else self._status_json
            answer = await self.status_threads.run(lambda: text(target))
            return Response(answer, media_type=JSON_TYPE)

    async def _predict(self, request: Request) -> Response:
        with self._metrics.time_request("REST", "") as timing:
            target = _target(PREDICT_PATH, request)
            timing.method = _method(target.verb)
            reservation = self._quota.new_reservation()
            pieces: list[bytes] = []
            try:
                async for piece in request.stream():
                    reservation.add(len(piece))
                    pieces.append(piece)
            except BaseException:
                reservation.close()
                raise
            timing.restart()
            is_packed = gzip_body.is_gzip(request.headers.get("content-encoding", ""))
            work = functools.partial(self._answer, target, pieces, is_packed, reservation)
            answer = await self.threads.run(work, reservation.close)
            return Response(answer, media_type=JSON_TYPE)

    def count_refused(self, method: str, path: str, error: ServingError) -> None:
        """Counts a model request that was refused before it reached an endpoint."""
        if not paths.is_model_path(path):
            return
        match = (PREDICT_PATH if method == "POST" else STATUS_PATH).fullmatch(path)
        method_name = _method(match.groups()[-1]) if match else ""
        self._metrics.count_request("REST", method_name, error.code.name)

    async def _metrics_text(self, request: Request) -> Response:
        return PlainTextResponse(self._metrics.text())

    async def _healthz(self, request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _readyz(self, request: Request) -> Response:
        if self._is_ready():
            return PlainTextResponse("ready\n")
        return PlainTextResponse("not ready\n", 503)

    # === Blocking work ===

    def _answer(
        self, target: Target, pieces: list[bytes], is_packed: bool, reservation: QuotaReservation
    ) -> bytes:
        """The response to a body, whose chunks are removed from the list."""
        with contextlib.ExitStack() as leases:
            if target.verb != "predict":
                return self._refuse_verb(target)
            chosen = self._server.lease_version(target.name, target.version, target.label)
            loaded = leases.enter_context(chosen)  # or NOT_FOUND, for any body
            with self._quota.parse_slots:
                signature, inputs, is_row_format = self._read(
                    loaded, pieces, is_packed, reservation
                )
            answer = self._server.run(loaded, signature, inputs)
        return json_outputs.write_outputs(answer.outputs, is_row_format)

    def _read(
        self,
        loaded: LoadedVersion,
        pieces: list[bytes],
        is_packed: bool,
        reservation: QuotaReservation,
    ) -> tuple[str, Arrays, bool]:
        """Signature, inputs, and whether the response is by rows; the JSON is then freed."""
        body = b"".join(pieces)
        pieces.clear()
        num_bytes = len(body)
        if is_packed:
            body = gzip_body.decompress(body, self._server.limits.max_body_bytes, reservation.add)
            num_bytes += len(body)
        parsed = json_tensors.parse_predict_body(body)
        del body
        signature = parsed.signature or DEFAULT_SIGNATURE
        if signature not in loaded.signatures:
            raise unknown_signature(signature)
        inputs = parsed.tensors(loaded.signatures[signature], reservation.add)
        reservation.release(num_bytes)
        return signature, inputs, parsed.is_row_format

    def _refuse_verb(self, target: Target) -> bytes:
        self._server.metadata(target.name, target.version, target.label)  # or NOT_FOUND
        kind = {"classify": "classification", "regress": "regression"}[target.verb]
        raise invalid(
            f"Expected {kind} signature method_name to be tensorflow/serving/{target.verb}."
            " Was: tensorflow/serving/predict"
        )

    def _status_json(self, target: Target) -> bytes:
        from affectstream.server.grpc import messages

        statuses = self._server.statuses(target.name, target.version, target.label)
        return messages.status_json(statuses)

    def _metadata_json(self, target: Target) -> bytes:
        from affectstream.server.grpc import messages

        loaded = self._server.metadata(target.name, target.version, target.label)
        return messages.metadata_json(target.name, loaded)


def _in_any_case(
    path: str, endpoint: Callable[[Request], Awaitable[Response]], method: str
) -> Route:
    route = Route(path, endpoint, methods=[method])
    route.path_regex = re.compile(route.path_regex.pattern, re.IGNORECASE | re.ASCII)
    return route


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
    return Target(name or "", number, label, (verb or "").lower())


def _method(verb: str | None) -> str:
    """gRPC method name for the last part of a path."""
    names = {"": "GetModelStatus", "metadata": "GetModelMetadata"}
    verb = (verb or "").lower()
    return names.get(verb, verb.capitalize())
