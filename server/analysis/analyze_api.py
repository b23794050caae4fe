"""`POST /v1/analyze`: accepts a recording, returns the JSON of `predict --json`.

The body is the recording itself, or a multipart form with it in the field `file`. Options are query
parameters or form fields; a form with `text` alone requests a prediction from text. With `Accept:
application/x-ndjson` the response is a stream of events, one JSON object per line, sent while the
analysis runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from affectstream.server.analysis.analysis_options import AnalysisOptions
from affectstream.server.analysis.analysis_pool import AnalysisPool
from affectstream.server.analysis.uploads import Upload, display_name
from affectstream.server.errors import ServingError, invalid
from affectstream.server.limits import ServerLimits
from affectstream.server.routes import ANALYZE
from affectstream.server.security import error_response

STREAM_TYPE = "application/x-ndjson"
TEXT_ONLY_NAME = "text"  # the name in `predict --text`
MAX_EVENTS_AHEAD = 64
DISCONNECT_POLL_S = 0.25
"""Interval of the check whether the client is still connected."""


def routes(get_pool: Callable[[], AnalysisPool], limits: ServerLimits) -> list[Route]:
    """The route of the analysis.

    Args:
      get_pool: returns the pool of the served model; raises a ServingError if there is none.
    """
    return [Route(ANALYZE, AnalyzeEndpoint(get_pool, limits), methods=["POST"])]


class AnalyzeEndpoint:
    """The ASGI application of the route."""

    def __init__(self, get_pool: Callable[[], AnalysisPool], limits: ServerLimits) -> None:
        self._get_pool = get_pool
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        answer = _Answer(request, send, self._limits)
        try:
            pool = self._get_pool()
            content_type = request.headers.get("content-type", "")
            with Upload(content_type, self._limits.max_upload_bytes) as upload:
                with pool.receive():
                    fields = await _receive_in_time(request, upload, self._limits.max_analysis_s)
                path = upload.path if upload.has_recording else None
                name = fields.pop("name", "") or upload.name or ("" if path else TEXT_ONLY_NAME)
                options = AnalysisOptions.parse(fields)
                if path is None and not (options.text or "").strip():
                    raise invalid("text: no words in it; send some, or a recording")
                with pool.admit():
                    result = await answer.work_out(pool, path, display_name(name), options)
            await answer.give(result)
        except ServingError as error:
            with contextlib.suppress(ClientDisconnect):
                await answer.refuse(error)
        except ClientDisconnect:
            return


# === The request ===


async def _receive_in_time(request: Request, upload: Upload, max_s: float) -> dict[str, str]:
    try:
        async with asyncio.timeout(max_s):
            return await _receive(request, upload)
    except TimeoutError:
        code = grpc.StatusCode.DEADLINE_EXCEEDED
        message = f"the recording did not arrive within {max_s:g} s; compress it, or cut it"
        raise ServingError(code, message, 408) from None


async def _receive(request: Request, upload: Upload) -> dict[str, str]:
    """Stores the body; returns the options of the query and the form."""
    fields: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        _add(fields, name, value)
    # Reject wrong options before the recording is sent.
    AnalysisOptions.parse({name: value for name, value in fields.items() if name != "name"})
    async for chunk in request.stream():
        if chunk:
            await run_in_threadpool(upload.feed, chunk)
    await run_in_threadpool(upload.finish)
    for name, value in upload.fields.items():
        _add(fields, name, value)
    return fields


def _add(fields: dict[str, str], name: str, value: str) -> None:
    if name in fields:
        raise invalid(f"option {name[:40]!r} is there twice")
    fields[name] = value


# === The answer ===


class _Answer:
    """One response, whole or streamed; it cancels the job when the client disconnects."""

    def __init__(self, request: Request, send: Send, limits: ServerLimits) -> None:
        self._request = request
        self._send = send
        self._limits = limits
        self._is_stream = STREAM_TYPE in request.headers.get("accept", "")
        self._has_begun = False
        self._is_gone = threading.Event()
        self._events: asyncio.Queue[dict[str, Any]] = asyncio.Queue(MAX_EVENTS_AHEAD)

    async def work_out(
        self, pool: AnalysisPool, path: Path | None, name: str, options: AnalysisOptions
    ) -> dict[str, Any]:
        """Analyses the recording and sends events meanwhile.

        Raises:
          ServingError: as raised by the pool.
          ClientDisconnect: the client has disconnected.
        """
        loop = asyncio.get_running_loop()
        job = pool.submit(path, name, options, functools.partial(self._hand_over, loop))
        result = asyncio.wrap_future(job.future)
        # The outcome of a cancelled job is ignored.
        result.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            while not result.done():
                await self._pass_on(result)
                if await self._request.is_disconnected():
                    raise ClientDisconnect
            return await result
        finally:
            self._is_gone.set()
            job.cancel()

    async def give(self, result: dict[str, Any]) -> None:
        """Sends the response; the recording is already deleted."""
        if not self._is_stream:
            await self._whole(JSONResponse(result))
            return
        await self._pass_on_rest()
        await self._line({"event": "result", "result": result}, is_last=True)

    async def refuse(self, error: ServingError) -> None:
        """Sends an error, as the response or as the last event of the stream."""
        if not self._has_begun:
            await self._whole(error_response(error))
            return
        await self._pass_on_rest()
        event = {"event": "error", "error": error.message, "status": error.http_status}
        await self._line(event, is_last=True)

    # === Events ===

    def _hand_over(self, loop: asyncio.AbstractEventLoop, event: dict[str, Any]) -> None:
        """Called in the worker's thread; it blocks while the client reads slowly."""
        if not self._is_stream or self._is_gone.is_set():
            return
        handed = asyncio.run_coroutine_threadsafe(self._events.put(event), loop)
        ends_s = time.monotonic() + self._limits.request_timeout_s
        while True:
            try:
                handed.result(DISCONNECT_POLL_S)
                return
            except TimeoutError:
                if self._is_gone.is_set():
                    handed.cancel()
                    return
                if time.monotonic() > ends_s:
                    handed.cancel()
                    text = "the events were read too slowly"
                    raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, text) from None

    async def _pass_on(self, result: asyncio.Future[dict[str, Any]]) -> None:
        """Sends the next event, if there is one before the result or the timeout."""
        event = asyncio.ensure_future(self._events.get())
        try:
            await asyncio.wait(
                {event, result}, timeout=DISCONNECT_POLL_S, return_when=asyncio.FIRST_COMPLETED
            )
            if event.done():
                await self._line(event.result())
        finally:
            event.cancel()

    async def _pass_on_rest(self) -> None:
        while not self._events.empty():
            await self._line(self._events.get_nowait())

    async def _line(self, event: dict[str, Any], is_last: bool = False) -> None:
        try:
            if not self._has_begun:
                headers = [(b"content-type", STREAM_TYPE.encode()), (b"x-accel-buffering", b"no")]
                self._has_begun = True
                start = {"type": "http.response.start", "status": 200, "headers": headers}
                await self._send(start)
            body = json.dumps(event, separators=(",", ":")).encode() + b"\n"
            more = {"type": "http.response.body", "body": body, "more_body": not is_last}
            await self._send(more)
        except OSError as error:
            raise ClientDisconnect from error

    async def _whole(self, response: JSONResponse) -> None:
        await response(self._request.scope, self._request.receive, self._send)
