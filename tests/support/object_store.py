"""A real S3 server on loopback (moto's), and a way to it that can break off."""

from __future__ import annotations

import http.client
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from affectstream.core import storage_paths

BUCKET = "corpora"
_REGION = "us-east-1"
_READ_ONLY = {
    "Version": "2012-10-17",
    "Statement": [
        {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"},
    ],
}


@dataclass
class Store:
    """An S3 bucket, its client settings, and a log of its requests.

    Attributes:
      cut: part of a key -> how many answers to a GET of it still break off halfway.
      asked: (method, path) of every request.
    """

    server: ThreadedMotoServer
    proxy: ThreadingHTTPServer
    cut: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.proxy.server_address[1]}"

    def client(self, service: str = "s3") -> Any:
        host, port = self.server.get_host_and_port()
        return boto3.client(service, endpoint_url=f"http://{host}:{port}", region_name=_REGION)

    def put(self, folder: Path, key: str) -> str:
        """Uploads what is below a folder; its URL."""
        client = self.client()
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = f"{key}/{path.relative_to(folder).as_posix()}"
                client.put_object(Bucket=BUCKET, Key=name, Body=path.read_bytes())
        return f"s3://{BUCKET}/{key}"

    def files(self, key: str) -> dict[str, bytes]:
        """What lies below a key: name -> bytes."""
        client = self.client()
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{key}/")
        keys = [one["Key"] for page in pages for one in page.get("Contents", ())]
        return {
            name.removeprefix(f"{key}/"): client.get_object(Bucket=BUCKET, Key=name)["Body"].read()
            for name in keys
        }

    def make_read_only(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """From now on the server checks who asks; who does may read and nothing else."""
        iam = self.client("iam")
        iam.create_user(UserName="reader")
        document = json.dumps(_READ_ONLY)
        iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=document)
        key = iam.create_access_key(UserName="reader")["AccessKey"]
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", key["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", key["SecretAccessKey"])
        self.check_from(0)

    def check_from(self, num_requests: float) -> None:
        """After how many requests the server begins to check who asks."""
        self._tell_server("reset-auth", num_requests)

    def empty(self) -> None:
        """Forgets what any server of this process held."""
        self._tell_server("reset", "")

    def _tell_server(self, what: str, value: object) -> None:
        connection = http.client.HTTPConnection(*self.server.get_host_and_port())
        connection.request("POST", f"/moto-api/{what}", str(value).encode())
        assert connection.getresponse().status == 200


@contextmanager
def running(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A server with an empty bucket, which URLs of `s3://` reach from now on."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", _REGION)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _Forward)
    store = Store(server, proxy)
    proxy.store = store  # type: ignore[attr-defined]
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", store.endpoint)
    store.empty()
    store.client().create_bucket(Bucket=BUCKET)
    forget()
    try:
        yield store
    finally:
        store.check_from(1e9)
        proxy.shutdown()
        proxy.server_close()
        server.stop()
        forget()


def forget() -> None:
    """Connections of this process know nothing of credentials and servers of before."""
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()
    storage_paths._listing.cache_clear()


class _Forward(BaseHTTPRequestHandler):
    """Hands a request on; of some keys the answer breaks off."""

    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        store: Store = self.server.store  # type: ignore[attr-defined]
        store.asked.append((self.command, self.path))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        connection = http.client.HTTPConnection(*store.server.get_host_and_port())
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        self.send_response(answer.status)
        told = {key: value for key, value in answer.getheaders() if key != "Transfer-Encoding"}
        told.setdefault("Content-Length", str(len(data)))
        for key, value in told.items():
            self.send_header(key, value)
        self.end_headers()
        cut = next((key for key, left in store.cut.items() if key in self.path and left), None)
        if self.command == "GET" and cut is not None and len(data) > 1:
            store.cut[cut] -= 1
            self.wfile.write(data[: len(data) // 2])
            self.close_connection = True
        elif self.command != "HEAD":
            self.wfile.write(data)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _forward  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        pass
