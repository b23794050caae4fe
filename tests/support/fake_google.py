"""A server on this machine that stands in for Google's translation page."""

from __future__ import annotations

import html
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from affectstream.data_augmentation.offline.translators.google import GoogleTranslator
from affectstream.data_augmentation.offline.translators.translator import RetryPolicy

Answer = tuple[int, str, dict[str, str]]


def page(text: str) -> str:
    """The result page as Google sends it, as far as it is read."""
    return (
        '<!DOCTYPE html><html><head><title>Google Translate</title></head><body><form action="/m">'
        f'<input name="q"></form><div class="result-container">{html.escape(text)}</div></body>'
    )


def translated(text: str, source: str, target: str) -> str:
    """A made-up language: words carry their language; on the way back, some change."""
    if target == "en":
        words = [word.removesuffix(f"-{source}") for word in text.split()]
        return " ".join([*words, f"via {source}"])
    return " ".join(f"{word}-{target}" for word in text.split())


@dataclass
class FakeGoogle:
    """What the server answers, and what it was asked.

    Attributes:
      url: of the page.
      asked: (source, target, text) of each request, in order.
      answer: request -> (status, body, headers); may wait.
    """

    url: str = ""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    answer: Callable[[str, str, str], Answer] = lambda text, source, target: (
        200,
        page(translated(text, source, target)),
        {},
    )

    def translator(
        self, retry_policy: RetryPolicy | None = None, timeout_s: float = 5.0
    ) -> GoogleTranslator:
        """A translator that asks this server, without waiting between requests."""
        calm = retry_policy or RetryPolicy(min_interval_s=0.0, sleep=lambda seconds: None)
        return GoogleTranslator(timeout_s=timeout_s, retry_policy=calm, base_url=self.url)


@contextmanager
def serving() -> Iterator[FakeGoogle]:
    """Runs the server while the block lasts."""
    google = FakeGoogle()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            query = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
            google.asked.append((query["sl"], query["tl"], query["q"]))
            status, body, headers = google.answer(query["q"], query["sl"], query["tl"])
            content = body.encode()
            try:
                self.send_response(status)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                return  # the client has gone

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    google.url = f"http://127.0.0.1:{server.server_port}/m"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield google
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
