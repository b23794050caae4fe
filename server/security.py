"""Checks every request: access, body size, and arrival time."""

from __future__ import annotations

import asyncio
import hmac
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import grpc
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from affectstream.server import routes
from affectstream.server.errors import ServingError, invalid, too_large
from affectstream.server.gzip_body import is_gzip
from affectstream.server.limits import MIB, ServerLimits
from affectstream.server.origins import PublicOrigin, without_default_port, without_prefix

# A multipart form has boundaries and a text field around the recording. Forms are parsed as they
# arrive (`analysis/uploads.py`), not by Starlette's `request.form()`: that stores every file
# completely before the handler runs, and its `max_part_size` limits only the fields.
FORM_BYTES = MIB
# A body may take this long, plus one second for this many bytes.
BODY_GRACE_S = 20.0
MIN_BYTES_PER_SECOND = 16 * 1024
# A refused client's data are read for this long, otherwise it would not see the response.
LINGER_S = 2.0
# Host names of a server that listens only to its own machine. Any other name in `Host` means that
# another site's page resolves its name to this address (DNS rebinding). Starlette's
# `TrustedHostMiddleware` supports no address ranges such as 127.x.y.z, compares no port, and
# responds in plain text.
LOOPBACK_HOST = re.compile(r"(localhost|127(\.\d{1,3}){3}|\[::1\])(:\d{1,5})?", re.IGNORECASE)
BEHIND_PROXY = "behind a proxy it is started with --public-origin"
OPEN_METHODS = "/grpc.health.v1.Health/"
# Headers of every response.
HEADERS = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self' data: blob:; connect-src 'self'; media-src 'self' blob:; base-uri 'none';"
    " form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "permissions-policy": "camera=(self), microphone=(self)",
    "cross-origin-resource-policy": "same-origin",
}


def error_response(error: ServingError) -> JSONResponse:
    """An error in TensorFlow Serving's format: `{"error": "..."}`."""
    headers = {401: {"www-authenticate": "Bearer"}, 429: {"retry-after": "1"}}
    return JSONResponse({"error": error.message}, error.http_status, headers.get(error.http_status))


def _nobody(*details: object) -> None:
    pass


# === HTTP ===


class SecurityMiddleware:
    """ASGI middleware around the whole application.

    Args:
      app: the protected application; it handles a `ServingError` raised while the body is read.
      limits: `max_body_bytes`, for uploads `max_upload_bytes`.
      token: required as `Authorization: Bearer`; None requires none.
      open_paths: paths that need no token.
      loopback: whether the server listens only to its own machine.
      origins: addresses of the page behind a proxy. Other proxy headers (`X-Forwarded-...`) are not
        trusted, because any client of the port could send them.
      refused: called for each refused request with its method, its path, and the reason.
    """

    def __init__(
        self,
        app: ASGIApp,
        limits: ServerLimits,
        token: str | None = None,
        open_paths: frozenset[str] = frozenset(),
        loopback: bool = True,
        origins: tuple[PublicOrigin, ...] = (),
        refused: Callable[[str, str, ServingError], None] = _nobody,
    ) -> None:
        self._app = app
        self._limits = limits
        self._token = token
        self._open_paths = open_paths
        self._loopback = loopback
        self._origins = origins
        self._hosts = frozenset(one.host for one in origins)
        self._names = frozenset(one.origin for one in origins)
        self._refused = refused

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        came, path = scope["path"], without_prefix(scope["path"], self._origins)
        scope = {**scope, "path": routes.PAGE if path is None else path}
        headers = Headers(scope=scope)
        body = _Body(receive, headers, self._largest(scope["path"]))
        answer = _answering(send, body)
        try:
            self._admit(scope, headers)
            body.check_declared()
        except ServingError as error:
            self._refused(scope["method"], scope["path"], error)
            await error_response(error)(scope, body.receive, answer)
            return
        if path is None:  # the page's addresses are relative: it needs a trailing slash
            moved = RedirectResponse(f"{came.rpartition('/')[2]}/", 308)
            await moved(scope, body.receive, answer)
            return
        await self._app(scope, body.receive, answer)

    def _largest(self, path: str) -> int:
        if path == routes.ANALYZE:
            return self._limits.max_upload_bytes + FORM_BYTES
        return self._limits.max_body_bytes

    def _admit(self, scope: Scope, headers: Headers) -> None:
        is_reading = scope["method"] in ("GET", "HEAD")
        is_open = is_reading and scope["path"] in self._open_paths
        host = without_default_port(headers.get("host", ""))
        if self._loopback and not LOOPBACK_HOST.fullmatch(host) and host not in self._hosts:
            names = ", ".join(["localhost", *sorted(self._hosts)])
            raise _forbidden(f"this server answers to {names} and 127.0.0.1 only; {BEHIND_PROXY}")
        # Other sites may link to the page, but not use anything else of this server.
        if not (is_reading and scope["path"] == routes.PAGE):
            self._refuse_other_sites(headers, host)
        if not is_open and not has_valid_token(self._token, headers.get("authorization", "")):
            raise _unauthenticated()
        encoding = headers.get("content-encoding", "identity")
        takes_gzip = routes.is_model_path(scope["path"]) and is_gzip(encoding)
        if encoding.lower() != "identity" and not takes_gzip:
            message = "this Content-Encoding is not read; send predictions with gzip or without it"
            raise ServingError(grpc.StatusCode.INVALID_ARGUMENT, message, 415)

    def _refuse_other_sites(self, headers: Headers, host: str) -> None:
        # Browsers send the origin of a request; programs send neither header.
        site, origin = headers.get("sec-fetch-site", "none"), headers.get("origin")
        is_own = origin is None or origin.lower() in self._names or _origin_host(origin) == host
        if site not in ("none", "same-origin") or not is_own:
            raise _forbidden(f"requests of other web sites are refused; {BEHIND_PROXY}")


class _Body:
    """The body of one request: counts bytes, and measures the time waiting for the client."""

    def __init__(self, receive: Receive, headers: Headers, largest: int) -> None:
        self._receive = receive
        self._headers = headers
        self._largest = largest
        self._num_bytes = 0
        self._waited_s = 0.0
        self._may_linger = "expect" not in headers
        self.is_read = (
            "transfer-encoding" not in headers and headers.get("content-length", "0") == "0"
        )

    def check_declared(self) -> None:
        """Raises ServingError (413) before reading if the declared length is too large."""
        declared = self._headers.get("content-length", "0")
        if not declared.isdecimal() or len(declared) > 18:
            raise invalid("Content-Length is not a length")
        if int(declared) > self._largest:
            raise too_large(self._largest)

    async def receive(self) -> Message:
        """The next chunk.

        Raises:
          ServingError: too large (413) or too slow (408).
        """
        if self.is_read:
            return await self._receive()
        # A client that waits for permission to send (`Expect`) gets it here.
        self._may_linger = True
        left_s = BODY_GRACE_S + self._num_bytes / MIN_BYTES_PER_SECOND - self._waited_s
        began_s = time.monotonic()
        try:
            async with asyncio.timeout(max(left_s, 0.0)):
                message = await self._receive()
        except TimeoutError:
            self._may_linger = False
            text = "the body came too slowly"
            raise ServingError(grpc.StatusCode.DEADLINE_EXCEEDED, text, 408) from None
        self._waited_s += time.monotonic() - began_s
        self._num_bytes += len(message.get("body", b""))
        self.is_read = not message.get("more_body", False)
        if self._num_bytes > self._largest:
            raise too_large(self._largest)
        return message

    async def discard(self) -> None:
        """Reads what a refused client still sends, for a short time."""
        if not self._may_linger:
            return
        try:
            async with asyncio.timeout(LINGER_S):
                while (await self._receive()).get("more_body", False):
                    pass
        except TimeoutError:
            return


def _answering(send: Send, body: _Body) -> Send:
    """Adds the headers; a response before the end of the body closes the connection."""

    async def answer(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
            headers.setdefault("cache-control", "no-store")
            if not body.is_read:
                headers["connection"] = "close"
        elif not body.is_read and not message.get("more_body", False):
            await send({**message, "more_body": True})
            await body.discard()
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await send(message)

    return answer


def _origin_host(origin: str) -> str | None:
    try:
        return without_default_port(urlsplit(origin).netloc) or None
    except ValueError:
        return None


def _forbidden(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.PERMISSION_DENIED, message)


# === Token ===


def has_valid_token(token: str | None, authorization: str) -> bool:
    """Whether `Authorization: Bearer TOKEN` holds the token, compared in constant time."""
    if token is None:
        return True
    scheme, _, received = authorization.partition(" ")
    same = hmac.compare_digest(received.strip().encode("utf-8", "replace"), token.encode())
    return same and scheme.lower() == "bearer"


def _unauthenticated() -> ServingError:
    message = "this server asks for a token: send `Authorization: Bearer TOKEN`"
    return ServingError(grpc.StatusCode.UNAUTHENTICATED, message)


class TokenInterceptor(grpc.aio.ServerInterceptor):
    """Refuses calls without the token in the metadata `authorization`, before reading the message.

    A call is refused as soon as its metadata have arrived: the refusing handler reads no message.
    The health service is open, like `/readyz`, because health checks have no token.

    Args:
      token: required token.
      refused: called for each refused call with its `/SERVICE/METHOD` and the reason.
    """

    def __init__(self, token: str, refused: Callable[[str, ServingError], None] = _nobody) -> None:
        self._token = token
        self._refused = refused

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler:
        given = dict(handler_call_details.invocation_metadata or ()).get("authorization", "")
        is_open = handler_call_details.method.startswith(OPEN_METHODS)
        if is_open or has_valid_token(self._token, str(given)):
            return await continuation(handler_call_details)
        self._refused(handler_call_details.method, _unauthenticated())
        return grpc.stream_unary_rpc_method_handler(_refuse)


async def _refuse(requests: Any, context: grpc.aio.ServicerContext) -> bytes:
    error = _unauthenticated()
    await context.abort(error.code, error.message)
    return b""
