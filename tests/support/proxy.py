"""nginx before a server of ours, as docs/serving.md shows it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

NAME = "emotion.localhost"  # browsers look for it on their own machine; to the server it is foreign
START_S = 600
CONFIG = """
{user}
daemon off;
worker_processes 1;
pid {home}/nginx.pid;
error_log {home}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    server {{
        listen 127.0.0.1:{port} ssl;
        server_name {name};
        ssl_certificate {home}/cert.pem;
        ssl_certificate_key {home}/key.pem;
{location}
    }}
}}
"""


def documented_location() -> str:
    """The `location` of docs/serving.md."""
    text = (ROOT / "docs" / "serving.md").read_text("utf-8")
    (found,) = re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)
    return found


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return int(one.getsockname()[1])


@contextlib.contextmanager
def nginx_proxy(location: str, port: int, home: Path) -> Iterator[None]:
    """nginx on `port` with TLS of its own, until the block ends; skips where there is none."""
    nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    openssl = shutil.which("openssl")
    if nginx is None or openssl is None:
        pytest.skip("no nginx or no openssl; type: sh scripts/nginx.sh")
    made = ["-subj", f"/CN={NAME}", "-keyout", f"{home}/key.pem", "-out", f"{home}/cert.pem"]
    words = [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *made]
    subprocess.run(words, check=True, capture_output=True)
    user = "" if os.geteuid() else "user root;"
    told = {"user": user, "home": home, "port": port, "name": NAME, "location": location}
    (home / "nginx.conf").write_text(CONFIG.format(**told), "utf-8")
    words = [nginx, "-p", str(home), "-c", f"{home}/nginx.conf", "-e", f"{home}/error.log"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _await(process, port, home / "error.log")
        yield
    finally:
        process.terminate()
        process.wait(START_S)


def _await(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    end_s = time.monotonic() + START_S
    while True:
        assert process.poll() is None, log.read_text("utf-8")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        assert time.monotonic() < end_s, log.read_text("utf-8")
        time.sleep(0.05)
