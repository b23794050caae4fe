"""`download` against a server on this machine that behaves, and misbehaves, like a publisher's."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import shutil
import socket
import stat
import threading
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

from affectstream import cli
from affectstream.core import http_fetch
from affectstream.core.errors import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PARTIAL,
    EXIT_USAGE,
)

RECORD = "/api/records/1188976"
AUDIO = "Audio_Speech_Actors_01-24"
DATASET = "/api/datasets/:persistentId/"
CREMA = "CheyneyComputerScience/CREMA-D"
EMODB = "/download/download.zip"
COMMIT = "c0" * 20
SOUND = bytes(range(256)) * 4000


# === The server ===


class Server(http.server.ThreadingHTTPServer):
    """Answers from `bodies`; keeps (path, Range, If-Range) of each request.

    Attributes:
      statuses: path -> error codes of the next answers.
      cuts: path -> byte counts after which the next answers break off.
      has_ranges, etag: whether and how it takes ranges.
      on_request: called before each answer.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.bodies: dict[str, bytes] = {}
        self.statuses: dict[str, list[int]] = {}
        self.cuts: dict[str, list[int]] = {}
        self.has_ranges = True
        self.has_length = True
        self.etag = '"one"'
        self.requests: list[tuple[str, str | None, str | None]] = []
        self.on_request = lambda path: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def ranges_of(self, path: str) -> list[str | None]:
        return [stretch for asked, stretch, _ in self.requests if asked == path]


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        server, path = self.server, unquote(urlsplit(self.path).path)
        asked, condition = self.headers.get("Range"), self.headers.get("If-Range")
        server.requests.append((path, asked, condition))
        server.on_request(path)
        if codes := server.statuses.get(path):
            self.send_error(codes.pop(0))
            return
        body = server.bodies.get(path)
        if body is None:
            self.send_error(404)
            return
        start = 0
        if asked and server.has_ranges and condition in (None, server.etag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if server.has_length:
            self.send_header("Content-Length", str(len(body) - start))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        cuts = server.cuts.get(path)
        self.wfile.write(body[start : cuts.pop(0) if cuts else None])

    def log_message(self, *_: object) -> None:
        """Keeps the test output clean."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(http_fetch, "RETRY_WAITS_S", (0.0, 0.0))
    monkeypatch.setitem(cli.COMMANDS, "download", "Fetch a corpus.")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def zip_of(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def files_below(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def run(server: Server, name: str, out: Path, *options: object) -> int:
    words = ["download", name, "--out", out, "--mirror", server.url, *options]
    return cli.main([str(word) for word in words])


def the_error(capsys: pytest.CaptureFixture[str], start: str = "Error: ") -> str:
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith(start)]
    return line


# === RAVDESS, from Zenodo ===


def sound_name(actor: int, folder: str = "") -> str:
    return f"{folder}Actor_{actor:02d}/03-01-01-01-01-01-{actor:02d}.wav"


def offer_ravdess(server: Server, archives: dict[str, bytes]) -> None:
    files = []
    for name, body in archives.items():
        server.bodies[f"{RECORD}/files/{name}.zip/content"] = body
        digest = hashlib.md5(body, usedforsecurity=False).hexdigest()
        # Zenodo's own form, with the fields that are not used.
        links = {"self": f"https://zenodo.invalid{RECORD}/files/{name}.zip/content"}
        files.append(
            {"key": f"{name}.zip", "size": len(body), "checksum": f"md5:{digest}", "links": links}
        )
    server.bodies[RECORD] = json.dumps({"id": 1188976, "files": files}).encode()


@pytest.fixture
def ravdess(server: Server) -> Server:
    sounds = zip_of({sound_name(actor): SOUND for actor in range(1, 25)})
    video = zip_of({"Actor_02/01-01-01-01-01-01-02.mp4": b"film"})
    offer_ravdess(server, {AUDIO: sounds, "Video_Speech_Actor_02": video})
    return server


AUDIO_PATH = f"{RECORD}/files/{AUDIO}.zip/content"


def test_ravdess_whole_and_again(
    ravdess: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ravdess"
    assert run(ravdess, "ravdess", out) == EXIT_OK
    assert files_below(out) == [f"{AUDIO}/{sound_name(actor)}" for actor in range(1, 25)]
    assert (out / AUDIO / sound_name(7)).read_bytes() == SOUND
    printed = capsys.readouterr()
    assert f"ravdess in {out}: 1 fetched now, 0 there already" in printed.out
    assert f"preprocess --corpus ravdess --source {out}" in printed.out
    assert "download" in printed.err
    assert [path.name for path in out.iterdir()] == [AUDIO]
    assert run(ravdess, "ravdess", out) == EXIT_OK
    assert "0 fetched now, 1 there already" in capsys.readouterr().out
    assert len(ravdess.ranges_of(AUDIO_PATH)) == 1


def test_what_a_killed_download_left_goes(ravdess: Server, tmp_path: Path) -> None:
    half = tmp_path / AUDIO / "Actor_01.part-0123abcd"
    half.mkdir(parents=True)
    (half / "half.wav").touch()
    assert run(ravdess, "ravdess", tmp_path) == EXIT_OK
    assert [path.name for path in tmp_path.iterdir()] == [AUDIO]
    assert len(files_below(tmp_path)) == 24
    # Killed between the last folder and the end: the archive lies there still.
    work = tmp_path / ".download"
    work.mkdir()
    (work / f"{AUDIO}.zip").touch()
    assert run(ravdess, "ravdess", tmp_path) == EXIT_OK
    assert not work.exists()
    # That of another wish stays.
    work.mkdir()
    (work / "Video_Speech_Actor_02.zip").touch()
    assert run(ravdess, "ravdess", tmp_path) == EXIT_OK
    assert [path.name for path in work.iterdir()] == ["Video_Speech_Actor_02.zip"]


def test_ravdess_by_actor_then_more(ravdess: Server, tmp_path: Path) -> None:
    assert run(ravdess, "ravdess", tmp_path, "--actors", "1-2,24") == EXIT_OK
    assert files_below(tmp_path) == [f"{AUDIO}/{sound_name(actor)}" for actor in (1, 2, 24)]
    assert run(ravdess, "ravdess", tmp_path, "--actors", "2-3") == EXIT_OK
    assert files_below(tmp_path) == [f"{AUDIO}/{sound_name(actor)}" for actor in (1, 2, 3, 24)]


def test_ravdess_video_is_one_archive_an_actor(ravdess: Server, tmp_path: Path) -> None:
    assert run(ravdess, "ravdess", tmp_path, "--actors", 2, "--stream", "video") == EXIT_OK
    name = "Video_Speech_Actor_02/Actor_02/01-01-01-01-01-01-02.mp4"
    assert files_below(tmp_path) == [name]
    assert not ravdess.ranges_of(AUDIO_PATH)


def test_broken_off_midway_goes_on_from_there(ravdess: Server, tmp_path: Path) -> None:
    ravdess.cuts[AUDIO_PATH] = [300_000]
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_OK
    assert ravdess.ranges_of(AUDIO_PATH) == [None, "bytes=300000-"]
    assert ravdess.requests[-1][2] == '"one"'
    assert (tmp_path / AUDIO / sound_name(3)).read_bytes() == SOUND


def test_broken_off_each_time_keeps_what_came_for_the_next_command(
    ravdess: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ravdess.cuts[AUDIO_PATH] = [300_000, 300_010, 300_020]
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_FAILURE
    line = the_error(capsys, "failed ")
    assert f"{ravdess.url}{AUDIO_PATH}: broke off after 300020 of" in line
    assert "300020 bytes are kept and the same command goes on from there" in line
    assert not (tmp_path / AUDIO).exists()
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_OK
    assert ravdess.ranges_of(AUDIO_PATH)[-1] == "bytes=300020-"
    assert files_below(tmp_path) == [f"{AUDIO}/{sound_name(3)}"]


def test_a_file_that_changed_between_two_attempts_is_fetched_anew(
    ravdess: Server, tmp_path: Path
) -> None:
    ravdess.cuts[AUDIO_PATH] = [300_000, 300_000, 300_000]
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_FAILURE
    ravdess.etag = '"two"'
    offer_ravdess(ravdess, {AUDIO: zip_of({sound_name(3): b"new" * 200_000})})
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_OK
    assert (tmp_path / AUDIO / sound_name(3)).read_bytes() == b"new" * 200_000


def test_a_server_without_ranges_begins_anew(ravdess: Server, tmp_path: Path) -> None:
    ravdess.has_ranges = False
    ravdess.cuts[AUDIO_PATH] = [300_000]
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_OK
    assert ravdess.ranges_of(AUDIO_PATH) == [None, "bytes=300000-"]
    assert (tmp_path / AUDIO / sound_name(3)).read_bytes() == SOUND


def test_a_weak_etag_is_no_condition(ravdess: Server, tmp_path: Path) -> None:
    ravdess.etag = 'W/"one"'
    ravdess.cuts[AUDIO_PATH] = [300_000]
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_OK
    assert ravdess.requests[-1] == (AUDIO_PATH, "bytes=300000-", None)


def test_a_passing_fault_of_the_server_is_tried_again(ravdess: Server, tmp_path: Path) -> None:
    ravdess.statuses = {RECORD: [503], AUDIO_PATH: [500, 429]}
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_OK


def test_a_lasting_fault_of_the_server(
    ravdess: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ravdess.statuses[AUDIO_PATH] = [500] * 3
    assert run(ravdess, "ravdess", tmp_path) == EXIT_FAILURE
    assert "the server answered 500 Internal Server Error; try again later" in the_error(
        capsys, "failed "
    )


def test_not_found_is_not_tried_again(
    ravdess: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    del ravdess.bodies[AUDIO_PATH]
    assert run(ravdess, "ravdess", tmp_path) == EXIT_FAILURE
    printed = capsys.readouterr().err
    assert f"{ravdess.url}{AUDIO_PATH}: the server answered 404 Not Found" in printed
    assert "fetch by hand: https://zenodo.org/records/1188976" in printed
    assert len(ravdess.ranges_of(AUDIO_PATH)) == 1


@pytest.mark.parametrize("same_length", [True, False])
def test_a_wrong_file_is_not_kept(
    same_length: bool, ravdess: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = ravdess.bodies[AUDIO_PATH]
    wrong = bytes(len(good)) if same_length else b"<html>please log in</html>"
    ravdess.bodies[AUDIO_PATH] = wrong
    assert run(ravdess, "ravdess", tmp_path) == EXIT_FAILURE
    line = the_error(capsys, "failed ")
    if same_length:
        assert "wrong checksum" in line
        for data in (good, wrong):
            assert hashlib.md5(data, usedforsecurity=False).hexdigest() in line
    else:
        assert f"wrong length (26 bytes, expected {len(good)})" in line
    assert files_below(tmp_path) == []


def test_one_of_two_fails(
    ravdess: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = {
        f"Video_Speech_Actor_{actor:02d}": zip_of({f"{actor}.mp4": b"film"}) for actor in (1, 2)
    }
    offer_ravdess(ravdess, video)
    del ravdess.bodies[f"{RECORD}/files/Video_Speech_Actor_01.zip/content"]
    options = ("--actors", "1-2", "--stream", "video")
    assert run(ravdess, "ravdess", tmp_path, *options) == EXIT_PARTIAL
    assert "Video_Speech_Actor_02/2.mp4" in files_below(tmp_path)
    assert "failed Video_Speech_Actor_01.zip: " in capsys.readouterr().err


def test_interrupted_keeps_what_came(
    ravdess: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ravdess.cuts[AUDIO_PATH] = [300_000] * 3
    calls = []

    def interrupt(futures: Any) -> Any:
        calls.append(futures)
        for future in futures:
            future.exception()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("affectstream.preprocessing.download.corpus_download.as_completed", interrupt)
        assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_INTERRUPTED
    assert calls
    assert run(ravdess, "ravdess", tmp_path, "--actors", "3") == EXIT_OK
    assert ravdess.ranges_of(AUDIO_PATH)[-1] == "bytes=300000-"


def test_too_little_disk(
    ravdess: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    assert run(ravdess, "ravdess", tmp_path / "out") == EXIT_FAILURE
    line = the_error(capsys)
    assert "MB are needed and 1 MB are free" in line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"<html>", "answered no JSON"),
        (b"[]", "has no 'files'"),
        (b'{"files": []}', f"the record has no {AUDIO}.zip"),
        (b'{"files": [{"key": "%s.zip"}]}' % AUDIO.encode(), "has no 'size'"),
        (
            b'{"files": [{"key": "%s.zip", "size": 3, "checksum": "crc:1"}]}' % AUDIO.encode(),
            "'crc:1' is of no known kind",
        ),
    ],
)
def test_a_record_of_another_form(
    body: bytes,
    message: str,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.bodies[RECORD] = body
    assert run(server, "ravdess", tmp_path) == EXIT_FAILURE
    assert message in the_error(capsys)


# === Archives that are not what they should be ===


def linked_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("wav/03a01Fa.wav")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    return buffer.getvalue()


def damaged_zip() -> bytes:
    body = bytearray(zip_of({"wav/03a01Fa.wav": SOUND}))
    body[5000] ^= 1
    return bytes(body)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (zip_of({"wav/a.wav": b"1", "../../out.wav": b"2"}), "leads out of the folder"),
        (zip_of({"/tmp/affectstream-out.wav": b"2"}), "leads out of the folder"),
        (zip_of({"C:\\out.wav": b"2"}), "leads out of the folder"),
        (linked_zip(), "or a link"),
        (damaged_zip(), "not a sound zip (Bad CRC-32"),
        (b"no zip at all", "not a sound zip"),
        (zip_of({}), "holds nothing for emodb"),
    ],
)
def test_a_bad_archive_leaves_nothing(
    body: bytes,
    message: str,
    server: Server,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.bodies[EMODB] = body
    assert run(server, "emodb", tmp_path / "deep" / "out") == EXIT_FAILURE
    assert message in the_error(capsys, "failed ")
    assert files_below(tmp_path) == []


def test_emodb_says_that_there_is_no_checksum(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.bodies[EMODB] = zip_of({"wav/03a01Fa.wav": SOUND, "erkennung.txt": b"x"})
    assert run(server, "emodb", tmp_path) == EXIT_OK
    assert files_below(tmp_path) == ["emodb/erkennung.txt", "emodb/wav/03a01Fa.wav"]
    assert "the publisher states no checksum" in capsys.readouterr().out


def test_without_checksum_and_mark_nothing_is_pieced_together(
    server: Server, tmp_path: Path
) -> None:
    server.etag = ""
    server.bodies[EMODB] = zip_of({"wav/03a01Fa.wav": SOUND})
    server.cuts[EMODB] = [300_000]
    assert run(server, "emodb", tmp_path) == EXIT_OK
    assert server.ranges_of(EMODB) == [None, None]


def test_a_full_disk_at_unpacking_keeps_the_archive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.bodies[EMODB] = zip_of({"wav/03a01Fa.wav": SOUND})
    sizes = iter([10**12, 1_000_000])
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(sizes)))
        assert run(server, "emodb", tmp_path) == EXIT_FAILURE
    assert run(server, "emodb", tmp_path) == EXIT_OK
    assert len(server.ranges_of(EMODB)) == 1
    assert files_below(tmp_path) == ["emodb/wav/03a01Fa.wav"]


def test_a_proxy_is_honoured(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(urllib.request, "_opener", None)
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    server.bodies[EMODB] = zip_of({"wav/03a01Fa.wav": SOUND})
    assert cli.main(["download", "emodb", "--out", str(tmp_path)]) == EXIT_OK
    assert files_below(tmp_path) == ["emodb/wav/03a01Fa.wav"]


# === TESS, from a Dataverse ===


def dataverse_entry(number: int, name: str, body: bytes, **others: Any) -> dict[str, Any]:
    md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
    file = {"id": number, "filename": name, "filesize": len(body), "md5": md5}
    return {"label": name, "restricted": False, "dataFile": file, **others}


def offer_tess(server: Server, entries: list[dict[str, Any]]) -> None:
    answer = {"status": "OK", "data": {"id": 1, "latestVersion": {"files": entries}}}
    server.bodies[DATASET] = json.dumps(answer).encode()


def test_tess_files_and_zips_and_no_documents(server: Server, tmp_path: Path) -> None:
    archive = zip_of({"YAF_back_sad.wav": b"2"})
    with_kind = dataverse_entry(3, "YAF_sad.zip", archive)
    with_kind["dataFile"]["checksum"] = {
        "type": "SHA-256",
        "value": hashlib.sha256(archive).hexdigest(),
    }
    offer_tess(
        server,
        [
            dataverse_entry(1, "OAF_back_angry.wav", b"1", directoryLabel="OAF_angry"),
            dataverse_entry(2, "readme.pdf", b"document"),
            with_kind,
        ],
    )
    server.bodies |= {"/api/access/datafile/1": b"1", "/api/access/datafile/3": archive}
    assert run(server, "tess", tmp_path) == EXIT_OK
    assert files_below(tmp_path) == ["OAF_angry/OAF_back_angry.wav", "YAF_sad/YAF_back_sad.wav"]


@pytest.mark.parametrize("others", [{"label": "../../x.wav"}, {"directoryLabel": "/etc"}])
def test_tess_names_cannot_lead_out(
    others: dict[str, str], server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_tess(server, [dataverse_entry(1, "x.wav", b"1", **others)])
    assert run(server, "tess", tmp_path / "out") == EXIT_FAILURE
    assert "leads out of the folder" in the_error(capsys)
    assert files_below(tmp_path) == []


def test_after_many_failures_in_a_row_the_rest_is_not_tried(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    offer_tess(server, [dataverse_entry(n, f"OAF_w_{n}.wav", b"1") for n in range(300)])
    assert run(server, "tess", tmp_path) == EXIT_FAILURE
    assert "not tried after that; run the same command again" in capsys.readouterr().err
    assert len(server.requests) < 150


# === CREMA-D, from GitHub ===


def offer_crema_d(server: Server, sounds: dict[str, bytes]) -> dict[str, str]:
    """Returns name -> path of the file itself."""
    tree = []
    for name, body in sounds.items():
        oid = hashlib.sha256(body).hexdigest()
        text = f"version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize {len(body)}\n"
        data = text.encode()
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        tree.append({"path": name, "type": "blob", "sha": blob, "size": len(data)})
        server.bodies[f"/{CREMA}/{COMMIT}/AudioWAV/{name}"] = data
        server.bodies[f"/media/{CREMA}/{COMMIT}/AudioWAV/{name}"] = body
    root = [{"path": "AudioWAV", "type": "tree", "sha": "aa"}]
    api = f"/repos/{CREMA}"
    server.bodies[f"{api}/commits/master"] = json.dumps({"sha": COMMIT}).encode()
    server.bodies[f"{api}/git/trees/{COMMIT}"] = json.dumps({"tree": root}).encode()
    listing = {"tree": tree, "truncated": False}
    server.bodies[f"{api}/git/trees/aa"] = json.dumps(listing).encode()
    return {name: f"/media/{CREMA}/{COMMIT}/AudioWAV/{name}" for name in sounds}


SOUNDS = {f"{actor}_DFA_ANG_XX.wav": bytes([actor % 256]) * 900 for actor in range(1001, 1013)}


def test_crema_d_files_by_pointer(server: Server, tmp_path: Path) -> None:
    offer_crema_d(server, SOUNDS)
    assert run(server, "crema_d", tmp_path, "--actors", "1003-1012") == EXIT_OK
    wanted = {name: body for name, body in SOUNDS.items() if name >= "1003"}
    assert {p.name: p.read_bytes() for p in (tmp_path / "AudioWAV").iterdir()} == wanted
    num_requests = len(server.requests)
    assert run(server, "crema_d", tmp_path) == EXIT_OK
    assert len(server.requests) == num_requests + 3 + 2 * 2
    assert len(files_below(tmp_path)) == 12


def test_crema_d_wrong_pointer_wrong_file_and_a_pointer_as_file(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = list(offer_crema_d(server, SOUNDS).values())
    pointer = f"/{CREMA}/{COMMIT}/AudioWAV/1001_DFA_ANG_XX.wav"
    server.bodies[pointer] = server.bodies[pointer].replace(b"900", b"901")
    server.bodies[paths[1]] = b"x" * 900
    server.bodies[paths[2]] = server.bodies[f"/{CREMA}/{COMMIT}/AudioWAV/1003_DFA_ANG_XX.wav"]
    assert run(server, "crema_d", tmp_path) == EXIT_PARTIAL
    printed = capsys.readouterr().err
    assert "1001_DFA_ANG_XX.wav: a pointer with a wrong checksum" in printed
    assert "1002_DFA_ANG_XX.wav: a file with a wrong checksum (sha256" in printed
    assert "1003_DFA_ANG_XX.wav: a file of wrong length" in printed
    assert "crema-d-mirror" in printed
    assert [p.name for p in sorted((tmp_path / "AudioWAV").iterdir())] == list(SOUNDS)[3:]
    offer_crema_d(server, SOUNDS)
    assert run(server, "crema_d", tmp_path) == EXIT_OK
    assert files_below(tmp_path) == [f"AudioWAV/{name}" for name in SOUNDS]


# === What cannot be had, and wrong options ===


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("iemocap", "sail.usc.edu"),
        ("meld", "declare-lab/MELD"),
        ("savee", "kahlan.eps.surrey.ac.uk"),
        ("fer2013", "kaggle.com"),
        ("sample", "cli.py synthesize"),
    ],
)
def test_where_to_ask(
    name: str, place: str, server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(server, name, tmp_path) == EXIT_FAILURE
    assert place in the_error(capsys)
    assert not server.requests


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("ravdess", "--actors", "25"), EXIT_FAILURE),
        (("emodb", "--actors", "1"), EXIT_FAILURE),
        (("tess", "--stream", "video"), EXIT_FAILURE),
        (("ravdess", "--actors", "3-1"), EXIT_USAGE),
        (("ravdess", "--actors", "all"), EXIT_USAGE),
        (("ravdess", "--mirror", "ftp://x"), EXIT_USAGE),
        (("nonsense",), EXIT_USAGE),
    ],
)
def test_wrong_options(words: tuple[str, ...], code: int, server: Server, tmp_path: Path) -> None:
    name, *options = words
    assert run(server, name, tmp_path, *options) == code
    assert not server.requests


def test_no_network(server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    assert run(server, "ravdess", tmp_path, "--mirror", url) == EXIT_FAILURE
    assert "not reachable" in the_error(capsys)
    assert not files_below(tmp_path)


def test_out_that_cannot_be_made(
    ravdess: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert run(ravdess, "ravdess", tmp_path / "file" / "out") == EXIT_FAILURE
    assert "a file stands where a folder is needed" in the_error(capsys)
