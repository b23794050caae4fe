"""The page behind a real proxy, nginx with TLS, in Debian's Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from starlette.types import ASGIApp

from affectstream.server.limits import ServerLimits
from affectstream.server.origins import PublicOrigin
from affectstream.server.page import page_api
from affectstream.server.security import SecurityMiddleware
from tests.support import page_reader, proxy
from tests.support.page_reader import Reader
from tests.support.scripted_page import ScriptedServer, listening

pytestmark = pytest.mark.server

browser = page_reader.browser
LARGE_BYTES = 3 << 20  # nginx by itself takes one MiB
KEPT = "    proxy_set_header Host $http_host;\n"
# nginx hands on by itself the name that `proxy_pass` has.
LAYOUTS = {
    "as in the docs": ("/affect", lambda text: text),
    "prefix kept": ("/affect", lambda text: text.replace("8501/;", "8501;")),
    "host kept": ("/affect", lambda text: text.replace("}", KEPT + "}")),
    "both kept": ("/affect", lambda text: text.replace("8501/;", "8501;").replace("}", KEPT + "}")),
    "no prefix": ("", lambda text: text.replace("location /affect/", "location /")),
}


class GuardedServer(ScriptedServer):
    """As `serve --public-origin` guards it."""

    def __init__(self, origin: PublicOrigin) -> None:
        super().__init__()
        self._origin = origin

    def app(self) -> ASGIApp:  # type: ignore[override]
        open_paths = page_api.PUBLIC_PATHS
        return SecurityMiddleware(
            super().app(), ServerLimits(), None, open_paths, True, (self._origin,)
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_page_works_behind_nginx(browser: Any, tmp_path: Path, layout: str) -> None:
    prefix, change = LAYOUTS[layout]
    port = proxy.free_port()
    address = f"https://{proxy.NAME}:{port}{prefix}"
    with listening(GuardedServer(PublicOrigin.parse(address))) as server:
        server.about["limits"]["max_upload_bytes"] = LARGE_BYTES
        own_port = server.address.rstrip("/").rpartition(":")[2]
        location = change(proxy.documented_location()).replace("8501", own_port)
        with proxy.nginx_proxy(location, port, tmp_path):
            # Without a slash at its end: the proxy, or the server, puts it there.
            reader = Reader(browser, address, ignore_https_errors=True)
            try:
                assert reader.page.url == f"{address}/"
                reader.page.wait_for_selector("#facts dt")
                content = bytes(LARGE_BYTES)
                reader.choose("good.wav", content)
                reader.page.click("#analyze")
                reader.page.wait_for_selector("#answer:visible")
                assert reader.text("#answer-line") == "happy over 6.0 s, from voice and face"
                assert reader.page.evaluate("isSecureContext"), "else no microphone"
                assert reader.complaints == []
            finally:
                reader.context.close()
        assert [one["body"] for one in server.received] == [content]
