"""`POST /v1/analyze` over a real socket: what comes back, what is refused, what is left behind."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import http.client
import io
import json
import os
import select
import signal
import socket
import stat
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import uvicorn
from starlette.applications import Starlette

from affectstream.server.analysis import analyze_api, uploads
from affectstream.server.analysis.analysis_pool import AnalysisPool
from affectstream.server.analysis.upload_slots import MAX_RECEIVING
from affectstream.server.analysis.uploads import display_name
from affectstream.server.limits import MIB, ServerLimits
from affectstream.server.security import SecurityMiddleware
from affectstream.serving.inference.predict_options import PredictOptions
from affectstream.serving.inference.recognizer import Recognizer
from tests.preprocessing.media.test_completeness import noise, spoiled
from tests.server.analysis.test_analysis_pool import CONFIG, forward, held, seconds_until
from tests.support.factories import tone, write_media, write_sound
from tests.support.odd_recognizers import FAULTY_RECOGNIZER

pytestmark = pytest.mark.server

LIMITS = ServerLimits(
    max_upload_bytes=MIB, num_workers=1, max_waiting_uploads=1, max_analysis_s=20, drain_s=1
)
BORDER = "------------------------border"
STREAM = {"Accept": "application/x-ndjson"}


@contextlib.contextmanager
def serving(pool: AnalysisPool, limits: ServerLimits) -> Iterator[int]:
    """The route alone behind the guard, on a port of its own."""
    app = SecurityMiddleware(Starlette(routes=analyze_api.routes(lambda: pool, limits)), limits)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="error", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        seconds_until(lambda: server.started)
        yield int(listener.getsockname()[1])
        server.should_exit = True
        thread.join(10)
    pool.close()


@pytest.fixture(scope="module")
def uploads_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where uploads go during these tests."""
    folder = tmp_path_factory.mktemp("uploads")
    before, tempfile.tempdir = tempfile.tempdir, str(folder)
    yield folder
    tempfile.tempdir = before


@pytest.fixture(scope="module")
def port(uploads_folder: Path) -> Iterator[int]:
    with serving(
        AnalysisPool({}, held({}), None, LIMITS, factory=FAULTY_RECOGNIZER), LIMITS
    ) as port:
        yield port


@pytest.fixture(autouse=True)
def nothing_is_left(uploads_folder: Path) -> Iterator[None]:
    yield
    seconds_until(lambda: not list(uploads_folder.iterdir()), 5)


def post(
    port: int, body: Any, query: str = "", headers: dict[str, str] | None = None
) -> tuple[int, Any, http.client.HTTPResponse]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        chunked = not isinstance(body, bytes)
        told = {"Content-Type": "application/octet-stream", **(headers or {})}
        connection.request("POST", f"/v1/analyze{query}", body, told, encode_chunked=chunked)
        response = connection.getresponse()
        data = response.read()
    finally:
        connection.close()
    if response.headers["content-type"] == "application/x-ndjson":
        return response.status, [json.loads(line) for line in data.splitlines()], response
    return response.status, json.loads(data), response


def form(*parts: tuple[str, str | None, bytes], end: bytes = b"--\r\n") -> bytes:
    """A multipart body of (name, file name, value)."""
    pieces = []
    for name, file_name, value in parts:
        told = f'; filename="{file_name}"' if file_name is not None else ""
        head = f'--{BORDER}\r\nContent-Disposition: form-data; name="{name}"{told}\r\n\r\n'
        pieces.append(head.encode() + value + b"\r\n")
    return b"".join(pieces) + f"--{BORDER}".encode() + end


FORM = {"Content-Type": f"multipart/form-data; boundary={BORDER}"}


# === What comes back ===


@pytest.mark.parametrize(
    "headers", [{}, {"Content-Type": "application/x-www-form-urlencoded"}, {"Content-Type": "x"}]
)
def test_the_body_is_the_recording(headers: dict[str, str], port: int) -> None:
    status, answer, _ = post(port, b"answer " + bytes(999), "?name=a%20b.mp4&face=all", headers)
    assert status == 200
    assert answer["path"] == "a b.mp4"
    assert answer["num_bytes"] == 1006
    assert answer["options"] == {"face": "all", "window_s": None, "hop_s": None, "text": None}


def test_the_file_is_private_and_gone_afterwards(port: int) -> None:
    _, answer, _ = post(port, b"answer", "?name=" + quote("../../etc/passwd"))
    assert answer["path"] == "passwd"
    assert Path(answer["at"]).name == "upload"
    assert answer["modes"] == [0o600, 0o700]
    assert not Path(answer["at"]).parent.exists()


def test_a_form_in_pieces(port: int) -> None:
    value = b"answer \r\n--" + BORDER.encode()[:-1] + bytes(range(256)) * 40
    body = form(
        ("text", None, "grüße".encode()),
        ("file", r"C:\videos\clip.mp4", value),
        ("window_s", None, b"2"),
    )
    pieces = (body[first : first + 7] for first in range(0, len(body), 7))
    for sent in (body, pieces):
        status, answer, _ = post(port, sent, headers=FORM)
        assert status == 200
        assert answer["path"] == "clip.mp4"
        assert answer["num_bytes"] == len(value)
        assert answer["options"]["text"] == "grüße"
        assert answer["options"]["window_s"] == 2


@pytest.mark.parametrize("headers", [{}, STREAM])
def test_words_alone_are_analysed(headers: dict[str, str], port: int) -> None:
    body = form(("text", None, "grüße".encode()), ("face", None, b"all"))
    status, answer, _ = post(port, body, headers=FORM | headers)
    assert status == 200
    expected = {"path": "text", "words": "grüße"}
    assert answer == ([{"event": "result", "result": expected}] if headers else expected)


@pytest.mark.parametrize("file_name", ["", None])
def test_words_beside_a_file_that_was_not_chosen(file_name: str | None, port: int) -> None:
    parts = (("file", file_name, b""), ("text", None, b"a"))
    for ordered in (parts, parts[::-1]):
        status, answer, _ = post(port, form(*ordered), headers=FORM)
        assert (status, answer) == (200, {"path": "text", "words": "a"})


def test_words_alone_for_a_model_without_words(port: int) -> None:
    status, answer, _ = post(port, form(("text", None, b"none")), headers=FORM)
    assert status == 422
    assert answer == {"error": "text: words, and the model knows audio only; use another"}


def test_an_error_is_told_with_its_status(port: int) -> None:
    for headers in ({}, STREAM):
        status, answer, _ = post(port, b"refuse", "?name=x.wav", headers)
        assert (status, answer) == (422, {"error": "x.wav: no sound in it; use another"})


def test_an_error_within_a_stream_is_its_last_event(port: int) -> None:
    status, events, response = post(port, b"open 3 refuse", "?name=x.wav", STREAM)
    assert status == 200
    assert [event["event"] for event in events] == ["start", "error"]
    assert events[-1]["status"] == 422
    assert events[-1]["error"] == "x.wav: no sound in it; use another"
    assert response.headers["cache-control"] == "no-store"


def test_a_crash_is_an_answer(port: int) -> None:
    status, answer, _ = post(port, f"signal {int(signal.SIGSEGV)}".encode())
    assert (status, list(answer)) == (422, ["error"])
    assert answer["error"].startswith("recording: its decoder crashed")
    assert post(port, b"answer")[0] == 200


# === What is refused ===


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("?fase=all", "'fase': unknown option"),
        ("?face=both", "face='both'"),
        ("?window_s=3&hop_s=9", "hop_s=9 must not be above"),
        ("?window_s=1_0", "window_s='1_0': a number"),
        ("?window_s=nan", "window_s='nan': a number"),
        ("?window_s=%D9%A3", "window_s='\u0663': a number"),
        ("?hop_s=%EF%BC%91", "hop_s='\uff11': a number"),
        ("?face=all&face=all", "option 'face' is there twice"),
        ("?path=/etc/passwd", "'path': unknown option"),
    ],
)
def test_wrong_options_are_refused(query: str, said: str, port: int) -> None:
    status, answer, _ = post(port, b"answer", query)
    assert status == 400
    assert said in answer["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (form(("face", None, b"all")), "no field 'file' in the form"),
        (form(("text", None, b"")), "text: no words in it"),
        (form(("text", None, b" \r\n\t")), "text: no words in it"),
        (form(("file", "x", b"")), "the recording is empty"),
        (form(("file", "", b"")), "the recording is empty"),
        (form(("file", "x", b""), ("text", None, b"a")), "the recording is empty"),
        (form(("file", "x", b"answer"), ("file", "y", b"answer")), "'file' is there twice"),
        (form(("file", "x", b"answer"), end=b""), "the form ends in the middle"),
        (form(("text", None, b"\xff"), ("file", "x", b"answer")), "field 'text': not UTF-8"),
        (form(("text", None, bytes(70_000)), ("file", "x", b"a")), "is longer than 65536 bytes"),
        (form(*[(f"f{n}", None, b"") for n in range(17)]), "more than 16 fields"),
        (form(("speed", None, b"2"), ("file", "x", b"answer")), "'speed': unknown option"),
        (b"no form", "no multipart/form-data"),
        (b"", "no field 'file'|ends in the middle"),
    ],
)
def test_wrong_forms_are_refused(body: bytes, said: str, port: int) -> None:
    status, answer, _ = post(port, body, headers=FORM)
    assert status == 400
    assert any(words in answer["error"] for words in said.split("|"))


def test_a_form_without_its_border(port: int) -> None:
    status, answer, _ = post(port, b"x", headers={"Content-Type": "multipart/form-data"})
    assert (status, "boundary" in answer["error"]) == (400, True)


def test_an_empty_body(port: int) -> None:
    status, answer, _ = post(port, b"")
    assert status == 400
    assert "the recording is empty" in answer["error"]


def test_json_is_no_recording(port: int) -> None:
    status, answer, _ = post(port, b"{}", headers={"Content-Type": "application/json"})
    assert status == 415
    assert "send the recording itself" in answer["error"]


@pytest.mark.parametrize("how", ["told", "chunked", "form", "form in pieces"])
def test_an_upload_that_is_too_large_is_refused(how: str, port: int) -> None:
    data = b"answer " + bytes(MIB)
    body = form(("file", "x", data)) if how.startswith("form") else data
    headers = FORM if how.startswith("form") else {}
    sent: Any = body
    if how in ("chunked", "form in pieces"):
        sent = (body[first : first + 65_536] for first in range(0, len(body), 65_536))
    status, answer, _ = post(port, sent, headers=headers)
    assert status == 413
    assert answer["error"].startswith("the recording is larger than 1048576 bytes")


def test_a_full_disk(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def full(path: Any, *how: Any, **more: Any) -> int:
        if Path(str(path)).name == "upload":
            return opened("/dev/full", os.O_WRONLY)
        return opened(path, *how, **more)

    monkeypatch.setattr(uploads.os, "open", full)
    for size in (10, 100_000):  # written at the end, and at once
        status, answer, _ = post(port, b"answer" + bytes(size))
        assert (status, answer) == (507, {"error": "the server's disk is full; come again later"})


@pytest.mark.parametrize("num_bytes", [None, 2 * MIB])
def test_a_refusal_after_leave_to_send_is_read(port: int, num_bytes: int | None) -> None:
    """With `Expect` the client writes on, as curl does, and only then reads."""
    data = b"x" * (8 * MIB)
    length = b"Transfer-Encoding: chunked" if num_bytes is None else b"Content-Length: %d"
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        if num_bytes is not None:  # a form's borders are allowed for, so it is found on the way
            data = data[:num_bytes]
            length %= num_bytes
        client.sendall(head + length + b"\r\n\r\n")
        assert client.recv(65_536).startswith(b"HTTP/1.1 100 ")
        frame = b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)
        client.sendall(frame if num_bytes is None else data)
        answer = b""
        while piece := client.recv(65_536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2].strip(b"0123456789abcdef\r\n"))["error"]


def test_an_unwritable_folder(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: Any, **__: Any) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", "/secret")

    monkeypatch.setattr(uploads.tempfile, "mkdtemp", refused)
    status, answer, _ = post(port, b"answer")
    assert status == 500
    assert "secret" not in answer["error"]


# === Clients that wait, and that go away ===


def start(port: int, words: bytes, headers: bytes = b"") -> socket.socket:
    """Sends a request and does not wait for its answer."""
    client = socket.create_connection(("127.0.0.1", port))
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n" + headers
    client.sendall(head + b"Content-Length: %d\r\n\r\n" % len(words) + words)
    return client


def test_slow_uploads_close_nothing(port: int, uploads_folder: Path) -> None:
    head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
    with contextlib.ExitStack() as slow:
        for _ in range(MAX_RECEIVING - 1):
            client = slow.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(head + b"answer")
        seconds_until(lambda: len(list(uploads_folder.iterdir())) == MAX_RECEIVING - 1)
        assert post(port, b"answer")[0] == 200
        client = slow.enter_context(socket.create_connection(("127.0.0.1", port)))
        client.sendall(head + b"answer")
        seconds_until(lambda: len(list(uploads_folder.iterdir())) == MAX_RECEIVING)
        time.sleep(0.3)
        status, answer, _ = post(port, b"answer")
        assert (status, answer["error"][:12]) == (429, "8 recordings")


def test_an_upload_has_its_time(uploads_folder: Path) -> None:
    limits = dataclasses.replace(LIMITS, max_analysis_s=1.0)

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            time.sleep(0.05)
            yield b"answer" * 4096

    with serving(
        AnalysisPool({}, held({}), None, limits, factory=FAULTY_RECOGNIZER), limits
    ) as port:
        began_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\n")
            client.sendall(b"Content-Length: 1000000\r\n\r\n")
            received = threading.Thread(target=_trickle, args=(client, pieces()))
            received.start()
            head = client.recv(12)
            assert 0.9 < time.monotonic() - began_s < 4
            assert head == b"HTTP/1.1 408"
            assert b"did not arrive within 1 s" in _rest(client)
        received.join()


def _trickle(client: socket.socket, pieces: Iterator[bytes]) -> None:
    with contextlib.suppress(OSError):
        for piece in pieces:
            client.sendall(piece)


def _rest(client: socket.socket) -> bytes:
    data = b""
    with contextlib.suppress(OSError):
        while piece := client.recv(65_536):
            data += piece
    return data


def test_no_more_than_may_wait(port: int, uploads_folder: Path) -> None:
    with start(port, b"hang"), start(port, b"hang"):
        seconds_until(lambda: len(list(uploads_folder.iterdir())) == 2)
        time.sleep(0.3)  # both have arrived
        status, answer, response = post(port, b"answer")
        assert status == 429
        assert "2 recordings are under way" in answer["error"]
        assert int(response.headers["retry-after"]) >= 1
    assert eventually(port)["path"] == "recording"


def eventually(port: int) -> dict[str, Any]:
    """The answer, once places are free again."""
    ends_s = time.monotonic() + 10
    while True:
        status, answer, _ = post(port, b"answer")
        if status != 429:
            assert status == 200
            return dict(answer)
        assert time.monotonic() < ends_s
        time.sleep(0.1)


@pytest.mark.parametrize("headers", [b"", b"Accept: application/x-ndjson\r\n"])
def test_a_client_that_goes_away_frees_its_worker(
    headers: bytes, port: int, uploads_folder: Path
) -> None:
    before = eventually(port)["process"]
    client = start(port, b"open 3 hang", headers)
    seconds_until(lambda: bool(list(uploads_folder.iterdir())))
    if headers:
        assert b"200 OK" in client.recv(100)
    else:
        time.sleep(0.3)
    client.close()
    seconds_until(lambda: not Path(f"/proc/{before}").exists(), 5)
    assert eventually(port)["process"] != before


def test_a_client_that_goes_away_in_the_upload(port: int, uploads_folder: Path) -> None:
    with socket.create_connection(("127.0.0.1", port)) as client:
        head = b"POST /v1/analyze HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"
        client.sendall(head + b"answer")
        seconds_until(lambda: bool(list(uploads_folder.iterdir())))
    seconds_until(lambda: not list(uploads_folder.iterdir()), 5)
    assert post(port, b"answer")[0] == 200


# === The real recognizer ===


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4 s of a tone, as a phone sends it."""
    path = tmp_path_factory.mktemp("sound") / "x.m4a"
    return write_media(path, waveform=tone(4.0, 48_000))


def test_a_stream_ends_with_what_json_gives(uploads_folder: Path, sound: Path) -> None:
    limits = ServerLimits(num_workers=1)
    with serving(AnalysisPool(CONFIG, held(CONFIG), None, limits), limits) as port:
        body = sound.read_bytes()
        status, whole, _ = post(port, body, "?name=x.m4a&window_s=1&hop_s=0.5")
        assert status == 200
        expected = Recognizer(forward, CONFIG)(
            sound, PredictOptions(window_s=1.0, hop_s=0.5)
        ).as_json()
        assert whole == {**expected, "path": "x.m4a"}
        _, events, _ = post(port, body, "?name=x.m4a&window_s=1&hop_s=0.5", STREAM)
    assert events[0]["event"] == "start"
    assert events[-1] == {"event": "result", "result": whole}
    assert sum(event["event"] == "window" for event in events) == len(whole["windows"]) == 7
    columns = [e["spectrogram"]["columns"] for e in events if e["event"] == "sound"]
    assert sum(columns) == pytest.approx(100, abs=1)


def test_damage_is_told_as_predict_tells_it(uploads_folder: Path, tmp_path: Path) -> None:
    path = write_media(tmp_path / "x.flac", waveform=noise(10.0, 48_000), audio_codec="flac")
    body = spoiled(path, 0.3, 0.7).read_bytes()
    limits = ServerLimits(num_workers=1)
    with serving(AnalysisPool(CONFIG, held(CONFIG), None, limits), limits) as port:
        status, answer, _ = post(port, body, "?name=x.flac")
    assert status == 200
    (told,) = [line for line in answer["warnings"] if "decoded" in line]
    figure, _, rest = told.partition(" of ")
    assert float(figure) == pytest.approx(6.0, abs=0.2)
    assert rest == "10.0 s of sound could be decoded"
    assert answer["warnings"] == Recognizer(forward, CONFIG)(path).as_json()["warnings"]


def tar_with_link(target: Path) -> bytes:
    """An archive whose one member is a symbolic link to a file outside."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        member = tarfile.TarInfo("clip.wav")
        member.type, member.linkname = tarfile.SYMTYPE, str(target)
        archive.addfile(member)
    return made.getvalue()


def zip_with_link(target: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        member = zipfile.ZipInfo("clip.wav")
        member.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(member, str(target))
    return made.getvalue()


def zipped(path: Path) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.write(path, "clip.wav")
    return made.getvalue()


def references(other: Path, port: int) -> dict[str, bytes]:
    """Uploads that ask for another file, or for a host."""
    segments = "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{}\n#EXT-X-ENDLIST\n"
    listed = "ffconcat version 1.0\nfile '{}'\n"
    session = (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        f"a=control:rtsp://127.0.0.1:{port}/x\nm=audio {port} RTP/AVP 0\n"
    )
    host = f"http://127.0.0.1:{port}/x.wav"
    texts = {
        "list.m3u8": segments.format(other),
        "host.m3u8": segments.format(host),
        "list.ffconcat": listed.format(other),
        "host.ffconcat": listed.format(host),
        "session.sdp": session,
        "name.txt": f"concat:{other}",
        "host.txt": host,
    }
    archives = {
        "link.tar": tar_with_link(other),
        "link.zip": zip_with_link(other),
        "file.zip": zipped(other),
    }
    return {name: text.encode() for name, text in texts.items()} | archives


def test_nothing_but_the_upload_is_opened(uploads_folder: Path, tmp_path: Path) -> None:
    other = write_sound(tmp_path / "other.wav", tone(2.0), 16_000)
    limits = ServerLimits(num_workers=1)
    with (
        socket.create_server(("127.0.0.1", 0)) as called,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as spoken_to,
        serving(AnalysisPool(CONFIG, held(CONFIG), None, limits), limits) as port,
    ):
        spoken_to.bind(called.getsockname())
        uploads_made = references(other, called.getsockname()[1])
        os.utime(other, ns=(0, other.stat().st_mtime_ns))
        for name, body in uploads_made.items():
            status, answer, _ = post(port, body, f"?name={name}")
            assert (name, status) == (name, 422)
            assert answer["error"].startswith(name)
            assert str(tmp_path) not in answer["error"]
        assert select.select([called, spoken_to], [], [], 0)[0] == [], "somebody was asked"
        assert other.stat().st_atime_ns == 0, "it was read"
        # What was asked for is a recording: had it been opened, there would be an answer.
        assert post(port, other.read_bytes(), "?name=other.wav")[0] == 200


@pytest.mark.real
@pytest.mark.parametrize(
    "clip", ["pyfeat_single_face.mp4", "01-01-08-02-01-01-19.mp4", "pyfeat_no_face.mp4"]
)
def test_a_real_clip_as_predict_answers(
    clip: str, real_data: Path, real_models: Path, uploads_folder: Path
) -> None:
    """`predict --json` writes what the recognizer answers in one process."""
    recording, weights = real_data / "clips" / clip, real_models / "face"
    config = {**CONFIG, "preparation": {**CONFIG["preparation"], "detector": "auto"}}
    expected = Recognizer(forward, config, weights)(recording).as_json()
    limits = ServerLimits()
    with serving(AnalysisPool(config, held(config), weights, limits), limits) as port:
        status, answer, _ = post(port, recording.read_bytes(), f"?name={clip}")
    assert status == 200
    assert answer == {**expected, "path": clip}


# === Names ===


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("clip.mp4", "clip.mp4"),
        ("/etc/passwd", "passwd"),
        ("..\\..\\a.wav", "a.wav"),
        ("a\x00\r\n\x1b[31mb.wav", "a[31mb.wav"),
        ("gpj.\u202efdp.exe", "gpj.fdp.exe"),
        ("é" * 200, "é" * 120),
        ("", "recording"),
        ("///", "recording"),
        (" .. ", ".."),
    ],
)
def test_names_are_for_showing_only(told: str, shown: str) -> None:
    assert display_name(told) == shown
