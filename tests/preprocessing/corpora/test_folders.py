"""What lies in a folder: every ending that is read, links, loops, and nothing in silence."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.format import ContainerFormat

from affectstream.commands import predict
from affectstream.commands.jobs import prediction_outputs
from affectstream.core import atomic_io, lfs_pointer
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_PARTIAL, UserError
from affectstream.preprocessing.corpora.csv_table import split_lines
from affectstream.preprocessing.corpora.media_files import list_folder
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.file_kinds import (
    IMAGE_SUFFIXES,
    MEDIA_SUFFIXES,
    format_suffix_counts,
    media_type,
)
from affectstream.preprocessing.media.containers import FORMATS
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.serving.inference.prediction import Prediction
from tests.support.factories import numbered_image, preprocess, tone, write_media, write_sound
from tests.support.models import run

POINTER = f"version https://git-lfs.github.com/spec/v1\noid sha256:{'0' * 64}\nsize 123456\n"
NAME = "03-01-05-01-01-01-{:02d}"
NONE = ("--detector", "none")

# === Endings ===


def test_one_list_says_what_a_file_holds() -> None:
    kinds = {
        "audio": "a.mka a.oga a.M4B a.caf a.au a.w64 a.opus a.amr a.aiff a.ape a.tta a.wma",
        "video": "a.3gp a.ts a.MTS a.m2ts a.mpeg a.mpg a.wmv a.asf a.gif a.vob a.ogv a.f4v a.mxf",
        "image": "a.png a.JPG a.jpeg a.webp a.bmp a.tif a.tiff",
        "text": "a.txt a.TXT",
        "": "a.docx a.csv a Thumbs.db a.wav.bak",
    }
    for kind, names in kinds.items():
        assert {name: media_type(Path(name)) for name in names.split()} == dict.fromkeys(
            names.split(), kind
        )


def test_the_list_covers_the_demuxers_that_are_opened() -> None:
    unlisted = set[str]()
    for name in FORMATS:
        try:
            endings = {f".{ending}" for ending in ContainerFormat(name, "r").extensions}
        except ValueError:  # another build of FFmpeg
            continue
        unlisted |= endings - MEDIA_SUFFIXES - IMAGE_SUFFIXES
    # Of subtitles, rare cameras, streaming servers, and Apple's pictures in tiles.
    known = {".apl", ".mac", ".m2a", ".mks", ".heic", ".heif", ".ism", ".isma", ".ismv", ".mj2"}
    assert unlisted <= known | {".psp", ".dif", ".avc", ".h26l", ".mpo"}


@pytest.mark.parametrize(
    "ending",
    [
        *(
            "wav",
            "flac",
            "mp3",
            "ogg",
            "oga",
            "opus",
            "mka",
            "m4a",
            "m4b",
            "caf",
            "au",
            "w64",
            "aiff",
        ),
        *("wma", "wv", "tta", "ac3", "ts", "mts", "mpeg", "mpg", "vob", "wmv", "asf", "3gp", "mkv"),
        *("webm", "flv", "f4v", "avi", "mov"),
    ],
)
def test_files_of_these_endings_are_read(ending: str, tmp_path: Path) -> None:
    codecs = {
        **dict.fromkeys(("wav", "caf", "w64"), "pcm_s16le"),
        **dict.fromkeys(("au", "aiff"), "pcm_s16be"),
        **dict.fromkeys(("ogg", "oga", "opus", "webm"), "libopus"),
        **dict.fromkeys(("mpeg", "mpg", "vob"), "mp2"),
        **dict.fromkeys(("wma", "wmv", "asf"), "wmav2"),
        "flac": "flac",
        "mp3": "libmp3lame",
        "wv": "wavpack",
        "tta": "tta",
        "ac3": "ac3",
    }
    path = tmp_path / f"a.{ending}"
    try:
        write_media(path, waveform=tone(0.6, 48_000), audio_codec=codecs.get(ending, "aac"))
    except (ValueError, av.error.FFmpegError) as error:
        pytest.skip(f"this build of FFmpeg writes no .{ending} ({error})")
    assert media_type(path) in ("audio", "video")
    with MediaFile(path) as media:
        assert media.info.has_audio
        assert media.info.duration_s == pytest.approx(0.6, abs=0.15)


# === Walking ===


def tree(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return folder


def descriptor_names(folder: Path) -> list[str]:
    listing = list_folder(folder)
    return [listing.display_path(path) for path in listing.files]


def test_linked_folders_are_followed_and_loops_end(tmp_path: Path) -> None:
    far = tree(tmp_path / "far", "b.wav", "deep/c.wav")
    folder = tree(tmp_path / "in", "a.wav", "own/d.wav")
    (folder / "link").symlink_to(far)
    (folder / "again").symlink_to(far / "deep")
    (folder / "own" / "up").symlink_to(folder)
    (far / "deep" / "back").symlink_to(folder)
    listing = list_folder(folder)
    # Behind the first of two links to one folder, and never twice.
    assert descriptor_names(folder) == ["a.wav", "again/c.wav", "link/b.wav", "own/d.wav"]
    assert listing.rejected == ()


def test_a_link_beside_the_folder_that_it_leads_to(tmp_path: Path) -> None:
    folder = tree(tmp_path / "in", "z/a.wav")
    (folder / "b").symlink_to(folder / "z")
    assert descriptor_names(folder) == ["z/a.wav"]


def test_what_leads_nowhere_or_is_no_file_is_rejected(tmp_path: Path) -> None:
    folder = tree(tmp_path / "in", "a.wav")
    (folder / "gone.wav").symlink_to(tmp_path / "absent.wav")
    (folder / "Actor_02").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.wav")
    told = {rejection.path: rejection.reason for rejection in list_folder(folder).rejected}
    assert set(told) == {"gone.wav", "Actor_02", "pipe.wav"}
    assert told["Actor_02"].endswith("in/Actor_02: a link that leads nowhere; mend it")
    assert "neither a file nor a folder" in told["pipe.wav"]


def test_hidden_files_and_those_of_systems_are_no_files_of_the_user(tmp_path: Path) -> None:
    folder = tree(
        tmp_path / "in",
        *("a.wav", "._a.wav", ".b.wav", ".git/c.wav", "__MACOSX/d.wav", "Thumbs.db"),
        "sub/desktop.ini",
    )
    listing = list_folder(folder)
    assert descriptor_names(folder) == ["a.wav"]
    assert listing.ignored_suffixes(listing.files) == Counter()


@pytest.fixture
def closed(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Shuts a folder, also for a user whom permissions do not bind."""
    shut: set[str] = set()
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        if str(path) in shut:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    return lambda path: shut.add(str(path))


def test_a_folder_that_cannot_be_entered_is_rejected(
    tmp_path: Path, closed: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_sound(folder / f"Actor_01/{NAME.format(1)}.wav", tone(0.5), 16_000)
    write_sound(folder / f"Actor_02/{NAME.format(2)}.wav", tone(0.5), 16_000)
    closed(folder / "Actor_02")
    assert preprocess("ravdess", folder, out, *NONE) == EXIT_PARTIAL
    said = capsys.readouterr()
    line = f"rejected Actor_02: {folder}/Actor_02: no permission; choose another folder or change"
    assert line in said.err
    assert f"1 record in {out}, 1 rejected; 1 clip read now" in said.out


def test_a_linked_actor_is_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    write_sound(folder / f"Actor_01/{NAME.format(1)}.wav", tone(0.5), 16_000)
    write_sound(tmp_path / f"far/{NAME.format(2)}.wav", tone(0.5, hz=300), 16_000)
    (folder / "Actor_02").symlink_to(tmp_path / "far")
    (folder / "notes.docx").touch()
    (folder / "more.docx").touch()
    (folder / "LICENSE").touch()
    assert preprocess("ravdess", folder, out, *NONE) == EXIT_OK
    assert [row.path for row in open_data_folder(out).rows] == [
        f"Actor_01/{NAME.format(1)}.wav",
        f"Actor_02/{NAME.format(2)}.wav",
    ]
    assert "  passed over: 2 .docx, 1 without ending\n" in capsys.readouterr().out


def test_what_is_passed_over_in_one_line() -> None:
    assert format_suffix_counts(Counter({".pdf": 1, ".docx": 3, "": 1})) == (
        "3 .docx, 1 without ending, 1 .pdf"
    )
    assert format_suffix_counts(Counter()) == ""


def test_a_folder_without_recordings_says_what_it_holds(tmp_path: Path) -> None:
    folder = tree(tmp_path / "in", "a.docx")
    with pytest.raises(UserError, match=r"no media file in this folder .*; passed over: 1 \.docx"):
        from affectstream.preprocessing.corpora.media_files import list_media

        list_media(folder)


# === A broken file of a recording ===


def broken_files() -> dict[str, bytes]:
    return {
        "empty file": b"",
        "not readable as sound or video": b"this is no film" * 100,
        "a git-lfs pointer, not the file itself; run `git lfs pull` there": POINTER.encode(),
    }


@pytest.mark.parametrize("reason", broken_files())
def test_the_next_file_of_a_recording_stands_in_for_a_broken_one(
    reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    good = "03-01-08-02-01-01-19.flac"
    bad = "01-01-08-02-01-01-19.mp4"
    write_sound(folder / good, tone(0.5), 16_000)
    (folder / bad).write_bytes(broken_files()[reason])
    assert preprocess("ravdess", folder, out, *NONE) == EXIT_PARTIAL
    (row,) = open_data_folder(out).rows
    assert (row.path, row.id, row.num_samples) == (good, f"ravdess/{good}", 8_000)
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("rejected ")]
    assert line.startswith(f"rejected {bad}: {bad}: {reason}")
    assert line.endswith(f"; read in its place: {good}")
    # Known from now on; the mended file takes its place again.
    assert preprocess("ravdess", folder, out, *NONE) == EXIT_PARTIAL
    assert "no clip was read now" in capsys.readouterr().out
    write_media(folder / bad, waveform=tone(1.0, 48_000))
    assert preprocess("ravdess", folder, out, *NONE) == EXIT_OK
    assert [row.path for row in open_data_folder(out).rows] == [bad]


def test_three_files_of_which_the_last_is_good(tmp_path: Path) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    for suffix in ("flv", "wav"):
        (tmp_path / "in").mkdir(exist_ok=True)
        (folder / f"1001_DFA_ANG_XX.{suffix}").touch()
    write_media(
        folder / "1001_DFA_ANG_XX.mp3", waveform=tone(0.5, 48_000), audio_codec="libmp3lame"
    )
    assert preprocess("crema_d", folder, out, *NONE) == EXIT_PARTIAL
    assert [row.path for row in open_data_folder(out).rows] == ["1001_DFA_ANG_XX.mp3"]
    assert len((out / "rejected.csv").read_text().splitlines()) == 3


# === predict ===


class FakeRecognizer:
    """Opens what it is asked about, and answers the same of everything."""

    labels = ("happy", "sad")

    def __init__(self, streams: tuple[str, ...] = ("audio", "video")) -> None:
        self.streams = streams

    def __call__(self, path: Path, *how: Any, name: str = "") -> Prediction:
        with MediaFile(path, name) as media:
            return self._answer(media.name, media.info.duration_s)

    def predict_text(self, line: str, name: str) -> Prediction:
        return self._answer(name, 0.0)

    def _answer(self, name: str, duration_s: float) -> Prediction:
        shares = {"happy": 0.75, "sad": 0.25}
        return Prediction(name, duration_s, "happy", shares, {"audio": shares}, None, (), ())


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRecognizer:
    made = FakeRecognizer()
    monkeypatch.setattr(predict, "_loaded", lambda *given: made)
    return made


def answered(capfd: pytest.CaptureFixture[str]) -> tuple[list[str], str]:
    """Paths of the answers, and what was said beside."""
    said = capfd.readouterr()
    lines = said.out.splitlines()
    return sorted(line.partition(": happy")[0] for line in lines if ": happy" in line), said.err


def predicted(*words: object) -> int:
    return run("predict", *words, "--model", "fake", "--workers", 0)


def test_every_kind_of_file_in_a_folder_is_answered(
    fake: FakeRecognizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import cv2

    folder = tmp_path / "in"
    for ending in ("wav", "FLAC", "mka", "3gp", "mts", "m4b"):
        codec = {"wav": "pcm_s16le", "FLAC": "flac"}.get(ending, "aac")
        write_media(folder / f"a.{ending}", waveform=tone(0.5, 48_000), audio_codec=codec)
    for ending in ("png", "JPG", "webp", "bmp", "tiff"):
        done, data = cv2.imencode(f".{ending.lower()}", numbered_image(5))
        assert done
        (folder / f"a.{ending}").write_bytes(data.tobytes())
    write_media(folder / "a.gif", [numbered_image(3)], codec="gif", pixels="rgb8")
    expected = sorted(str(path) for path in folder.iterdir())
    tree(folder, "notes.docx", "table.csv", "more.docx", ".hidden.wav", "words.txt")
    assert predicted(folder) == EXIT_OK
    paths, said = answered(capfd)
    assert paths == expected and len(paths) == 12
    assert "passed over: 2 .docx, 1 .csv, 1 .txt\n" in said
    for path in expected[:2]:
        assert predicted(path) == EXIT_OK


def test_texts_of_a_folder_are_read_by_a_model_that_knows_words(
    fake: FakeRecognizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fake.streams = ("audio", "text")
    write_sound(tmp_path / "in/a.wav", tone(0.5), 16_000)
    (tmp_path / "in/b.txt").write_text("well\nyes")
    assert predicted(tmp_path / "in") == EXIT_OK
    paths, said = answered(capfd)
    assert [Path(path).name for path in paths] == ["a.wav", "b.txt:1", "b.txt:2"]
    assert "passed over" not in said


def test_a_still_is_one_frame_without_sound(tmp_path: Path) -> None:
    import cv2

    for ending in ("png", "jpg", "webp", "bmp", "tiff"):
        path = tmp_path / f"a.{ending}"
        path.write_bytes(cv2.imencode(f".{ending}", numbered_image(5))[1].tobytes())
        with MediaFile(path) as media:
            info = media.info
        assert (info.has_audio, info.has_video, info.num_frames) == (False, True, 1)


def test_an_unreadable_folder_among_others_is_said(
    fake: FakeRecognizer,
    tmp_path: Path,
    closed: Callable[[Path], None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    write_sound(tmp_path / "in/a/a.wav", tone(0.5), 16_000)
    tree(tmp_path / "in", "b/b.wav")
    closed(tmp_path / "in/b")
    assert predicted(tmp_path / "in") == EXIT_PARTIAL
    paths, said = answered(capfd)
    assert paths == [str(tmp_path / "in/a/a.wav")]
    assert f"rejected {tmp_path}/in/b: no permission; " in said
    closed(tmp_path / "in/a")
    assert predicted(tmp_path / "in") == EXIT_FAILURE
    closed(tmp_path / "in")
    assert predicted(tmp_path / "in") == EXIT_FAILURE
    assert "no permission" in capfd.readouterr().err


def test_pipes_are_read_once(
    fake: FakeRecognizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    import threading

    data = write_sound(tmp_path / "a.wav", tone(0.5), 16_000).read_bytes()
    pipe = tmp_path / "pipe.wav"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    assert predicted(pipe) == EXIT_OK
    writer.join()
    assert answered(capfd)[0] == [str(pipe)]
    with open(tmp_path / "a.wav", "rb") as file:
        path = f"/dev/fd/{file.fileno()}"
        assert predicted(path) == EXIT_OK
        assert answered(capfd)[0] == [path]
    assert predicted("/dev/null") == EXIT_FAILURE
    assert "/dev/null: a pipe or a device, no file; save what comes" in capfd.readouterr().err


@pytest.mark.parametrize("scheme", ["http", "HTTPS", "ftp", "rtsp"])
def test_addresses_are_not_read(
    scheme: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = f"{scheme}://host/x.wav"
    table = tmp_path / "manifest.csv"
    table.write_text(f"path,label,speaker\n{url},sad,1\n")
    told = f"Error: {url}: not read over the network; download it first and name the file"
    for words in (
        ("predict", url),
        ("preprocess", "--corpus", "ravdess", "--source", url, "--out", tmp_path / "out"),
        ("train", "--stream", "audio", "--data", url),
    ):
        assert run(*words) == EXIT_FAILURE
        assert told in capfd.readouterr().err
    assert preprocess("manifest", table, tmp_path / "out", *NONE) == EXIT_FAILURE
    assert f"first: {url}: {url}: not read over the network" in capfd.readouterr().err


# === Names of what is written ===


def test_no_plot_replaces_another_or_an_input(
    fake: FakeRecognizer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    plots: list[str] = []
    monkeypatch.setattr(
        prediction_outputs,
        "plot_timeline",
        lambda answer, labels, path: plots.append(f"{answer.path} -> {path}"),
    )
    made = [write_sound(tmp_path / name, tone(0.5), 16_000) for name in ("a/x.wav", "b/x.wav")]
    picture = tmp_path / "p-x-2.png"
    import cv2

    picture.write_bytes(cv2.imencode(".png", numbered_image(5))[1].tobytes())
    before = picture.read_bytes()
    out = tmp_path / "p.png"
    assert predicted(*made, picture, "--plot", out) == EXIT_OK
    assert plots == [
        f"{made[0]} -> {tmp_path}/p-x.png",
        f"{made[1]} -> {tmp_path}/p-x-3.png",
        f"{picture} -> {tmp_path}/p-p-x-2.png",
    ]
    assert picture.read_bytes() == before
    plots.clear()
    assert predicted(made[0], "--plot", out) == EXIT_OK
    assert plots == [f"{made[0]} -> {out}"]


def test_a_table_is_written_as_its_name_says(
    fake: FakeRecognizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = write_sound(tmp_path / "a.wav", tone(0.5), 16_000)
    assert predicted(clip, "--csv", tmp_path / "w.tsv") == EXIT_OK
    first = (tmp_path / "w.tsv").read_text().splitlines()[0]
    assert first.split("\t")[:4] == ["path", "start_s", "end_s", "label"]
    assert first.endswith("\tstreams\thappy\tsad")
    assert predicted(clip, "--csv", tmp_path / "w.parquet") == 2
    assert "CSV is written; name a .csv, or a .tsv for tabs" in capfd.readouterr().err


def test_tabs_part_the_cells_of_a_tsv(tmp_path: Path) -> None:
    for name, mark in (("a.csv", ","), ("a.TSV", "\t"), ("a.txt", ",")):
        atomic_io.write_csv(tmp_path / name, ("a", "b"), [{"a": "1", "b": "x,y"}])
        cell = "x,y" if mark == "\t" else '"x,y"'
        assert (tmp_path / name).read_text() == f"a{mark}b\n1{mark}{cell}\n"


# === Lines ===


def test_only_real_ends_of_lines_split_a_text(
    fake: FakeRecognizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    lines = ["one\u2028still one", "two\x0b\x0c\x1c\x85still two", "three", "four"]
    text = f"\ufeff{lines[0]}\r\n{lines[1]}\r{lines[2]}\n{lines[3]}"
    assert split_lines(text.removeprefix("\ufeff")) == lines
    assert split_lines("a\n\nb\n") == ["a", "", "b"]
    path = tmp_path / "x.txt"
    path.write_bytes(text.encode())
    assert predicted(path) == EXIT_OK
    assert answered(capfd)[0] == [f"{path}:{n}" for n in (1, 2, 3, 4)]


# === git-lfs ===


def test_pointers_are_named_as_such(tmp_path: Path) -> None:
    from affectstream.core import registry
    from affectstream.preprocessing.corpora.manifest import MANIFEST
    from affectstream.preprocessing.faces.openface import read_action_units

    def pointer(name: str) -> Path:
        (tmp_path / name).write_text(POINTER)
        return tmp_path / name

    def opened(path: Path) -> None:
        with MediaFile(path):
            pass

    fer2013: Any = registry.load("corpora", "fer2013")
    read: dict[str, Callable[[Path], object]] = {
        "a.wav": opened,
        "a.mp4": opened,
        "a.png": opened,
        "manifest.csv": MANIFEST.build_index,
        "au.csv": read_action_units,
        "fer2013.zip": fer2013.build_index,
        "fer2013.csv": fer2013.build_index,
        "run.json": atomic_io.read_json,
        "any": lfs_pointer.require_not_pointer,
    }
    for name, reader in read.items():
        with pytest.raises(UserError) as raised:
            reader(pointer(name))
        assert f"{name}: a git-lfs pointer, not the file itself; run" in str(raised.value), name


def test_what_only_begins_like_a_pointer_is_none(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(POINTER.encode() + bytes(2000))
    assert not lfs_pointer.is_pointer_file(tmp_path / "a")
    assert not lfs_pointer.is_pointer_file(tmp_path / "absent")
    assert not lfs_pointer.is_pointer(np.zeros(10, np.uint8).tobytes())


def test_a_pointer_among_the_lines_of_text(
    fake: FakeRecognizer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.txt").write_text(POINTER)
    assert predicted(tmp_path / "a.txt") == EXIT_FAILURE
    assert "a.txt: a git-lfs pointer" in capfd.readouterr().err
