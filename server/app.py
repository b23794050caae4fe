"""The whole server: ports, REST with analysis and page, gRPC, and an orderly shutdown.

Import it after TensorFlow (`tf_setup.import_tensorflow`): the gRPC stubs need it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from affectstream.core import progress
from affectstream.core.errors import UserError
from affectstream.server import routes as paths
from affectstream.server.analysis import analyze_api
from affectstream.server.analysis.analysis_pool import AnalysisPool, ModelAnalysisPool
from affectstream.server.errors import ServingError
from affectstream.server.grpc.grpc_server import GrpcServer
from affectstream.server.limits import SHUTDOWN_TIMEOUT_S, THREAD_STOP_TIMEOUT_S, ServerLimits
from affectstream.server.memory_quota import MAX_HELD_BODIES, MemoryQuota
from affectstream.server.metrics import Metrics
from affectstream.server.origins import PublicOrigin
from affectstream.server.page import page_api
from affectstream.server.rest.rest_api import RestApi
from affectstream.server.security import SecurityMiddleware, error_response
from affectstream.server.signals import exit_within, wait_for_shutdown
from affectstream.server.sockets import Listener, TimedProtocol, listen, take_port
from affectstream.server.versions.loaded_version import load_version
from affectstream.server.versions.model_server import ModelServer
from affectstream.server.versions.model_store import ModelStore, open_source

MAX_CONNECTIONS = 512
KEEP_ALIVE_S = 5
# Limit of request line and headers together.
MAX_HEADER_BYTES = 32 * 1024
START_S = 30.0
POLL_S = 0.01
# For the last responses after the drain time of running requests.
RESPONSE_GRACE_S = 2.0


@dataclass(frozen=True)
class ServeSettings:
    """Settings of the server.

    Attributes:
      model: a bundle, an export folder, or one version.
      name: name of the model; None uses the bundle's or the folder's.
      host: address to listen on.
      rest_port: HTTP port; 0 selects a free one.
      grpc_port: gRPC port; 0 selects a free one.
      poll_s: interval between checks for new versions.
      token: required from every client; None requires none.
      weights_dir: face detector weights for the analysis; None uses the default folder.
      limits: all limits of the server.
      analyze: whether `/v1/analyze` exists.
      public_origins: addresses of the page in browsers, if a proxy forwards to it.
    """

    model: Path
    name: str | None = None
    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    poll_s: float = 5.0
    token: str | None = field(default=None, repr=False)
    weights_dir: Path | None = None
    limits: ServerLimits = field(default_factory=ServerLimits)
    analyze: bool = True
    public_origins: tuple[PublicOrigin, ...] = ()


class Server:
    """One model on two ports; a context manager.

    Attributes:
      rest_port: the actual port, once started.
      grpc_port: the actual port, once started.
      quota: memory of predictions.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.rest_port = settings.rest_port
        self.grpc_port = settings.grpc_port
        self._is_draining = False
        self._end_s = 0.0
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def start(self) -> None:
        """Binds the ports, loads the model, then accepts requests.

        Raises:
          UserError: no such model, or a port or host that is not available; then nothing runs.
        """
        with contextlib.ExitStack() as ends:
            self._start(ends)
            self._ends = ends.pop_all()

    def _start(self, ends: contextlib.ExitStack) -> None:
        settings, limits = self.settings, self.settings.limits
        source = open_source(settings.model, settings.name)
        rest = ends.enter_context(listen(settings.host, settings.rest_port, "--rest-port"))
        self.rest_port = rest.port
        self._metrics = Metrics(source.name)
        self._store = ModelStore(source, load_version, settings.poll_s)
        self.model_server = ModelServer(self._store, limits, self._metrics)
        self.quota = MemoryQuota(MAX_HELD_BODIES * limits.max_body_bytes, self._metrics)
        ends.callback(lambda: self.model_server.close(self._left_s()))
        self._grpc = GrpcServer(
            self.model_server, limits, self._metrics, self.quota, settings.token, self._is_ready
        )
        ends.callback(self._grpc.stop)
        self.grpc_port = take_port(
            self._grpc.bind, settings.host, settings.grpc_port, "--grpc-port"
        )
        self._store.start()
        self._rest = RestApi(self.model_server, self._metrics, self.quota, self._is_ready)
        ends.callback(self._rest.threads.give_up)
        ends.callback(self._rest.status_threads.give_up)
        app = self._application(ends, rest.is_loopback)
        self._http = ends.enter_context(_answering(app, rest))
        self._grpc.start()
        ends.callback(self._drain)

    def _application(self, ends: contextlib.ExitStack, is_loopback: bool) -> SecurityMiddleware:
        settings, limits = self.settings, self.settings.limits
        routes: list[BaseRoute] = [*self._rest.routes(), *page_api.routes(self._about)]
        if settings.analyze:
            self._pools = ModelAnalysisPool(self.model_server.config, self._pool)
            ends.callback(lambda: self._close_pools(self._left_s()))
            routes += analyze_api.routes(self._pools, limits)
        app = Starlette(
            routes=routes,
            exception_handlers={
                ServingError: _serving_error,
                HTTPException: _http_error,
                ClientDisconnect: _gone,
                Exception: _defect,
            },
        )
        app.router.redirect_slashes = False  # a double slash is another path
        open_paths = page_api.PUBLIC_PATHS | {paths.HEALTH, paths.READY}
        origins = settings.public_origins
        refused = self._rest.count_refused
        return SecurityMiddleware(
            app, limits, settings.token, open_paths, is_loopback, origins, refused
        )

    def _pool(self, config: dict[str, Any]) -> AnalysisPool:
        return AnalysisPool(
            config,
            self.model_server.lease_newest,
            self.settings.weights_dir,
            self.settings.limits,
            self._metrics,
        )

    def _is_ready(self) -> bool:
        return self._store.is_ready() and not self._is_draining

    def _about(self) -> dict[str, Any]:
        with self._store.lease() as loaded:
            return page_api.about_json(
                loaded.config,
                self._store.name,
                loaded.number,
                self.settings.limits,
                self.settings.token is not None,
            )

    def stop(self) -> None:
        """Rejects new requests, drains running ones (`limits.drain_s`), frees ports and memory.

        Requests that still run then are answered with UNAVAILABLE.
        """
        self._end_s = time.monotonic() + self.settings.limits.drain_s
        self._is_draining = True
        self._ends.close()

    def _drain(self) -> None:
        """Drains REST, gRPC and recordings concurrently, up to one deadline."""
        self._http.config.timeout_graceful_shutdown = round(self._left_s() + RESPONSE_GRACE_S)
        self._http.should_exit = True
        self._grpc.stop_accepting(self._left_s())
        recordings = threading.Thread(target=self._close_pools, args=(self._left_s(),))
        recordings.start()
        apis = (self._rest, self._grpc)
        all_threads = [one for api in apis for one in (api.threads, api.status_threads)]
        for threads in all_threads:
            threads.wait_idle(self._end_s)
        for threads in all_threads:
            threads.give_up()
        recordings.join()

    def _close_pools(self, drain_s: float) -> None:
        if self.settings.analyze:
            self._pools.close(drain_s)

    def _left_s(self) -> float:
        return max(0.0, self._end_s - time.monotonic())

    def addresses(self) -> str:
        """The addresses and what they serve, as one text."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        versions = [s.version for s in self._store.statuses() if s.state == "AVAILABLE"]
        newest = f"version {versions[0]}" if versions else "no version"
        public = "".join(
            f", in browsers {one.origin}{one.prefix}/" for one in self.settings.public_origins
        )
        return (
            f"serving {self._store.name} {newest}: http://{host}:{self.rest_port}/"
            f" and gRPC {host}:{self.grpc_port}{public}"
        )


# === Threads ===


@contextlib.contextmanager
def _answering(app: ASGIApp, rest: Listener) -> Iterator[uvicorn.Server]:
    """Runs uvicorn in its own thread and loop."""
    config = uvicorn.Config(
        app,
        http=TimedProtocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=MAX_CONNECTIONS,
        timeout_keep_alive=KEEP_ALIVE_S,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, args=([rest.socket],), name="rest-loop", daemon=True
    )
    thread.start()
    try:
        give_up_s = time.monotonic() + START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > give_up_s:
                raise UserError(f"--rest-port {rest.port}: HTTP did not start; try another port")
            time.sleep(POLL_S)
        yield server
    finally:
        server.should_exit = True
        ending_s = (server.config.timeout_graceful_shutdown or 0) + THREAD_STOP_TIMEOUT_S
        thread.join(ending_s)


# === Errors outside endpoints ===


def _serving_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServingError):
        raise error
    return error_response(error)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # the client is gone


def _defect(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "internal error"}, 500)


# === Command ===


def serve(settings: ServeSettings) -> None:
    """Serves until SIGINT or SIGTERM, which shut it down; a second signal ends it at once.

    Raises:
      UserError: the server cannot start.
    """
    drain_s = settings.limits.drain_s
    with wait_for_shutdown() as wait, contextlib.ExitStack() as ends:
        server = ends.enter_context(Server(settings))
        progress.print_message(f"{server.addresses()}; Ctrl-C stops")
        wait()
        progress.print_message(f"stopping; running requests have {drain_s:g} s")
        with exit_within(drain_s + SHUTDOWN_TIMEOUT_S):
            ends.close()
