"""What goes wrong with recordings, disks and patience: one clear line each, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affectstream.core.atomic_io import TEMPORARY_MARK
from affectstream.core.errors import (
    EXIT_FAILURE,
    EXIT_INTERRUPTED,
    EXIT_OK,
    EXIT_PARTIAL,
)
from affectstream.opencv_model.weights import CACHE_VARIABLE
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from tests.conftest import ROOT
from tests.support.factories import (
    files_below,
    preprocess,
    sample_source,
    textured_image,
    tone,
    write_media,
    write_sound,
)
from tests.support.processes import sigint_handler

pytestmark = pytest.mark.slow

NONE = ("--detector", "none")
SMALL = (*NONE, "--num-frames", "2", "--face-size", "32")
X264 = {"preset": "ultrafast"}
NAME = "03-01-05-01-01-01-{:02d}"


def one_line(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line that a command which could do nothing wrote."""
    printed = capsys.readouterr()
    assert printed.out == ""
    lines = [line for line in printed.err.splitlines() if not line.startswith("preprocess: ")]
    (line,) = [line for line in lines if line]
    assert line.startswith("Error: ")
    assert ";" in line or "give" in line
    return line.removeprefix("Error: ")


def leftovers(folder: Path) -> list[str]:
    return [name for name in files_below(folder) if TEMPORARY_MARK in name]


# === Nothing to work on ===


def test_a_missing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = tmp_path / "gone"
    assert preprocess("ravdess", gone, tmp_path / "out", *NONE) == EXIT_FAILURE
    assert one_line(capsys) == f"{gone}: no such folder; give the folder that holds the recordings"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", [None, "notes.txt"])
def test_folder_without_recordings(
    name: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "in"
    source.mkdir()
    if name:
        (source / name).touch()
    assert preprocess("ravdess", source, tmp_path / "out", *NONE) == EXIT_FAILURE
    assert f"{source}: no media file in this folder (looked for .aac" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_no_readable_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for speaker in (1, 2):
        (source / f"{NAME.format(speaker)}.wav").write_text("no sound")
    assert preprocess("ravdess", source, out, *NONE) == EXIT_FAILURE
    line = one_line(capsys)
    assert line.startswith(f"no recording could be used, see {out / 'rejected.csv'}; first: ")
    assert f"{NAME.format(1)}.wav: not readable as sound or video" in line
    assert len((out / "rejected.csv").read_text().splitlines()) == 3
    assert not (out / "clips.csv").exists()


def test_no_ravdess_name_at_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sound(tmp_path / "in/hello.wav", tone(1.0), 16_000)
    assert preprocess("ravdess", tmp_path / "in", tmp_path / "out", *NONE) == EXIT_FAILURE
    line = one_line(capsys)
    assert "first: not a ravdess file name; expected one like 03-01-05-02-01-01-12.wav" in line


# === One bad file among good ones ===

VIDEO = [textured_image(number) for number in range(75)]


def truncated(path: Path, **options: object) -> Path:
    whole = write_media(path, VIDEO, waveform=tone(3.0, 48_000), **options)  # type: ignore[arg-type]
    whole.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    return whole


def text(path: Path) -> Path:
    path.write_text("This is no sound.\n" * 50)
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def silent(path: Path) -> Path:
    return write_sound(path, np.zeros(16_000, np.float32), 16_000)


def constant_offset(path: Path) -> Path:
    return write_sound(path, np.full(16_000, 0.5, np.float32), 16_000)


def too_short(path: Path) -> Path:
    return write_sound(path, tone(0.05), 16_000)


def without_samples(path: Path) -> Path:
    return write_sound(path, np.zeros(0, np.float32), 16_000)


def noise_bytes(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(20_000))
    return path


def silent_and_faceless(path: Path) -> Path:
    grey = [np.full((64, 64, 3), 128, np.uint8)] * 25
    return write_media(path, grey, options=X264, waveform=np.zeros(48_000, np.float32))


BAD: dict[str, tuple[str, Callable[[Path], Path], str]] = {
    "truncated, index at the end": (".mp4", truncated, "not readable as sound or video (invalid"),
    "truncated, index first": (
        ".mp4",
        lambda path: truncated(path, container_options={"movflags": "+faststart"}),
        "s of 3.0 s; copy or record it again",
    ),
    "text named wav": (".wav", text, "not readable as sound or video"),
    "text named mp4": (".mp4", text, "not readable as sound or video"),
    "empty": (".wav", empty, "empty file; record or copy it again"),
    "no samples": (".wav", without_samples, "neither sound nor picture in it; record it again"),
    "silent": (".wav", silent, "silent throughout; record it again or leave it out"),
    "constant offset": (".wav", constant_offset, ": silent throughout; record it again"),
    "too short": (".wav", too_short, ": less than 0.1 s of sound; "),
    "noise bytes": (".mp4", noise_bytes, "not readable as sound or video"),
    "silent and faceless": (".mp4", silent_and_faceless, "silent throughout and no face in it"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_file_is_named_and_the_rest_goes_on(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suffix, make, reason = BAD[kind]
    source, out = tmp_path / "in", tmp_path / "out"
    write_sound(source / f"{NAME.format(1)}.wav", tone(1.0), 16_000)
    bad = make(source / f"{NAME.format(2)}{suffix}")
    assert preprocess("ravdess", source, out, "--detector", "haar") == EXIT_PARTIAL
    assert [row.speaker for row in open_data_folder(out).rows] == ["ravdess/01"]
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("rejected ")]
    assert line.startswith(f"rejected {bad.name}: {bad.name}: ")
    assert reason in line
    assert "Traceback" not in line
    rejected = (out / "rejected.csv").read_text()
    assert bad.name in rejected
    assert reason in rejected


def test_a_name_that_is_not_ravdess(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_sound(source / f"{NAME.format(1)}.wav", tone(1.0), 16_000)
    write_sound(source / "holiday.wav", tone(1.0, hz=300), 16_000)
    assert preprocess("ravdess", source, out, *NONE) == EXIT_PARTIAL
    assert "rejected holiday.wav: not a ravdess file name; expected one like" in (
        capsys.readouterr().err
    )


def test_video_without_sound_and_sound_without_video_are_good(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    write_media(source / f"{NAME.format(1)}.mp4", VIDEO, options=X264)
    write_media(source / f"{NAME.format(2)}.mp4", waveform=tone(1.0, 48_000))
    write_media(
        source / f"{NAME.format(3)}.mp4",
        VIDEO,
        waveform=np.zeros(144_000, np.float32),
        options=X264,
    )
    assert preprocess("ravdess", source, out, *SMALL) == EXIT_OK
    rows = {row.speaker: row for row in open_data_folder(out).rows}
    assert rows["ravdess/01"].streams == ("video", "text")
    assert rows["ravdess/02"].streams == ("audio", "text")
    assert rows["ravdess/03"].streams == ("video", "text")
    assert rows["ravdess/03"].audio_hash == ""


def test_odd_sound_is_good(tmp_path: Path) -> None:
    source, out = tmp_path / "in", tmp_path / "out"
    kinds = [
        ("PCM_U8", 16_000, 1),
        ("PCM_16", 96_000, 2),
        ("PCM_24", 8_000, 1),
        ("FLOAT", 44_100, 2),
    ]
    for speaker, (subtype, rate_hz, channels) in enumerate(kinds, 1):
        wave = tone(1.0, rate_hz, hz=200 + 10 * speaker)
        wave = wave if channels == 1 else np.stack([wave] * channels, 1)
        write_sound(source / f"{NAME.format(speaker)}.wav", wave, rate_hz, subtype)
    assert preprocess("ravdess", source, out, *NONE) == EXIT_OK
    assert [row.num_samples for row in open_data_folder(out).rows] == [16_000] * 4


def test_folders_named_in_other_bytes_than_utf8(tmp_path: Path) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/in/Sch\xe4fer"))
    try:
        folder.mkdir(parents=True)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    write_sound(tmp_path / "x.wav", tone(1.0), 16_000)
    (tmp_path / "x.wav").rename(folder / f"{NAME.format(1)}.wav")
    (folder / f"{NAME.format(2)}.wav").write_text("no sound")
    out = tmp_path / "out"
    assert preprocess("ravdess", tmp_path / "in", out, *NONE) == EXIT_PARTIAL
    (row,) = open_data_folder(out).rows
    assert row.path == rf"Sch\udce4fer/{NAME.format(1)}.wav"
    assert rf"Sch\udce4fer/{NAME.format(2)}.wav" in (out / "rejected.csv").read_text("utf-8")


def test_one_speaker_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for take in (1, 2):
        name = f"03-01-05-01-01-{take:02d}-01.wav"
        write_sound(tmp_path / "in" / name, tone(1.0, hz=300 * take), 16_000)
    assert preprocess("ravdess", tmp_path / "in", tmp_path / "out", *NONE) == EXIT_OK
    assert "note: one speaker: nothing can be held out" in capsys.readouterr().out
    folder = open_data_folder(tmp_path / "out")
    assert len(folder.subset("all")) == 2
    assert folder.subset("test") == ()


# === Places that cannot be written ===


@pytest.mark.parametrize("below", ["", "deeper"])
def test_out_where_a_file_stands(
    below: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_sound(tmp_path / "in" / f"{NAME.format(1)}.wav", tone(1.0), 16_000)
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file" / below
    assert preprocess("ravdess", tmp_path / "in", out, *NONE) == EXIT_FAILURE
    assert str(tmp_path / "file") in one_line(capsys)
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_out_without_permission(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_sound(tmp_path / "in" / f"{NAME.format(1)}.wav", tone(1.0), 16_000)
    (tmp_path / "locked").mkdir(mode=0o500)
    out = tmp_path / "locked/out"
    assert preprocess("ravdess", tmp_path / "in", out, *NONE) == EXIT_FAILURE
    assert "no permission; choose another folder" in one_line(capsys)


# === Weights ===


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for speaker in (1, 2):
        write_sound(
            tmp_path / "in" / f"{NAME.format(speaker)}.wav", tone(1.0, hz=300 * speaker), 16_000
        )
    return tmp_path / "in"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_no_weights_and_no_network(
    workers: str,
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def offline(*_: object, **__: object) -> None:
        raise OSError("Name or service not known")

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    monkeypatch.setattr("socket.getaddrinfo", offline)
    out = tmp_path / "out"
    words = ("--detector", "yunet", "--workers", workers)
    assert preprocess("ravdess", sounds, out, *words) == EXIT_FAILURE
    line = one_line(capsys)
    assert "face_detection_yunet_2026may.onnx: not reachable" in line
    assert "--weights-dir" in line
    assert leftovers(out) == leftovers(tmp_path) == []
    # The same folder takes another detector: nothing was prepared with the first.
    assert preprocess("ravdess", sounds, out, "--detector", "haar") == EXIT_OK


@pytest.mark.parametrize("workers", ["0", "2"])
def test_weights_with_a_wrong_hash(
    workers: str,
    sounds: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    weights = tmp_path / "weights/face_detection_yunet_2026may.onnx"
    weights.parent.mkdir()
    weights.write_bytes(b"not what was published")
    for detector in ("yunet", "auto"):
        words = ("--detector", detector, "--weights-dir", str(weights.parent), "--workers", workers)
        assert preprocess("ravdess", sounds, tmp_path / "out", *words) == EXIT_FAILURE
        line = one_line(capsys)
        assert line.startswith(f"{weights}: weights with a wrong checksum (sha256 ")
        assert "replace it with https://" in line


# === Shards ===


def test_a_shard_cut_short_is_noticed_and_mended(
    sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert preprocess("ravdess", sounds, out, *NONE) == EXIT_OK
    whole = files_below(out)
    shard = out / "shards/00000.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-100])
    assert preprocess("ravdess", sounds, out, *NONE) == EXIT_OK
    assert files_below(out) == whole
    shard.unlink()
    capsys.readouterr()
    assert preprocess("ravdess", sounds, out, *NONE) == EXIT_OK
    assert "; 1 clip read now" in capsys.readouterr().out
    assert files_below(out) == whole
    # A flipped bit leaves the size as it was.
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 4
    shard.write_bytes(bytes(content))
    assert preprocess("ravdess", sounds, out, *NONE) == EXIT_OK
    assert "; 1 clip read now" in capsys.readouterr().out
    assert files_below(out) == whole
    index = out / "shards/00001.json"
    text = index.read_text()
    for damaged in (
        text[:-30],
        text.replace('"num_faces"', '"num_facer"'),
        text.replace("angry", "angrx"),
    ):
        assert damaged != text
        index.write_text(damaged)
        capsys.readouterr()
        assert preprocess("ravdess", sounds, out, *NONE) == EXIT_OK
        printed = capsys.readouterr()
        assert f"{out / 'shards/00001.tfrecord'}: the shard or its inputs changed" in printed.err
        assert files_below(out) == whole
    # Killed between a shard and its index, and then the corpus is smaller.
    (out / "shards/00007.tfrecord").write_bytes(b"half a run")
    assert preprocess("ravdess", sounds, out, *NONE) == EXIT_OK
    assert files_below(out) == whole


# === Disk full, and Ctrl-C: in a process of its own ===

# Small shards, so that some are finished when the process ends early; slow enough to catch it.
DRIVER = """
import itertools, os, resource, signal, sys, time
from affectstream.preprocessing.records import sharding
from affectstream.preprocessing.records.record import Record
from affectstream import cli
sharding.MAX_CLIPS_PER_SHARD, sharding.MIN_SHARDS = 6, 1
row, number = Record.row, itertools.count()
largest = int(os.environ["LARGEST"])
# Without a limit it is interrupted behind the first shard, however late that is noticed.
wait_s = lambda: 2.0 if next(number) > 6 and not largest else 0.05
Record.row = lambda *told: (time.sleep(wait_s()), row(*told))[1]
if __name__ == "__main__":
    if largest:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("driver") / "driver.py"
    path.write_text(DRIVER)
    return path


def small_shards(patch: pytest.MonkeyPatch) -> None:
    patch.setattr("affectstream.preprocessing.records.sharding.MAX_CLIPS_PER_SHARD", 6)
    patch.setattr("affectstream.preprocessing.records.sharding.MIN_SHARDS", 1)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    out = tmp_path_factory.mktemp("undisturbed") / "out"
    with pytest.MonkeyPatch.context() as patch:
        small_shards(patch)
        assert preprocess("sample", sample_source(), out, *SMALL) == EXIT_OK
    return files_below(out)


def started(driver: Path, largest_bytes: int, out: Path, *words: str) -> subprocess.Popen[str]:
    fixed = ["preprocess", "--corpus", "sample", "--source", str(sample_source())]
    with sigint_handler(signal.SIG_DFL):
        return subprocess.Popen(
            [sys.executable, str(driver), *fixed, "--out", str(out), *words],
            env={**os.environ, "PYTHONPATH": str(ROOT), "LARGEST": str(largest_bytes)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )


def error_lines(stderr: str) -> list[str]:
    assert "Traceback" not in stderr
    return [line for line in stderr.splitlines() if line.startswith("Error: ")]


def finish(out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_shards(monkeypatch)
    assert preprocess("sample", sample_source(), out, *SMALL) == EXIT_OK


@pytest.mark.parametrize("workers", ["0", "2"])
def test_disk_full_while_writing(
    workers: str,
    driver: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """No file may grow beyond 100 kB: a real EFBIG from the system in the middle of a shard."""
    assert len(undisturbed["shards/00000.tfrecord"]) > 200_000
    out = tmp_path / "out"
    process = started(driver, 100_000, out, *SMALL, "--workers", workers)
    stdout, stderr = process.communicate()
    assert process.returncode == EXIT_FAILURE
    assert stdout == ""
    (line,) = error_lines(stderr)
    assert str(out) in line
    assert "free some space" in line
    assert leftovers(out) == []
    assert not list((out / "shards").iterdir())
    finish(out, monkeypatch)
    assert files_below(out) == undisturbed


@pytest.mark.parametrize("workers", ["0", "2"])
def test_ctrl_c_in_the_middle(
    workers: str,
    driver: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    process = started(driver, 0, out, *SMALL, "--workers", workers)
    while not (out / "shards/00000.json").is_file():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate()
    assert process.returncode == EXIT_INTERRUPTED
    assert stdout == ""
    assert error_lines(stderr) == [
        "Error: interrupted; what was finished is kept, the same command goes on"
    ]
    assert leftovers(out) == []
    kept = files_below(out)
    assert {"shards/00000.tfrecord", "shards/00000.json"} <= set(kept)
    assert "clips.csv" not in kept
    num_kept = 6 * sum(name.endswith(".json") for name in kept if name.startswith("shards"))
    finish(out, monkeypatch)
    assert f"{21 - num_kept} clips read now" in capsys.readouterr().out
    assert files_below(out) == undisturbed
    assert json.loads(undisturbed["splits.json"])["notes"] == []


# === A recording that ends the process that reads it ===

KILLER = """
import os, signal, sys, time
from affectstream.preprocessing.records import record_builder
from affectstream import cli
MediaFile = record_builder.MediaFile
def opened(path, name):
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in name:
        time.sleep(600)
    return MediaFile(path, name)
record_builder.MediaFile = opened
if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
"""


def test_what_ends_its_process_is_rejected_by_name(tmp_path: Path) -> None:
    driver = tmp_path / "killer.py"
    driver.write_text(KILLER)
    names = ("a.wav", "b-crash.wav", "c.wav", "d-hang.wav", "e.wav")
    for number, name in enumerate(names):
        write_sound(tmp_path / "in" / name, tone(1.0, hz=200 + 50 * number), 16_000)
    source = tmp_path / "in" / "own.csv"
    source.write_text("path,label,speaker\n" + "".join(f"{name},sad,me\n" for name in names))
    found = []
    for workers in "12":
        out = tmp_path / workers
        words = ["--corpus", "manifest", "--source", str(source), "--out", str(out)]
        words += ["--detector", "none"]
        done = subprocess.run(
            [
                sys.executable,
                driver,
                "preprocess",
                *words,
                "--workers",
                workers,
                "--timeout-s",
                "2",
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == EXIT_PARTIAL, done.stderr
        assert "Traceback" not in done.stderr
        found.append(files_below(out))
    assert found[0] == found[1]
    rows = found[0]["clips.csv"].decode().splitlines()
    name = rows[1].partition("/")[0]
    assert name.startswith("manifest-")
    assert [row.split(",")[0] for row in rows[1:]] == [f"{name}/{n}.wav" for n in "ace"]
    assert found[0]["rejected.csv"].decode().splitlines()[1:] == [
        'b-crash.wav,"b-crash.wav: ended its process by SIGSEGV, 2 times; leave it out"',
        'd-hang.wav,"d-hang.wav: took longer than 2 s, 2 times; leave it out, or --overwrite with a'
        ' larger --timeout-s or --memory-limit-gb"',
    ]
    assert not [name for name in found[0] if ".part-" in name]
