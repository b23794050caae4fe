"""Feature tables of sound and words over the same clips: written, joined, fused, scored."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, UserError
from affectstream.modeling.features.text.tfidf import TFIDF
from affectstream.preprocessing.dataset.feature_table import (
    FeatureTable,
    open_feature_table,
    stored_features_name,
)
from affectstream.preprocessing.dataset.paired_tables import PairedTables, pair_tables
from tests.support import models
from tests.support.models import LABELS, error_line, run
from tests.support.stubs import stub_trainer

pytestmark = pytest.mark.slow

FOLDERS = {"statistics-linear": "audio", "tfidf-text": "text"}
SAYS = {label: f"what a {label} {label} day" for label in LABELS}


def write(path: Path, names: tuple[str, ...], rows: list[tuple[object, ...]]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "speaker", "recording", "label", "split", *names])
        writer.writerows(rows)
    return path


def table(path: Path, stream: str, clips: dict[str, float], **facts: str) -> FeatureTable:
    """One feature, the value of each clip; `facts` in place of what the rows say otherwise."""
    known = {"speaker": "me/1", "label": "happy", "split": "train", **facts}
    rows: list[tuple[object, ...]] = [
        (clip, known["speaker"], clip, known["label"], known["split"], value)
        for clip, value in clips.items()
    ]
    return open_feature_table(write(path, (f"{stream}_value",), rows), 16_000, stream)


# === Joining ===


def test_a_clip_that_one_table_lacks_has_no_such_stream(tmp_path: Path) -> None:
    audio = table(tmp_path / "a.csv", "audio", {"x": 1.5, "y": 2.5})
    text = table(tmp_path / "t.csv", "text", {"y": 0.5, "z": 0.25})
    paired = pair_tables({"audio": audio, "text": text})
    assert {row.id: row.streams for row in paired.rows} == {
        "x": ("audio",),
        "y": ("audio", "text"),
        "z": ("text",),
    }
    values, there = paired.values("text", paired.rows, ("text_value",))
    np.testing.assert_array_equal(values, [[0.0], [0.5], [0.25]])
    np.testing.assert_array_equal(there, [False, True, True])
    assert paired.splits.parts["train"] == ("x", "y", "z")
    with pytest.raises(UserError, match="no column other"):
        paired.values("audio", paired.rows, ("other",))


@pytest.mark.parametrize("key", ["speaker", "label", "split"])
def test_tables_that_disagree(key: str, tmp_path: Path) -> None:
    other = {"speaker": "me/2", "label": "sad", "split": "test"}[key]
    audio = table(tmp_path / "a.csv", "audio", {"x": 1.0})
    text = table(tmp_path / "t.csv", "text", {"x": 1.0}, **{key: other})
    with pytest.raises(UserError, match=f"t.csv: {key} of clip 'x' is '{other}', in .*a.csv"):
        pair_tables({"audio": audio, "text": text})


def test_no_clip_in_common(tmp_path: Path) -> None:
    tables = {
        "audio": table(tmp_path / "a.csv", "audio", {"x": 1.0}),
        "text": table(tmp_path / "t.csv", "text", {"y": 1.0}),
    }
    with pytest.raises(UserError, match="no clip is in all of them"):
        pair_tables(tables)


def test_words_said_twice_are_no_copy(tmp_path: Path) -> None:
    text = table(tmp_path / "t.csv", "text", {"x": 0.5, "y": 0.5})
    assert {row.audio_hash for row in text.rows} == {""}
    audio = table(tmp_path / "a.csv", "audio", {"x": 0.5, "y": 0.5})
    assert len({row.audio_hash for row in audio.rows} - {""}) == 1


# === From records to a fused run ===


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Tables of both streams, written by `features` from one data folder."""
    folder = tmp_path_factory.mktemp("tables")
    made = [
        replace(one, transcript=SAYS[one.label])
        for one in models.records(num_speakers=6, num_takes=2, streams=("audio",))
    ]
    data = models.write_data(folder / "data", made)
    paths = {"audio": folder / "a.csv", "text": folder / "t.parquet", "data": data}
    assert run("features", "--data", data, "--out", paths["audio"]) == EXIT_OK
    words = ("features", "--data", data, "--features", "tfidf", "--out", paths["text"])
    assert run(*words) == EXIT_OK
    return paths


def test_the_table_of_words_says_what_it_was_fitted_on(tables: dict[str, Path]) -> None:
    assert stored_features_name(tables["text"]) == "tfidf"
    origin = json.loads(Path(f"{tables['text']}.json").read_text())
    front_end = TFIDF.with_fields(origin["front_end"])
    read = open_feature_table(tables["text"], 0, "text")
    assert read.names == front_end.names
    happy = read.names.index("tfidf happy")
    expected = [row.label == "happy" for row in read.rows]
    np.testing.assert_array_equal(read.values[:, happy] > 0, expected)
    np.testing.assert_allclose(np.linalg.norm(read.values, axis=1), 1.0, atol=1e-5)


@pytest.fixture(scope="module")
def fused(tables: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("fused") / "run"
    given = ("--data", tables["audio"], "--data", tables["text"])
    few = ("--set", "audio.epochs=2", "--set", "text.epochs=3", "--set", "fusion=dense")
    words = ("--recipe", "tfidf-statistics-resnet1d", *given, *few, "--epochs", 2, "--out", out)
    with stub_trainer():  # what it learnt is of no matter
        assert run("train", *words) == EXIT_OK
    return out


def test_the_parts_are_trained_on_their_own_tables(fused: Path) -> None:
    for part, stream in FOLDERS.items():
        info = json.loads((fused.parent / f"run-{stream}" / "run.json").read_text())
        assert (info["recipe"]["name"], info["streams"]) == (part, [stream])
    info = json.loads((fused / "run.json").read_text())
    assert info["finished"]
    assert info["streams"] == ["audio", "text"]


def test_tables_and_recordings_get_the_same_answer(
    fused: Path, tables: dict[str, Path], tmp_path: Path
) -> None:
    probabilities = {}
    for name, given in {
        "tables": (f"audio={tables['audio']}", str(tables["text"])),
        "records": (str(tables["data"]),),
    }.items():
        words = [word for path in given for word in ("--data", path)]
        if name == "tables":
            words[1] = words[1].removeprefix("audio=")
        out = tmp_path / name
        done = run("evaluate", "--run", fused, *words, "--split", "validation", "--out", out)
        assert done == EXIT_OK
        with open(out / "predictions.csv", newline="") as file:
            rows = sorted(csv.DictReader(file), key=lambda row: row["id"])
        probabilities[name] = np.array([[float(row[k]) for k in LABELS] for row in rows])
    np.testing.assert_allclose(probabilities["tables"], probabilities["records"], atol=2e-3)


# === Bad input ===


def drop_origin(tables: dict[str, Path], folder: Path) -> list[object]:
    copy = folder / "words.parquet"
    copy.write_bytes(tables["text"].read_bytes())
    return ["--stream", "text", "--recipe", "tfidf-text", "--data", f"text={copy}"]


def one_table(tables: dict[str, Path], folder: Path) -> list[object]:
    return ["--recipe", "tfidf-statistics-resnet1d", "--data", tables["text"]]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (drop_origin, "what its columns stand for is not known (no words.parquet.json"),
        (one_table, "no --data for audio, the part statistics-linear; add --data audio=PATH"),
    ],
)
def test_bad_tables_are_refused(
    words: Callable[[dict[str, Path], Path], list[object]],
    told: str,
    tables: dict[str, Path],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    code = run("train", *words(tables, tmp_path), "--out", tmp_path / "run")
    assert code == EXIT_FAILURE
    assert told.lower() in error_line(capsys.readouterr().err).lower()


def test_is_a_data_folder(tables: dict[str, Path]) -> None:
    opened = {
        stream: open_feature_table(tables[stream], 16_000, stream) for stream in ("audio", "text")
    }
    paired = pair_tables(opened)
    assert isinstance(paired, PairedTables)
    assert paired.path == tables["audio"]
    assert len(paired.rows) == 6 * len(LABELS) * 2
    assert not set(paired.splits.parts["train"]) & set(paired.splits.parts["test"])
