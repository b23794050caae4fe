"""A publisher on this machine for `download --mirror`: RAVDESS as Zenodo lists it, of noise."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import io
import json
import threading
import time
import zipfile
from collections.abc import Iterator

import numpy as np

RECORD = "/api/records/1188976"
ARCHIVE = "Audio_Speech_Actors_01-24"
SOUND_BYTES = 60_000
CHUNK_BYTES = 1 << 15
# So that a download takes about a second.
CHUNK_WAIT_S = 0.01


class _Publisher(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        body = archive()
        name = f"{ARCHIVE}.zip"
        content = f"{RECORD}/files/{name}/content"
        checksum = f"md5:{hashlib.md5(body, usedforsecurity=False).hexdigest()}"
        links = {"self": f"https://zenodo.invalid{content}"}
        entry = {"key": name, "size": len(body), "checksum": checksum, "links": links}
        listed = json.dumps({"id": 1188976, "files": [entry]}).encode()
        self.bodies = {RECORD: listed, content: body}


class _Answer(http.server.BaseHTTPRequestHandler):
    server: _Publisher

    def do_GET(self) -> None:
        """Answers with a file, or from where the client goes on."""
        body = self.server.bodies.get(self.path)
        if body is None:
            self.send_error(404)
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.send_header("ETag", '"one"')
        self.end_headers()
        with contextlib.suppress(OSError):  # whom it answers may be killed
            for at in range(start, len(body), CHUNK_BYTES):
                self.wfile.write(body[at : at + CHUNK_BYTES])
                time.sleep(CHUNK_WAIT_S)

    def log_message(self, *_: object) -> None:
        """Keeps the output clean."""


def archive() -> bytes:
    """A zip with one SYNTHETIC recording per actor: noise."""
    rng = np.random.default_rng(0)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for actor in range(1, 25):
            member = zipfile.ZipInfo(f"Actor_{actor:02d}/03-01-01-01-01-01-{actor:02d}.wav")
            file.writestr(member, rng.bytes(SOUND_BYTES))
    return buffer.getvalue()


@contextlib.contextmanager
def publisher() -> Iterator[str]:
    """A server that runs in the block; its address is the value of `--mirror`."""
    with _Publisher() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()
