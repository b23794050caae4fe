"""Hostile files: those that once did harm, and fresh ones; each is read or rejected by name.

`tests/hostile` holds files made from SYNTHETIC ones, each with what it did and the line that it
gets now; `benchmarks.robustness.hostile` makes as many more as one likes.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from affectstream import cli
from affectstream.core.atomic_io import TEMPORARY_MARK
from affectstream.core.errors import (
    EXIT_FAILURE,
    EXIT_OK,
    EXIT_PARTIAL,
    MediaError,
    UserError,
)
from affectstream.parallel.tasks import TaskLimits
from affectstream.preprocessing.media.video.image_header import read_image_size
from affectstream.serving import load
from affectstream.serving.inference.isolated_reader import annotate_isolated, start_reader_process
from affectstream.serving.inference.predict_options import PredictOptions
from benchmarks.robustness import hostile_runs, hostile_seeds, hostile_tables, mutations
from benchmarks.robustness.hostile_runs import DIED, READ, REJECTED, UNNAMED
from benchmarks.robustness.hostile_seeds import Seeds
from tests.conftest import ROOT
from tests.support.factories import textured_image, tone, write_media, write_sound

pytestmark = pytest.mark.slow

CORPUS = ROOT / "tests/hostile"
MODEL = ROOT / "pretrained/emotion"
LIMITS = TaskLimits(step_timeout_s=20.0, memory_bytes=2**30)
NUM_FRESH = 60
FAST = {"preset": "ultrafast"}


def expected(is_table: bool) -> list[tuple[str, str]]:
    """Name of each file of the corpus, and what its line holds; "" for a file that is read."""
    with open(CORPUS / "expected.csv", newline="", encoding="utf-8") as file:
        rows = [(row["file"], row["line"]) for row in csv.DictReader(file)]
    return [row for row in rows if row[0].endswith(".csv") == is_table]


def test_every_file_of_the_corpus_is_expected_and_small() -> None:
    names = {name for is_table in (True, False) for name, _ in expected(is_table)}
    files = [path for path in CORPUS.iterdir() if path.name != "expected.csv"]
    assert names == {path.name for path in files}
    assert max(path.stat().st_size for path in files) < 25_000


# === What did harm ===


def test_recordings_that_did_harm_are_rejected_by_name(tmp_path: Path) -> None:
    known = expected(is_table=False)
    for name, _ in known:
        shutil.copy(CORPUS / name, tmp_path)
    write_sound(tmp_path / "good.wav", tone(0.5), 16_000)
    names = [name for name, _ in known] + ["good.wav"]
    words = ("--detector", "none", "--num-frames", "2", "--workers", "1")
    batch = hostile_runs.preprocess(tmp_path, names, LIMITS, *words)
    ways = {outcome.name: outcome.way for outcome in batch.outcomes}
    assert ways == {**dict.fromkeys(names, REJECTED), "good.wav": READ}
    with open(tmp_path / "out/rejected.csv", newline="", encoding="utf-8") as file:
        told = {row["path"]: row["reason"] for row in csv.DictReader(file)}
    for name, line in known:
        assert told[name].startswith(f"{name}: ")
        assert line in told[name]
    assert batch.ran.worker_bytes < 400 * 2**20


@pytest.mark.parametrize(("name", "line"), expected(is_table=True))
def test_tables_that_did_harm_get_a_line_and_good_rows_are_read(
    name: str, line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(CORPUS / name, tmp_path)
    write_sound(tmp_path / "good.wav", tone(0.5), 16_000)
    (tmp_path / "good.csv").write_text("path,label,speaker\ngood.wav,sad,me\n")
    code = cli.main(hostile_tables.words(tmp_path, name, tmp_path / "out"))
    printed = capsys.readouterr().err
    if name.endswith("openface.csv"):
        assert code == EXIT_FAILURE
    else:
        assert code == (EXIT_PARTIAL if line else EXIT_OK)
        assert len((tmp_path / "out/clips.csv").read_text("utf-8").splitlines()) == 2
    told = [one for one in printed.splitlines() if one.startswith(("rejected ", "Error: "))]
    assert [line in one for one in told] == [True] * bool(line)
    assert max(map(len, told), default=0) < 1200


@pytest.mark.parametrize("ending", ["jpg", "png", "bmp"])
def test_the_stated_size_is_that_of_the_picture(ending: str) -> None:
    picture = textured_image(5, 128, 48)
    options = [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2]
    data = cv2.imencode(f".{ending}", picture, options if ending == "jpg" else [])[1].tobytes()
    assert read_image_size(data) == (128, 48)
    # A thumbnail in front is no frame of the picture; what ends before its header states nothing.
    if ending == "jpg":
        inside = b"\xff\xe1" + (len(data) + 2).to_bytes(2, "big") + data
        assert read_image_size(data[:2] + inside + data[2:]) == (128, 48)
    assert all(read_image_size(data[:length]) is None for length in range(17))


def test_messages_are_one_line_of_bounded_length() -> None:
    assert str(UserError("a\nb\x00c\u2028d é")) == "a\\nb\\x00c\\u2028d é"
    told = str(UserError(f"first {'x' * 10**6} last"))
    assert told.startswith("first x")
    assert told.endswith("x last")
    assert len(told) < 1100


# === Fresh ones ===


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Seeds:
    folder = tmp_path_factory.mktemp("seeds")
    pictures = [textured_image(number) for number in range(10)]
    source = write_media(folder / "source.mp4", pictures, waveform=tone(0.4, 48_000), options=FAST)
    return hostile_seeds.made(source, folder, duration_s=0.4, width_px=64)


def test_mutants_are_the_same_for_the_same_seed_and_rarely_whole(seeds: Seeds) -> None:
    for kind in seeds:
        one, two = np.random.default_rng(7), np.random.default_rng(7)
        made = [mutations.mutant(one, kind, seeds) for _ in range(20)]
        assert made == [mutations.mutant(two, kind, seeds) for _ in range(20)]
        assert sum(data in seeds[kind] for data in made) < 10


def test_fresh_recordings_are_read_or_rejected(seeds: Seeds, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = []
    for number in range(NUM_FRESH):
        kind = mutations.MEDIA[number % len(mutations.MEDIA)]
        names.append(f"{number}.{kind}")
        (tmp_path / names[-1]).write_bytes(mutations.mutant(rng, kind, seeds))
    words = ("--detector", "none", "--num-frames", "2", "--workers", "1")
    batch = hostile_runs.preprocess(tmp_path, names, LIMITS, *words)
    ways = Counter(outcome.way for outcome in batch.outcomes)
    assert ways.total() == NUM_FRESH
    assert not ways[DIED] + ways[UNNAMED], batch.ran.err[-2000:]
    assert ways[READ] > 5
    assert ways[REJECTED] > 5


def test_fresh_tables_are_read_or_refused(seeds: Seeds, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names = []
    for number in range(NUM_FRESH):
        kind = mutations.TABLES[number % len(mutations.TABLES)]
        names.append(f"{number}.{hostile_tables.ENDINGS[kind]}")
        (tmp_path / names[-1]).write_bytes(mutations.mutant(rng, kind, seeds))
    batch = hostile_tables.run(tmp_path, names, LIMITS)
    assert {outcome.way for outcome in batch.outcomes} == {READ, REJECTED}
    # Lines of our own code that a table reached tell it from others.
    reached = [outcome.lines for outcome in batch.outcomes]
    files = {line.partition(":")[0] for lines in reached for line in lines}
    assert {"corpora/manifest.py", "faces/openface.py", "records/preprocess.py"} <= files
    assert len(set(reached)) > 10


# === predict ===

KILLER = """
import os, signal, sys, time
from affectstream.serving.inference import isolated_reader
from affectstream import cli
MediaFile = isolated_reader.MediaFile
def opened(path, name="", num_threads=1):
    if "crash" in name:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "hang" in name:
        time.sleep(600)
    if "flood" in name:
        held = b"x" * (2 << 30)
        time.sleep(600)
    return MediaFile(path, name, num_threads)
isolated_reader.MediaFile = opened
if __name__ == "__main__":
    sys.exit(cli.main(sys.argv[1:]))
"""


def test_predict_outlives_what_ends_the_process_that_reads(tmp_path: Path) -> None:
    driver = tmp_path / "killer.py"
    driver.write_text(KILLER)
    names = ("a.wav", "b-crash.wav", "c.wav", "d-hang.wav", "e-flood.wav", "f.wav")
    files = [write_sound(tmp_path / name, tone(1.0), 16_000) for name in names]
    words = ["predict", *files, "--model", MODEL, "--json", "--timeout-s", "8"]
    done = subprocess.run(
        [sys.executable, driver, *map(str, words), "--memory-limit-gb", "1"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == EXIT_PARTIAL, done.stderr
    assert "Traceback" not in done.stderr
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    told = {Path(answer["path"]).name: answer.get("error", "") for answer in answers}
    folder, larger = (
        f"{tmp_path}/",
        "leave it out, or give a larger --timeout-s or --memory-limit-gb",
    )
    assert {name: line.replace(folder, "") for name, line in told.items()} == {
        **dict.fromkeys(("a.wav", "c.wav", "f.wav"), ""),
        "b-crash.wav": "b-crash.wav: ended its process by SIGSEGV; leave it out",
        "d-hang.wav": f"d-hang.wav: took longer than 8 s; {larger}",
        "e-flood.wav": f"e-flood.wav: needs more than 1 GiB of memory; {larger}",
    }


def test_answers_are_the_same_read_here_and_elsewhere(tmp_path: Path) -> None:
    """Also the drawing; a rejected file and one that is given up do not hold up the next."""
    pictures = [textured_image(number) for number in range(50)]
    video = write_media(tmp_path / "v.mp4", pictures, waveform=tone(2.0, 48_000), options=FAST)
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    here = load(MODEL)(video)
    with start_reader_process(LIMITS) as process:
        recognizer = load(MODEL, reader=process)
        assert recognizer(video) == here
        with pytest.raises(MediaError, match=r"bad\.mp4: not readable"):
            recognizer(bad)
        with pytest.raises(StopAsyncIteration):
            recognizer(video, PredictOptions(window_s=0.5, hop_s=0.25), on_progress=_stop)
        assert recognizer(video) == here
        annotate_isolated(process, video, here, tmp_path / "drawn.mp4")
        assert (tmp_path / "drawn.mp4").stat().st_size > 10_000
        with pytest.raises(MediaError, match=r"bad\.mp4: damaged"):
            annotate_isolated(process, bad, here, tmp_path / "bad-drawn.mp4")
    (tmp_path / f"cut{TEMPORARY_MARK}other.txt").touch()
    # Large, for whoever looks ten times a second must find a step under way.
    pictures = [np.tile(picture, (10, 10, 1)) for picture in pictures]
    large = write_media(tmp_path / "large.mp4", pictures, options=FAST)
    with (
        start_reader_process(TaskLimits(step_timeout_s=0.001)) as process,
        pytest.raises(MediaError) as told,
    ):
        annotate_isolated(process, large, here, tmp_path / "cut.mp4")
    assert str(told.value).startswith(f"{large}: took longer than 0.001 s; leave it out, or give")
    kept = {"v.mp4", "large.mp4", "bad.mp4", "drawn.mp4", f"cut{TEMPORARY_MARK}other.txt"}
    assert {path.name for path in tmp_path.iterdir()} == kept


def _stop(_: object) -> None:
    raise StopAsyncIteration
