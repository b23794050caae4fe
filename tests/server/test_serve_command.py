"""`serve` from its options to its end."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from affectstream.commands.serve import TOKEN_VARIABLE
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.server import app, sockets
from affectstream.server.app import Server, ServeSettings
from affectstream.server.limits import ServerLimits
from tests.conftest import ROOT
from tests.support.models import error_line, run

pytestmark = pytest.mark.server

TIMEOUT_S = 300
START_S = 600
SAID = re.compile(
    r"serving (\S+) version 1: http://127\.0\.0\.1:(\d+)/ and gRPC 127\.0\.0\.1:(\d+); Ctrl-C stops"
)
BODY: Any = {"signature_name": "audio", "inputs": {"audio": [[0.1, 0.2, 0.3]], "audio_length": [3]}}


# === A process of its own ===


def started(words: list[str]) -> tuple[subprocess.Popen[str], re.Match[str]]:
    """A server, once it has told its addresses."""
    process = subprocess.Popen(
        [sys.executable, "cli.py", "serve", *words],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, TOKEN_VARIABLE: "a-token"},
    )
    timer = threading.Timer(START_S, process.kill)
    timer.start()
    assert process.stderr is not None
    said = []
    for line in process.stderr:
        said.append(line)
        if found := SAID.search(line):
            timer.cancel()
            return process, found
    timer.cancel()
    raise AssertionError("".join(said))


def test_it_answers_and_sigterm_ends_it_well(exported: Path) -> None:
    process, found = started(["--model", str(exported), "--rest-port", "0", "--grpc-port", "0"])
    try:
        url = f"http://127.0.0.1:{found[2]}"
        where = f"{url}/v1/models/{found[1]}:predict"
        headers = {"authorization": "Bearer a-token"}
        answer = requests.post(where, json=BODY, headers=headers, timeout=TIMEOUT_S)
        assert answer.status_code == 200, answer.text
        assert sum(answer.json()["outputs"]["probabilities"][0]) == pytest.approx(1, abs=1e-4)
        assert requests.get(f"{url}/v1/about", timeout=TIMEOUT_S).json()["needs_token"] is True
        upload = requests.post(f"{url}/v1/analyze", data=b"x", timeout=TIMEOUT_S)
        assert upload.status_code == 401
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=TIMEOUT_S)
    finally:
        process.kill()
    assert process.returncode == EXIT_OK
    assert "Traceback" not in said and "Error" not in said, said
    with pytest.raises(requests.ConnectionError):
        requests.get(url, timeout=TIMEOUT_S)


def test_no_tensorflow_for_what_cannot_start(tmp_path: Path) -> None:
    """Help, wrong options and wrong folders are told without waiting for TensorFlow."""
    probe = """
import json, sys
from affectstream import cli
for line in json.loads(sys.argv[1]):
    print(json.dumps([cli.main(line), "tensorflow" in sys.modules]))
"""
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.json").write_text("{}")
    (tmp_path / "token").write_text("\n")
    serve = ["serve", "--model"]
    lines = [
        ["serve"],
        [*serve, "x", "--rest-port", "99999"],
        [*serve, "x", "--rest-port", "8000", "--grpc-port", "8000"],
        [*serve, str(tmp_path / "absent")],
        [*serve, str(tmp_path / "empty")],
        [*serve, str(tmp_path / "run")],
        [*serve, "x", "--token-file", str(tmp_path / "token")],
    ]
    done = subprocess.run(
        [sys.executable, "-c", probe, json.dumps(lines)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    codes = [EXIT_USAGE] * 3 + [EXIT_FAILURE] * 4
    assert found == [[code, False] for code in codes], done.stderr
    for said in ("no such folder", "no exported model", "`export --run", "holds no token"):
        assert said in done.stderr


# === Options ===


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ServeSettings]]:
    """Settings that `serve` was called with, in place of serving."""
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    seen: list[ServeSettings] = []
    monkeypatch.setattr(app, "serve", seen.append)
    yield seen


def test_serve_has_the_defaults_of_its_settings(
    exported: Path, served: list[ServeSettings]
) -> None:
    assert run("serve", "--model", exported) == EXIT_OK
    assert served == [ServeSettings(exported)]


def test_every_option_of_serve_reaches_its_setting(
    exported: Path, tmp_path: Path, served: list[ServeSettings]
) -> None:
    (tmp_path / "token").write_text("  a-token\n")
    words = ["--rest-port", 1, "--grpc-port", 2, "--host", "::1", "--name", "n", "--poll-s", 9]
    words += ["--token-file", tmp_path / "token", "--weights-dir", tmp_path, "--no-analyze"]
    words += ["--max-body-mb", 3, "--max-upload-mb", 4, "--max-media-s", 5, "--workers", 6]
    words += ["--max-batch-rows", 7, "--max-queued-rows", 8, "--drain-s", 0]
    assert run("serve", "--model", exported, *words) == EXIT_OK
    limits = ServerLimits(
        max_body_bytes=3 * 2**20,
        max_upload_bytes=4 * 2**20,
        max_media_s=5,
        num_workers=6,
        max_batch_rows=7,
        max_queued_rows=8,
        drain_s=0,
    )
    assert served == [
        ServeSettings(exported, "n", "::1", 1, 2, 9, "a-token", tmp_path, limits, False)
    ]


def test_the_token_of_the_environment(
    exported: Path, served: list[ServeSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, "of-the-environment")
    assert run("serve", "--model", exported) == EXIT_OK
    assert served[0].token == "of-the-environment"
    assert TOKEN_VARIABLE not in os.environ  # processes of the server would inherit it


@pytest.mark.parametrize("token", ["", "two words", "Grüße", "a\nb"])
def test_what_is_no_token(
    exported: Path,
    served: list[ServeSettings],
    token: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(TOKEN_VARIABLE, token)
    assert run("serve", "--model", exported) == EXIT_FAILURE
    line = error_line(capsys.readouterr().err)
    assert TOKEN_VARIABLE in line and (not token or token not in line)
    assert served == []


@pytest.mark.parametrize(
    ("host", "token", "warned"),
    [("0.0.0.0", "", True), ("0.0.0.0", "t", False), ("127.0.0.1", "", False), ("::1", "", False)],
)
def test_the_network_without_a_token_is_warned_of(
    exported: Path,
    served: list[ServeSettings],
    host: str,
    token: str,
    warned: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if token:
        monkeypatch.setenv(TOKEN_VARIABLE, token)
    assert run("serve", "--model", exported, "--host", host) == EXIT_OK
    assert ("without a token" in capsys.readouterr().err) is warned


def test_the_page_behind_a_proxy(
    exported: Path, served: list[ServeSettings], capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--public-origin", "https://a.example/b/", "--public-origin", "http://c.example:81")
    assert run("serve", "--model", exported, *words) == EXIT_OK
    told = [(one.origin, one.prefix) for one in served[0].public_origins]
    assert told == [("https://a.example", "/b"), ("http://c.example:81", "")]
    assert "lets the network in without a token" in capsys.readouterr().err
    assert run("serve", "--model", exported, "--public-origin", "a.example") == EXIT_USAGE
    assert "a.example: not the address of a page; give http" in capsys.readouterr().err


# === Ports ===


@pytest.mark.parametrize("option", ["rest_port", "grpc_port"])
def test_a_port_in_use(exported: Path, option: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings: dict[str, Any] = {"rest_port": 0, "grpc_port": 0, option: port}
        with pytest.raises(UserError, match=f"--{option.replace('_', '-')} {port}: in use"):
            Server(ServeSettings(exported, analyze=False, **settings)).start()


@pytest.mark.parametrize(
    ("host", "said"),
    [("no.such.host.invalid", "no such host"), ("192.0.2.1", "no address of this machine")],
)
def test_a_host_that_is_not_here(host: str, said: str) -> None:
    with pytest.raises(UserError, match=said), sockets.listen(host, 0, "--rest-port"):
        raise AssertionError("must not be reached")


def test_a_port_that_is_not_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Refusing(socket.socket):
        def bind(self, address: Any) -> None:
            raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(sockets.socket, "socket", Refusing)
    with (
        pytest.raises(UserError, match=r"--rest-port 80: this user may not .* above 1023"),
        sockets.listen("127.0.0.1", 80, "--rest-port"),
    ):
        raise AssertionError("must not be reached")


@pytest.mark.parametrize("host", ["a..b", "a" * 70, "no.such.host.invalid"])
def test_what_is_no_host_is_one_line(
    exported: Path, host: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("serve", "--model", exported, "--host", host) == EXIT_FAILURE
    assert "no such host" in error_line(capsys.readouterr().err)
