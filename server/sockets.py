"""Binds ports, and closes idle or slow connections."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from affectstream.core.errors import UserError
from affectstream.server.security import HEADERS

BACKLOG = 256
# From the connection, or the first byte of a further request, to the end of its headers.
HEADER_S = 10.0
# Timeout for a client that does not read its response.
WRITE_S = 30.0
# Send buffer of the system. It accepts more when a third is free, which shows that the client
# reads. With its default buffers, this would happen only once per megabyte.
SEND_BUFFER_BYTES = 256 * 1024


@dataclass(frozen=True)
class Listener:
    """A bound socket, its actual port, and whether only this machine can reach it."""

    socket: socket.socket
    port: int
    is_loopback: bool


@contextlib.contextmanager
def listen(host: str, port: int, option: str) -> Iterator[Listener]:
    """Binds a port, so that no other program takes it while the model is loaded.

    Args:
      option: for messages.
    Raises:
      UserError: in use, not allowed, or no such host; the message names the port and the remedy.
    """
    bound = _bound(host, port, option)
    with bound:
        address = bound.getsockname()
        loopback = ipaddress.ip_address(address[0].partition("%")[0]).is_loopback
        yield Listener(bound, address[1], loopback)


def take_port(bind: Callable[[str], int], host: str, port: int, option: str) -> int:
    """Lets gRPC bind a port; a socket is tried first, because gRPC gives no reason for a failure.

    Args:
      bind: takes "HOST:PORT" and returns the real port.
    Raises:
      UserError: as for `listen`.
    """
    with _bound(host, port, option) as bound:
        address = bound.getsockname()[0]
    try:
        return bind(f"[{address}]:{port}" if ":" in address else f"{address}:{port}")
    except RuntimeError as error:
        raise UserError(f"{option} {port}: cannot be taken; give another {option}") from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach a server that listens on `host`.

    Raises:
      UserError: no such host.
    """
    return ipaddress.ip_address(_resolved(host, 0)[1][0].partition("%")[0]).is_loopback


def _bound(host: str, port: int, option: str) -> socket.socket:
    family, address = _resolved(host, port)
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise UserError(_why(error, host, port, option)) from error
    return bound


def _resolved(host: str, port: int) -> tuple[int, Any]:
    """Family and address; IPv4 first if a name has both."""
    try:
        addresses = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the latter for empty or overlong parts
        raise UserError(
            f"--host {host}: no such host; give an address of this machine, or 127.0.0.1"
        ) from error
    addresses.sort(key=lambda one: one[0] != socket.AF_INET)
    return addresses[0][0], addresses[0][4]


def _why(error: OSError, host: str, port: int, option: str) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{option} {port}: in use on {host}; stop what listens there, or give another port"
    if error.errno == errno.EACCES:
        return f"{option} {port}: this user may not take it; give a port above 1023"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host}: no address of this machine; give one that is, or 127.0.0.1"
    return f"{option} {port}: cannot be taken on {host} ({error.strerror}); give another port"


class TimedProtocol(H11Protocol):
    """uvicorn's HTTP protocol with timeouts for headers and slow readers, which uvicorn lacks.

    `security.SecurityMiddleware` measures the time of a body.
    """

    _header_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _num_unread = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        connection = transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_idle():
            self._expect_headers()
        else:
            self._forget_headers()

    def send_400_response(self, msg: str) -> None:
        """Responds to invalid HTTP in the common error format, and closes the connection."""
        # No error can be sent once a response has begun.
        if self._is_idle() or not self.cycle.response_started:
            body = json.dumps({"error": msg}).encode()
            headers = HEADERS | {
                "content-type": "application/json",
                "content-length": str(len(body)),
                "cache-control": "no-store",
                "connection": "close",
            }
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            self.transport.write(f"HTTP/1.1 400 Bad Request\r\n{lines}\r\n".encode() + body)
        if self.cycle is not None:
            self.cycle.disconnected = True  # a running handler must not write any more
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_headers()
        _cancel(self._write_timer)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        _cancel(self._write_timer)
        super().resume_writing()

    def _expect_reading(self) -> None:
        self._num_unread = self.transport.get_write_buffer_size()
        self._write_timer = self.loop.call_later(WRITE_S, self._reading_overdue)

    def _reading_overdue(self) -> None:
        if self.transport.get_write_buffer_size() < self._num_unread:
            self._expect_reading()  # the client reads, if slowly
        else:
            self.transport.abort()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _expect_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_S, self._headers_overdue)

    def _forget_headers(self) -> None:
        _cancel(self._header_timer)
        self._header_timer = None

    def _headers_overdue(self) -> None:
        self._header_timer = None
        if self._is_idle():
            self.transport.abort()


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
