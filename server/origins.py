"""Addresses of the page in browsers, behind a proxy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

from affectstream.core.errors import UserError
from affectstream.server import routes

DEFAULT_PORTS = {"http": 80, "https": 443}
EXAMPLE = "https://example.org/affect"
# Characters that browsers and proxies leave unchanged.
_PREFIX = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?|\[[0-9a-f:.]+\]")


@dataclass(frozen=True)
class PublicOrigin:
    """One address of the page in browsers.

    Attributes:
      scheme: "http" or "https".
      host: name in lower case, with the port unless it is the scheme's default.
      prefix: path before the page's own, without a trailing slash; "" if there is none.
    """

    scheme: str
    host: str
    prefix: str

    @property
    def origin(self) -> str:
        """Value of the header `Origin`."""
        return f"{self.scheme}://{self.host}"

    @classmethod
    def parse(cls, text: str) -> PublicOrigin:
        """Reads `http[s]://HOST[:PORT][/PREFIX]`.

        Raises:
          UserError: any other text, or a prefix that is a path of the server itself.
        """
        try:
            parts = urlsplit(text.strip())
            name, port = (parts.hostname or ""), parts.port
        except ValueError:
            raise _unreadable(text) from None
        name = f"[{name}]" if ":" in name else name
        prefix = parts.path.rstrip("/")
        is_whole = parts.scheme in DEFAULT_PORTS and _NAME.fullmatch(name) is not None
        if not is_whole or "@" in parts.netloc or parts.query or parts.fragment:
            raise _unreadable(text)
        if not _PREFIX.fullmatch(prefix):
            raise _unreadable(text)
        first = prefix.split("/")[1] if prefix else ""
        if first in routes.RESERVED_FIRST_SEGMENTS or first.endswith(routes.PAGE_SUFFIXES):
            raise UserError(
                f"{text}: /{first} is a path of the server itself; give the page another prefix"
            )
        is_default_port = port is None or port == DEFAULT_PORTS[parts.scheme]
        return cls(parts.scheme, name if is_default_port else f"{name}:{port}", prefix)


def _unreadable(text: str) -> UserError:
    return UserError(
        f"{text}: not the address of a page; give http or https, host, and where they are needed"
        f" port and prefix, as browsers show them, for example {EXAMPLE}"
    )


def without_default_port(host: str) -> str:
    """A `Host` in lower case, in the format of `PublicOrigin.host`."""
    return host.lower().removesuffix(":80").removesuffix(":443")


def without_prefix(path: str, origins: Iterable[PublicOrigin]) -> str | None:
    """The server's path if a proxy passes the prefix on; None if its slash is missing.

    Args:
      path: received path.
    """
    for origin in origins:
        if origin.prefix and path == origin.prefix:
            return None
        if origin.prefix and path.startswith(f"{origin.prefix}/"):
            return path.removeprefix(origin.prefix)
    return path
