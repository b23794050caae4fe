"""Feature tables: written from records, read back, trained on and scored."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectstream.core import registry
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.modeling.crossval.config import plan_crossval
from affectstream.preprocessing.dataset.data_folder import (
    open_data_folder,
    read_rows,
    write_rows,
    write_splits,
)
from affectstream.preprocessing.dataset.feature_table import (
    FeatureOrigin,
    open_feature_table,
    write_feature_table,
)
from affectstream.preprocessing.dataset.splits import DEFAULT_RULE, make_splits
from tests.support import models
from tests.support.models import LABELS, error_line, run

pytestmark = pytest.mark.slow

RATE_HZ = 16_000


def write(path: Path, rows: list[dict[str, object]]) -> Path:
    with open(path, "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def row(
    clip: str = "a", label: str = "happy", speaker: str = "me/1", **more: object
) -> dict[str, object]:
    facts = {"clip": clip, "speaker": speaker, "recording": clip, "label": label, "split": ""}
    return {**facts, "rms": 0.5, "pitch": 2.0, **more}


# === Reading ===


def test_what_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "t.csv", [row("a", split="train"), row("b", split="test", rms=1.25)])
    table = open_feature_table(path, RATE_HZ)
    assert table.names == ("rms", "pitch")
    assert table.values.dtype == np.float32
    np.testing.assert_array_equal(table.columns(["pitch", "rms"]), [[2.0, 0.5], [2.0, 1.25]])
    assert table.splits.parts == {"train": ("a",), "validation": (), "test": ("b",)}
    assert [r.streams for r in table.rows] == [("audio",), ("audio",)]
    assert (table.sample_rate_hz, table.synthetic) == (RATE_HZ, False)


def test_without_a_split_speakers_are_kept_apart(tmp_path: Path) -> None:
    rows = [row(f"{s}-{i}", speaker=f"me/{s}", rms=s + i / 9) for s in range(6) for i in range(3)]
    table = open_feature_table(write(tmp_path / "t.csv", rows), RATE_HZ)
    sides = [{r.speaker for r in table.subset(s)} for s in ("train", "validation", "test")]
    assert all(sides)
    assert len(set.union(*sides)) == sum(map(len, sides)) == 6


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"clip": "a", "rms": 1}], "no column label; a feature table has the columns clip, "),
        ([row(rms="loud")], "t.csv, line 2: not 2 numbers; mend it"),
        ([row(rms="")], "t.csv, line 2: not 2 numbers; mend it"),
        ([row(), row("b", label="bored")], "line 3: label 'bored'; must be one of neutral, "),
        ([row(split="dev")], "line 2: split 'dev'; must be one of train, validation, test, or"),
        ([row(), row()], "clip 'a' occurs 2 times; keep one row"),
        ([{"clip": "a", "label": "sad"}], "no row or no feature in it"),
    ],
)
def test_bad_feature_tables_are_refused(
    tmp_path: Path, rows: list[dict[str, object]], told: str
) -> None:
    with pytest.raises(UserError) as caught:
        open_feature_table(write(tmp_path / "t.csv", rows), RATE_HZ)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for name, content in (("no.parquet", b"PAR1 not"), ("no.csv", b"\xff\xfe\x00\x00")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=name):
            open_feature_table(tmp_path / name, RATE_HZ)
    with pytest.raises(UserError, match=r"gone\.csv: not found"):
        open_feature_table(tmp_path / "gone.csv", RATE_HZ)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    table = open_feature_table(write(tmp_path / "t.csv", [row()]), RATE_HZ)
    with pytest.raises(UserError, match=r"t\.csv: no column zcr, mfcc; write the table again"):
        table.columns(["rms", "zcr", "mfcc"])


# === Writing, training, scoring ===


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features") / "data"
    made = models.records(num_speakers=6, num_takes=2, streams=("audio",))
    return models.write_data(folder, made)


@pytest.fixture(scope="module")
def table(data: Path) -> Path:
    path = data.parent / "table.csv"
    assert run("features", "--data", data, "--out", path) == EXIT_OK
    return path


def test_features_writes_a_row_for_each_clip(data: Path, table: Path) -> None:
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0])[:5] == ["clip", "speaker", "recording", "label", "split"]
    assert len(rows) == 6 * 2 * len(LABELS)
    assert len(rows[0]) == 5 + 276
    assert {r["split"] for r in rows} == {"train", "validation", "test"}
    assert all(np.isfinite(float(v)) for r in rows for v in list(r.values())[5:])
    origin = json.loads(table.with_name("table.csv.json").read_text())
    assert (origin["corpus"], origin["features"]) == ("toy", "clip_statistics")


def test_folds_are_those_of_the_records_that_a_table_was_written_from(tmp_path: Path) -> None:
    """Speakers are dealt by sex, which the corpus tells and a table has no column for."""
    folder = models.write_data(tmp_path / "data", models.records(6, streams=("audio",)))
    sexes = dict(
        zip("123456", ("female", "female", "male", "female", "female", "male"), strict=True)
    )
    rows = [
        replace(row, attributes={"sex": sexes[row.speaker[-1]], "intensity": "strong"})
        for row in read_rows(folder)
    ]
    rows[1] = replace(rows[1], attributes={**rows[1].attributes, "copy_of": rows[0].id})
    write_rows(folder, rows)
    write_splits(folder, make_splits(rows, DEFAULT_RULE))
    tables = [tmp_path / "table.csv", tmp_path / "table.parquet"]
    written = open_data_folder(folder)
    values = np.random.default_rng(0).normal(size=(len(rows), 3)).astype(np.float32)
    for table in tables:
        clips = list(zip(written.rows, values, strict=True))
        origin = FeatureOrigin("clip_statistics")
        write_feature_table(table, ["a", "b", "c"], clips, written, origin)
    recipe, out = registry.load("recipes", "statistics-linear"), tmp_path / "out"
    data = [open_data_folder(folder), *(open_feature_table(path, RATE_HZ) for path in tables)]
    plans = [plan_crossval(recipe, [], one, "3", 1, out, num_validation_speakers=1) for one in data]
    assert [fold.test for fold in plans[0].folds] == [
        ("toy/01", "toy/05"),
        ("toy/02", "toy/03"),
        ("toy/04", "toy/06"),
    ]
    facts = [{row.id: row.attributes for row in plan.rows} for plan in plans]
    assert rows[1].id not in facts[0]  # a copy trains and is never scored
    for plan, known in zip(plans[1:], facts[1:], strict=True):
        assert plan.folds == plans[0].folds
        assert known == facts[0]


def test_parquet_holds_the_same(data: Path, table: Path, tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    assert run("features", "--data", data, "--out", path) == EXIT_OK
    a, b = open_feature_table(table, RATE_HZ), open_feature_table(path, RATE_HZ)
    assert (a.names, [r.id for r in a.rows]) == (b.names, [r.id for r in b.rows])
    assert a.splits.parts == b.splits.parts
    np.testing.assert_array_equal(a.values, b.values)


def test_trained_without_the_corpus_it_answers_for_recordings(
    data: Path, table: Path, tmp_path: Path
) -> None:
    """The run trained on the table scores the same on the table and on the records behind it."""
    out = tmp_path / "run"
    words = ("--recipe", "statistics-resnet1d", "--epochs", "2", "--batch-size", "16", "--out", out)
    assert run("train", *words, "--data", table) == EXIT_OK
    scores = []
    for source in (table, data):
        there = tmp_path / source.name
        assert run("evaluate", "--run", out, "--data", source, "--out", there) == EXIT_OK
        with open(there / "predictions.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        scores.append({r["id"]: [float(r[name]) for name in LABELS] for r in rows})
    assert scores[0].keys() == scores[1].keys()
    for clip, probabilities in scores[0].items():
        np.testing.assert_allclose(probabilities, scores[1][clip], atol=1e-4)
    before = models.history(out)
    assert run("train", *words, "--data", table, "--resume", "--epochs", "3") == EXIT_OK
    assert models.history(out)[:2] == [
        {**r, "best": models.history(out)[i]["best"]} for i, r in enumerate(before)
    ]


def test_train_and_features_refuse_what_does_not_go_with_tables(
    data: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ("--out", tmp_path / "run")
    for words, told in (
        (
            ("--recipe", "relu-cnn-audio", "--set", "transforms=", "--data", table),
            "no table of numbers",
        ),
        (
            ("--recipe", "statistics-resnet1d", "--data", tmp_path / "no.csv"),
            "no.csv: no such file",
        ),
        (
            ("--recipe", "statistics-resnet1d", "--set", "transforms=noise", "--data", table),
            "they change",
        ),
        (
            ("--recipe", "statistics-resnet1d", "--data", table, "--data", data),
            "records beside feature",
        ),
    ):
        assert run("train", *words, *out) == EXIT_FAILURE
        assert told in error_line(capsys.readouterr().err)
    assert run("features", "--data", data) == EXIT_USAGE
    assert run("features", "--data", data, "--out", tmp_path / "t.xls") == EXIT_FAILURE
    assert not (tmp_path / "t.xls").exists()


def test_spectrogram_pictures(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "pictures"
    assert run("features", "--data", data, "--spectrograms", out) == EXIT_OK
    with open(out / "pictures.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 2 * len(LABELS)
    picture = models.picture(out / rows[0]["picture"])[:, :, 0]
    assert picture.shape == (128, 282)
    # The sine of the last label is higher than that of the first: its line lies further up.
    lines = {}
    for r in rows:
        picture = models.picture(out / r["picture"])[:, :, 0]
        lines[r["label"]] = int(picture[:, 10:40].mean(axis=1).argmax())
    assert lines[LABELS[0]] > lines[LABELS[3]] > lines[LABELS[-1]]
