"""gRPC server on asyncio: idle calls use no thread, and received bytes are counted."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import threading
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health

from affectstream.server.errors import ServingError
from affectstream.server.grpc.grpc_api import PREDICT, Method, Services
from affectstream.server.security import TokenInterceptor
from affectstream.server.thread_pool import NUM_STATUS_THREADS, NUM_THREADS, ThreadPool

if TYPE_CHECKING:
    from affectstream.server.limits import ServerLimits
    from affectstream.server.memory_quota import MemoryQuota
    from affectstream.server.metrics import Metrics
    from affectstream.server.versions.model_server import ModelServer

LOG = logging.getLogger(__name__)
Result = TypeVar("Result")

# From the start of a call to the end of its message.
RECEIVE_S = 60.0
# For the last bytes of responses.
RESPONSE_GRACE_S = 0.5
# Interval of the health checks.
HEALTH_S = 0.2
LOOP_CALL_TIMEOUT_S = 30.0
# An error message is sent as trailer, whose size clients limit.
MESSAGE_CHARACTERS = 1000
MAX_CONNECTIONS = 512
CONNECTION_AGE_S = 600
IDLE_S = 300
# Shortest interval of client pings on an idle connection.
PING_S = 10


class GrpcServer:
    """The services on one port, in their own loop and thread.

    Args:
      model_server: runs the requests.
      limits: `max_body_bytes` of a message, `drain_s` of a connection that is too old.
      metrics: counts requests.
      quota: shared by all requests.
      token: required in the metadata; None requires none.
      is_ready: whether a version is available, for the health service.
    """

    def __init__(
        self,
        model_server: ModelServer,
        limits: ServerLimits,
        metrics: Metrics,
        quota: MemoryQuota,
        token: str | None,
        is_ready: Callable[[], bool],
    ) -> None:
        self.threads = ThreadPool("grpc", metrics)
        self.status_threads = ThreadPool("grpc-status", metrics, NUM_STATUS_THREADS)
        self._services = Services(model_server, limits, quota)
        self._metrics = metrics
        self._quota = quota
        self._is_ready = is_ready
        self._is_bound = self._is_started = False
        self._ending: asyncio.Task[None] | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="grpc-loop", daemon=True)
        self._thread.start()
        self._in_loop(self._make(limits, token))

    def bind(self, address: str) -> int:
        """Binds `HOST:PORT`; returns the actual port. RuntimeError: not available."""

        async def take() -> int:
            return int(self._server.add_insecure_port(address))

        port = self._in_loop(take())
        self._is_bound = True
        return port

    def start(self) -> None:
        """Starts accepting calls."""
        self._in_loop(self._start())

    def stop_accepting(self, left_s: float) -> None:
        """Rejects new calls and reports NOT_SERVING; running calls have `left_s` to finish."""
        self._in_loop(self._refuse(left_s))

    def stop(self) -> None:
        """Ends all calls, frees port and thread; also for a server that was not started."""
        try:
            self._in_loop(self._stop())
        finally:
            self.threads.give_up()
            self.status_threads.give_up()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    # === In the loop ===

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def _in_loop(self, work: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(LOOP_CALL_TIMEOUT_S)

    async def _make(self, limits: ServerLimits, token: str | None) -> None:
        self._health = health.HealthServicer()
        self._server = grpc.aio.server(
            interceptors=[] if token is None else [TokenInterceptor(token, self._refused)],
            options=_options(limits),
        )
        for service, methods in self._services.methods().items():
            handlers = {name: self._handler(name, method) for name, method in methods.items()}
            generic = grpc.method_handlers_generic_handler(service, handlers)
            self._server.add_generic_rpc_handlers((generic,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        await self._tell(False)

    async def _start(self) -> None:
        await self._tell(self._is_ready())
        await self._server.start()
        self._is_started = True
        self._watching = asyncio.create_task(self._keep_telling())

    async def _keep_telling(self) -> None:
        reported = None
        while True:
            if reported != (reported := self._is_ready()):
                await self._tell(reported)
            await asyncio.sleep(HEALTH_S)

    async def _tell(self, is_serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        for service in ("", *self._services.methods()):
            await self._health.set(service, status.SERVING if is_serving else status.NOT_SERVING)

    async def _refuse(self, left_s: float) -> None:
        self._watching.cancel()
        await self._health.enter_graceful_shutdown()
        self._ending = asyncio.create_task(self._server.stop(left_s + 2 * RESPONSE_GRACE_S))

    async def _stop(self) -> None:
        if self._is_started:
            self._watching.cancel()
            await self._server.stop(RESPONSE_GRACE_S)
            if self._ending is not None:
                await self._ending
        elif self._is_bound:
            await self._server.start()  # the port of a server that never ran is not freed
            await self._server.stop(None)

    # === Calls ===

    def _refused(self, path: str, error: ServingError) -> None:
        """Counts a call that was refused before it reached its method."""
        _, service, name = path.split("/")
        if name in self._services.methods().get(service, {}):
            self._metrics.count_request("GRPC", name, error.code.name)

    def _handler(self, name: str, method: Method) -> grpc.RpcMethodHandler:
        """Handler of a client stream, equal on the wire: it controls when the message is read."""
        threads = self.threads if name == PREDICT else self.status_threads
        call = functools.partial(self._answer, name, threads, method)

        async def answer(requests: Any, context: grpc.aio.ServicerContext) -> bytes:
            try:
                return await call(context)
            except ServingError as error:
                code, message = error.code, error.message
            except Exception:  # the text of an internal error must not reach the client
                LOG.exception("%s failed", name)
                code, message = grpc.StatusCode.INTERNAL, "internal error"
            await context.abort(code, message[:MESSAGE_CHARACTERS])
            raise AssertionError("abort raises")

        return grpc.stream_unary_rpc_method_handler(answer)

    async def _answer(
        self, name: str, threads: ThreadPool, method: Method, context: grpc.aio.ServicerContext
    ) -> bytes:
        with self._metrics.time_request("GRPC", name) as timing:
            messages = [await _message(context)]
            timing.restart()
            left_s = context.time_remaining()
            due_s = None if left_s is None else time.monotonic() + left_s
            reservation = self._quota.new_reservation()
            reservation.add(len(messages[0]))
            return await threads.run(
                lambda: method(messages, reservation, due_s), reservation.close
            )


async def _message(context: grpc.aio.ServicerContext) -> bytes:
    """Reads the one message of a call.

    Raises:
      ServingError: it is missing or too late.
    """
    reading = asyncio.ensure_future(context.read())
    # Not cancelled on timeout: gRPC writes into it until the call has ended.
    reading.add_done_callback(_forget)
    done, _ = await asyncio.wait({reading}, timeout=RECEIVE_S)
    if not done:
        text = "the request came too slowly"
        raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, text)
    message = reading.result()
    if not isinstance(message, bytes):
        raise ServingError(grpc.StatusCode.INTERNAL, "a call without a message")
    return message


def _forget(reading: asyncio.Future[Any]) -> None:
    with contextlib.suppress(asyncio.CancelledError):
        reading.exception()


def _options(limits: ServerLimits) -> list[tuple[str, int]]:
    """Options of the gRPC core: message sizes, age and pings of a connection."""
    return [
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.max_body_bytes),
        ("grpc.max_send_message_length", limits.max_body_bytes),
        ("grpc.max_concurrent_streams", 2 * NUM_THREADS),
        ("grpc.max_allowed_incoming_connections", MAX_CONNECTIONS),
        ("grpc.max_connection_idle_ms", IDLE_S * 1000),
        ("grpc.max_connection_age_ms", CONNECTION_AGE_S * 1000),
        ("grpc.max_connection_age_grace_ms", max(1, round(limits.drain_s)) * 1000),
        ("grpc.http2.min_ping_interval_without_data_ms", PING_S * 1000),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.keepalive_time_ms", IDLE_S * 1000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
