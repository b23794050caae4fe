"""Weights of the detectors: found, fetched once, checked, and what is said when that fails."""

from __future__ import annotations

import base64
import hashlib
import http.server
import logging
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from affectstream.core.atomic_io import TEMPORARY_MARK
from affectstream.core.checksum import Checksum
from affectstream.core.errors import UserError
from affectstream.opencv_model import weights
from affectstream.opencv_model.weights import (
    CACHE_VARIABLE,
    WEIGHT_FILES,
    WEIGHT_SETS,
    WeightFile,
    cache_folder,
    fetch,
    find_local_weights,
    find_weights,
)

YUNET = "face_detection_yunet_2026may.onnx"
PAYLOAD = bytes(range(256)) * 700


def sha256_of(data: bytes) -> Checksum:
    return Checksum("sha256", hashlib.sha256(data).hexdigest(), "the test")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv(CACHE_VARIABLE, str(folder))
    return folder


@pytest.fixture
def known_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    """`PAYLOAD` is what the publisher of YuNet states."""
    file = WeightFile(YUNET, "https://publisher.invalid/" + YUNET, sha256_of(PAYLOAD))
    monkeypatch.setitem(WEIGHT_FILES, YUNET, file)


# === A server on this machine ===


class Server(http.server.ThreadingHTTPServer):
    """Answers `/name` from `bodies`; `/cut/name` breaks off midway; counts requests."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies = {YUNET: PAYLOAD}
        self.goog_md5: bytes | None = None
        self.num_requests = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.num_requests += 1
        body = self.server.bodies.get(self.path.rsplit("/", 1)[1])
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        if self.server.goog_md5 is not None:
            self.send_header("x-goog-hash", "crc32c=AAAAAA==")
            digest = base64.b64encode(self.server.goog_md5).decode()
            self.send_header("x-goog-hash", f"md5={digest}")
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if "/cut/" in self.path else body)

    def log_message(self, *_: object) -> None:
        """Keeps the test output clean."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def closed_port_url() -> str:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{sock.getsockname()[1]}"


def one_line(error: BaseException) -> str:
    text = str(error)
    assert "\n" not in text
    return text


# === Table ===


def test_every_file_to_fetch_has_a_pinned_https_url_and_a_stated_checksum() -> None:
    digits = {"sha256": 64, "sha1": 40, "git-blob": 40, "md5": 32}
    for name, file in WEIGHT_FILES.items():
        assert name == file.name == file.url.rsplit("/", 1)[1]
        assert file.url.startswith("https://")
        assert not re.search(r"/(main|master|latest)/", file.url)
        assert re.fullmatch(f"[0-9a-f]{{{digits[file.checksum.kind]}}}", file.checksum.value)
        assert file.checksum.source
    for forms in WEIGHT_SETS.values():
        assert all(name in WEIGHT_FILES for form in forms for name in form.download_names)
        for names, patterns in zip(forms[0].download_names, forms[0].patterns, strict=True):
            assert any(Path(names).match(pattern) for pattern in patterns)


@pytest.mark.real
@pytest.mark.parametrize("name", ["yunet", "blazeface", "resnet_ssd"])
def test_real_files_have_the_stated_checksums(name: str, real_models: Path) -> None:
    paths = find_local_weights(name, real_models / "face")
    assert paths is not None
    for path in paths:
        assert WEIGHT_FILES[path.name].checksum.of(path) == WEIGHT_FILES[path.name].checksum.value


def test_checksums_of_known_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"hello\n")
    git_blob = "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object of "hello\n"
    assert Checksum("git-blob", "", "").of(path) == git_blob
    assert Checksum("sha1", "", "").of(path) == hashlib.sha1(b"hello\n").hexdigest()
    assert Checksum("md5", "", "").of(path) == "b1946ac92492d2347c6235b4d2611184"
    for same_text in (b"hello", b"hello\r\n"):
        path.write_bytes(same_text)
        assert Checksum("git-blob", "", "").of(path) == git_blob
    path.write_bytes(b"hallo\n")
    assert Checksum("git-blob", "", "").of(path) != git_blob


def test_cache_is_the_users_unless_the_environment_says_otherwise(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cache_folder() == cache
    monkeypatch.delenv(CACHE_VARIABLE)
    assert "affectstream" in str(cache_folder())


# === What is here already ===


def test_users_folder_comes_before_the_cache_and_known_names_before_others(
    tmp_path: Path, cache: Path, known_payload: None
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    cache.mkdir()
    assert find_local_weights("yunet", given) is None
    (cache / YUNET).write_bytes(PAYLOAD)
    assert find_local_weights("yunet", given) == (cache / YUNET,)
    (given / "face_detection_yunet_1999jan.onnx").write_bytes(b"the user's own")
    assert find_local_weights("yunet", given) == (given / "face_detection_yunet_1999jan.onnx",)
    (given / YUNET).write_bytes(PAYLOAD)
    assert find_local_weights("yunet", given) == (given / YUNET,)


def test_a_download_that_is_still_running_is_no_weights(tmp_path: Path, cache: Path) -> None:
    (tmp_path / f"face_detection_yunet_2026may{TEMPORARY_MARK}0a1b.onnx").write_bytes(b"half")
    assert find_local_weights("yunet", tmp_path) is None


@pytest.mark.parametrize("is_given", [True, False])
def test_wrong_file_here_names_file_checksums_and_remedy(
    tmp_path: Path, cache: Path, is_given: bool, known_payload: None
) -> None:
    folder = tmp_path / "given" if is_given else cache
    folder.mkdir()
    (folder / YUNET).write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(UserError) as caught:
        find_weights("yunet", folder if is_given else None)
    text = one_line(caught.value)
    assert str(folder / YUNET) in text
    assert sha256_of(PAYLOAD).value in text
    assert sha256_of(b"version https://git-lfs.github.com/spec/v1\n").value in text
    assert ("replace it with https://publisher" in text) == is_given
    assert ("delete it and run again" in text) != is_given


def test_text_graph_of_another_release_is_taken_from_the_user_only(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pb = "opencv_face_detector_uint8.pb"
    monkeypatch.setitem(
        WEIGHT_FILES, pb, WeightFile(pb, "https://x.invalid/" + pb, sha256_of(b"net"))
    )
    given = tmp_path / "given"
    for folder in (given, cache):
        folder.mkdir()
        (folder / pb).write_bytes(b"net")
        (folder / "opencv_face_detector.pbtxt").write_bytes(b"node {}\n")
    assert find_local_weights("resnet_ssd", given) is not None
    with pytest.raises(UserError, match="pbtxt: weights with a wrong checksum"):
        find_local_weights("resnet_ssd")


def test_absent_folder_and_forbidden_download_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        find_weights("yunet", tmp_path / "nowhere")
    with pytest.raises(UserError) as caught:
        find_weights("resnet_ssd", tmp_path, download=False)
    text = one_line(caught.value)
    for name in ("opencv_face_detector_uint8.pb", "opencv_face_detector.pbtxt"):
        assert WEIGHT_FILES[name].url in text
    assert str(tmp_path) in text


# === Download ===


def test_fetched_once_and_said(
    server: Server, cache: Path, known_payload: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "affectstream")
    (path,) = find_weights("yunet", base_url=server.url)
    assert path == cache / YUNET
    assert path.read_bytes() == PAYLOAD
    assert f"fetching {server.url}/{YUNET}" in caplog.text
    assert find_weights("yunet", base_url=server.url) == (path,)
    assert find_weights("yunet", download=False) == (path,)
    assert server.num_requests == 1
    assert [entry.name for entry in cache.iterdir()] == [YUNET]


def test_a_second_file_that_fails_keeps_the_first_and_goes_on_from_there(
    server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pb, graph = WEIGHT_SETS["resnet_ssd"][0].download_names
    for name in (pb, graph):
        file = WeightFile(name, "https://x.invalid/" + name, sha256_of(PAYLOAD))
        monkeypatch.setitem(WEIGHT_FILES, name, file)
    server.bodies = {pb: PAYLOAD}
    with pytest.raises(UserError, match="404"):
        find_weights("resnet_ssd", base_url=server.url)
    assert [entry.name for entry in cache.iterdir()] == [pb]
    server.bodies = {graph: PAYLOAD}
    assert find_weights("resnet_ssd", base_url=server.url) == (cache / pb, cache / graph)


def failing(url: str, cache: Path) -> str:
    with pytest.raises(UserError) as caught:
        find_weights("yunet", base_url=url)
    assert not list(cache.glob("*")), "something was left behind"
    text = one_line(caught.value)
    assert f"{url}/{YUNET}" in text
    assert "--weights-dir" in text
    return text


def test_broken_off_midway(server: Server, cache: Path, known_payload: None) -> None:
    text = failing(server.url + "/cut", cache)
    assert f"broke off after {len(PAYLOAD) // 2} of {len(PAYLOAD)} bytes" in text


def test_an_answer_404_is_named(server: Server, cache: Path, known_payload: None) -> None:
    server.bodies = {}
    assert "answered 404" in failing(server.url, cache)


def test_wrong_file_from_the_server(server: Server, cache: Path, known_payload: None) -> None:
    server.bodies = {YUNET: b"<html>please log in</html>"}
    text = failing(server.url, cache)
    assert "wrong checksum" in text
    assert sha256_of(PAYLOAD).value in text
    assert sha256_of(server.bodies[YUNET]).value in text


def test_weights_that_cannot_be_fetched_say_so(cache: Path, known_payload: None) -> None:
    assert "not reachable" in failing(closed_port_url(), cache)


def test_silent_server_is_given_up(tmp_path: Path) -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        with pytest.raises(UserError, match=r"/x: not reachable \(timed out\); .*--weights-dir"):
            fetch(url, tmp_path / "x", sha256_of(b""), timeout_s=0.2)
    assert not list(tmp_path.glob("x*"))


def test_md5_that_google_states_is_compared(server: Server, tmp_path: Path) -> None:
    url, path = f"{server.url}/{YUNET}", tmp_path / "file"
    server.goog_md5 = hashlib.md5(b"something else").digest()
    with pytest.raises(UserError, match="another MD5"):
        fetch(url, path, sha256_of(PAYLOAD))
    assert not path.exists()
    server.goog_md5 = hashlib.md5(PAYLOAD).digest()
    fetch(url, path, sha256_of(PAYLOAD))
    assert path.read_bytes() == PAYLOAD


def test_cache_that_cannot_be_made(
    server: Server, tmp_path: Path, known_payload: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "file" / "cache"))
    with pytest.raises(UserError) as caught:
        find_weights("yunet", base_url=server.url)
    assert "file" in one_line(caught.value)


def test_nothing_is_asked_of_the_network_where_files_are_present(
    tmp_path: Path, known_payload: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(weights, "fetch", lambda *_: pytest.fail("went online"))
    (tmp_path / YUNET).write_bytes(PAYLOAD)
    assert find_weights("yunet", tmp_path) == (tmp_path / YUNET,)
    assert find_local_weights("blazeface", tmp_path) is None
