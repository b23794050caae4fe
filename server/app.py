"""The whole server: ports, REST with analysis and page, gRPC, and an orderly end.

Import it once TensorFlow is (`quiet.import_tensorflow`): the gRPC stubs need it.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute

import progress
from errors import UserError
from server import analyze_api, page_api
from server.analysis import AnalysisPool, PoolOfModel
from server.grpc_api import GrpcServer
from server.limits import Limits
from server.loaded_version import load_version
from server.metrics import Metrics
from server.model_server import ModelServer
from server.model_store import ModelStore, open_source
from server.rest_api import RestApi
from server.security import Guard, error_response
from server.sockets import Listener, TimedProtocol, listen, take_port
from server.status import ServingError

HEALTH_PATH = "/healthz"
MAX_CONNECTIONS = 512
KEEP_ALIVE_S = 5
# Of the request line and headers together.
MAX_HEADER_BYTES = 32 * 1024
START_S = 30.0


@dataclass(frozen=True)
class ServeSettings:
    """How to serve.

    Attributes:
      model: a bundle, an export folder, or one version.
      name: of the model; None takes the bundle's or the folder's.
      host: address to listen on.
      rest_port: of HTTP; 0 takes a free one.
      grpc_port: of gRPC; 0 takes a free one.
      poll_s: how often to look for new versions.
      token: asked of every client; None asks for nothing.
      weights_dir: face detector weights for the analysis; None takes the default folder.
      limits: of everything.
      analyze: whether `/v1/analyze` is there.
    """

    model: Path
    name: str | None = None
    host: str = "127.0.0.1"
    rest_port: int = 8501
    grpc_port: int = 8500
    poll_s: float = 5.0
    token: str | None = field(default=None, repr=False)
    weights_dir: Path | None = None
    limits: Limits = field(default_factory=Limits)
    analyze: bool = True


class Server:
    """One model on two ports; a context manager.

    Attributes:
      rest_port: the real one, once started.
      grpc_port: the real one, once started.
    """

    def __init__(self, settings: ServeSettings) -> None:
        self.settings = settings
        self.rest_port = settings.rest_port
        self.grpc_port = settings.grpc_port
        self._is_draining = False
        self._http: uvicorn.Server | None = None
        self._ends = contextlib.ExitStack()

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self.stop()

    def start(self) -> None:
        """Takes the ports, loads the model, then answers.

        Raises:
          UserError: no such model, or a port or host that cannot be had; nothing runs then.
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
        self._grpc = GrpcServer(self.model_server, limits, self._metrics, settings.token)
        self.grpc_port = take_port(
            self._grpc.bind, settings.host, settings.grpc_port, "--grpc-port"
        )
        ends.callback(self.model_server.close)
        self._store.start()
        app = self._application(ends, rest.is_loopback)
        self._http = ends.enter_context(_answering(app, rest, limits))
        self._grpc.start()
        ends.enter_context(_stopping(self._grpc))

    def _application(self, ends: contextlib.ExitStack, is_loopback: bool) -> Guard:
        settings, limits = self.settings, self.settings.limits
        rest = RestApi(self.model_server, limits, self._metrics, self._is_ready)
        ends.callback(rest.close)
        routes: list[BaseRoute] = [*rest.routes(), *page_api.routes(self._about)]
        if settings.analyze:
            pool_of = PoolOfModel(self.model_server.config, self._pool)
            ends.callback(pool_of.close)
            routes += analyze_api.routes(pool_of, limits)
        app = Starlette(
            routes=routes,
            exception_handlers={
                ServingError: _serving_error,
                HTTPException: _http_error,
                ClientDisconnect: _gone,
                Exception: _defect,
            },
        )
        open_paths = page_api.PUBLIC_PATHS | {HEALTH_PATH}
        return Guard(app, limits, settings.token, open_paths, is_loopback)

    def _pool(self, config: dict[str, Any]) -> AnalysisPool:
        return AnalysisPool(
            config,
            self.model_server.leased,
            self.settings.weights_dir,
            self.settings.limits,
            self._metrics,
        )

    def _is_ready(self) -> bool:
        return self._store.is_ready() and not self._is_draining

    def _about(self) -> dict[str, Any]:
        with self._store.lease() as loaded:
            return page_api.about_of(
                loaded.config,
                self._store.name,
                loaded.number,
                self.settings.limits,
                self.settings.token is not None,
            )

    def stop(self) -> None:
        """Takes nothing new, lets what runs end within `limits.drain_s`, frees ports and memory."""
        self._is_draining = True
        if self._http is not None:
            self._http.should_exit = True  # waited for below; both drain at the same time
        self._ends.close()

    def addresses(self) -> str:
        """What is served where, in a few words."""
        host = f"[{self.settings.host}]" if ":" in self.settings.host else self.settings.host
        newest = next(s.version for s in self._store.statuses() if s.state == "AVAILABLE")
        return (
            f"serving {self._store.name} version {newest}: http://{host}:{self.rest_port}/"
            f" and gRPC {host}:{self.grpc_port}"
        )


# === Threads ===


@contextlib.contextmanager
def _answering(app: Guard, rest: Listener, limits: Limits) -> Iterator[uvicorn.Server]:
    """uvicorn in a thread of its own, with a loop of its own."""
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
        timeout_graceful_shutdown=max(1, round(limits.drain_s)),
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(
        target=server.run, args=([rest.socket],), name="rest-loop", daemon=True
    )
    thread.start()
    give_up_s = time.monotonic() + START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > give_up_s:
            raise UserError(f"--rest-port {rest.port}: HTTP did not start; try another port")
        time.sleep(0.01)
    try:
        yield server
    finally:
        server.should_exit = True
        thread.join()


@contextlib.contextmanager
def _stopping(server: GrpcServer) -> Iterator[None]:
    try:
        yield
    finally:
        server.stop()


# === Errors that are no answer of an endpoint ===


def _serving_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, ServingError):
        raise error
    return error_response(error)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return JSONResponse({"error": str(error.detail)}, error.status_code, error.headers)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=499)  # nobody reads it


def _defect(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": "internal error"}, 500)


# === Command ===


def serve(settings: ServeSettings) -> None:
    """Serves until SIGINT or SIGTERM, both of which end it well; a second one ends it at once.

    Raises:
      UserError: cannot start.
    """
    # It writes a traceback for every message that is none.
    logging.getLogger("grpc._server").setLevel(logging.CRITICAL)
    told: list[int] = []
    before: dict[int, Any] = {}

    def on_signal(number: int, frame: FrameType | None) -> None:
        told.append(number)
        for other, handler in before.items():
            signal.signal(other, handler)

    for one in (signal.SIGINT, signal.SIGTERM):
        before[one] = signal.signal(one, on_signal)
    try:
        with Server(settings) as server:
            progress.say(f"{server.addresses()}; Ctrl-C stops")
            while not told:
                time.sleep(0.1)
            progress.say(f"stopping; running requests have {settings.limits.drain_s:g} s")
    finally:
        for other, handler in before.items():
            signal.signal(other, handler)
