"""Cross-validation of fusions: validation speakers, streams alone and only, streams used again."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, UserError
from affectstream.modeling.crossval import task
from affectstream.modeling.crossval.folds import Fold, make_folds, splits_of_fold
from affectstream.modeling.evaluation import evaluate
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.runs.run_folder import read_run
from affectstream.modeling.training import train_stream
from affectstream.preprocessing.dataset.data_folder import ClipRow, DataFolder, open_data_folder
from affectstream.preprocessing.records.record import Record
from tests.modeling.crossval.test_crossval import HERE, clip, speakers
from tests.support import models

STREAMS = ("audio", "text")
WORDS = (
    *(
        "crossval",
        "--folds",
        3,
        "--seeds",
        1,
        "--stream-recipe",
        "tfidf-text",
        "--stream-recipe",
        "relu-cnn-audio",
    ),
    *models.settings("text.min_df=1", "text.learning_rate=0.05"),
    *models.settings("audio.epochs=1", "text.epochs=2", "audio.transforms="),
    *models.settings("audio.features=speech_80", "audio.embedding_dim=4"),
)
FUSION = "late-fusion"


# === Validation speakers ===


def number(name: str) -> int:
    return int(name.split("/")[1])


def speakers_of_parts(rows: list[ClipRow], fold: Fold, count: int) -> dict[str, set[str]]:
    speaker = {row.id: row.speaker for row in rows}
    parts = splits_of_fold(rows, fold, count).parts
    return {name: {speaker[one] for one in ids} for name, ids in parts.items()}


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_some_of_the_next_fold_validate_and_its_others_train(count: int) -> None:
    rows = speakers(20)
    whole, made = make_folds(rows, "5", HERE), make_folds(rows, "5", HERE, count)
    assert [fold.test for fold in made] == [fold.test for fold in whole]
    for fold, following in zip(made, [*whole[1:], whole[0]], strict=True):
        assert len(fold.validation) == count
        assert set(fold.validation) <= set(following.test)
        men = sum(number(name) % 2 for name in fold.validation)
        assert abs(2 * men - count) <= 1  # sexes in turn
        parts = speakers_of_parts(rows, fold, 5)
        assert parts["test"] == set(fold.test)
        assert parts["validation"] == set(fold.validation)
        assert parts["train"] >= set(following.test) - set(fold.validation)
        assert sum(map(len, parts.values())) == 20 == len(set().union(*parts.values()))
    if count == 4:
        assert made == whole


def test_one_sex_alone_still_fills_the_count() -> None:
    rows = [clip(str(i), 0, "male") for i in range(1, 7)]
    assert [fold.validation for fold in make_folds(rows, "3", HERE, 1)] == [
        ("toy/2",),
        ("toy/3",),
        ("toy/1",),
    ]
    unknown = [clip(str(i)) for i in range(1, 7)]
    assert all(len(fold.validation) == 2 for fold in make_folds(unknown, "3", HERE, 2))


def test_more_validation_speakers_than_a_fold_has() -> None:
    with pytest.raises(
        UserError, match="--validation-speakers 3: a fold has only 2; take 2 or"
    ) as e:
        make_folds(speakers(7), "3", HERE, 3)
    assert "\n" not in str(e.value)
    assert len(make_folds(speakers(4), "loso", HERE, 1)) == 4


def test_a_recording_of_two_speakers_of_a_fold_cannot_be_divided() -> None:
    """Who validates and who trains of the same fold must be as far apart as two folds."""
    rows = speakers(6)
    one, other = make_folds(rows, "3", HERE)[0].test
    assert make_folds(rows, "3", HERE, 1)
    shared = [
        replace(row, recording="same") if row.speaker in (one, other) else row for row in rows
    ]
    assert make_folds(shared, "3", HERE)  # whole folds are on one side
    told = "recording same in fold 1, under a speaker who validates and one who trains"
    with pytest.raises(UserError, match=told):
        make_folds(shared, "3", HERE, 1)


# === A fusion's streams ===


def records(streams: tuple[str, ...]) -> list[Record]:
    """Three speakers; one clip of each has no words. Other streams are as if never recorded."""
    made = models.records(3, num_takes=2, streams=STREAMS)
    if "audio" not in streams:
        made = [replace(r, waveform=np.zeros(0, np.int16), audio_hash="") for r in made]
    return [
        replace(r, transcript="") if "text" not in streams or "surprised-1" in r.id else r
        for r in made
    ]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("streams")
    return models.write_data(home / "data", records(STREAMS), synthetic=True)


@pytest.fixture(scope="module")
def crossed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crossed") / "out"
    assert models.run(*WORDS, "--recipe", FUSION, "--data", data, "--out", out) == EXIT_OK
    return out


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def of_fold(crossed: Path, data: Path, streams: tuple[str, ...] = STREAMS) -> DataFolder:
    """The data as the first fold sees it; without some streams where they are left out."""
    folder = open_data_folder(data)
    if "audio" not in streams or "text" not in streams:
        folder = open_data_folder(models.write_data(crossed / "bare", records(streams)))
    fold = Fold(**json.loads((crossed / "plan.json").read_text())["folds"][0])
    fold = Fold(fold.number, tuple(fold.test), tuple(fold.validation))
    return replace(folder, splits=splits_of_fold(folder.rows, fold, 3))


def probabilities(path: Path) -> dict[str, np.ndarray]:
    rows = table(path / "predictions.csv")
    return {row["id"]: np.array([float(row[name]) for name in models.LABELS]) for row in rows}


@pytest.mark.parametrize("only", STREAMS)
def test_a_fusion_given_one_stream_is_as_of_clips_without_the_other(
    only: str, crossed: Path, data: Path, tmp_path: Path
) -> None:
    home = tmp_path / "copy"
    shutil.copytree(crossed / "fold-1-seed-0", home / "run")
    shutil.copy(crossed / "plan.json", home)
    evaluate.evaluate(home / "run", [of_fold(home, data, (only,))], "test", tmp_path / "bare")
    bare = probabilities(tmp_path / "bare")
    given = probabilities(crossed / "fold-1-seed-0" / "only" / only)
    (left_out,) = set(STREAMS) - {only}
    other = probabilities(crossed / "fold-1-seed-0" / "only" / left_out)
    assert set(bare) == set(given) and len(bare) == (14 if only == "audio" else 13)
    for name, value in bare.items():
        np.testing.assert_allclose(given[name], value, atol=2e-6)
    both = set(bare) & set(other)
    assert max(np.abs(other[name] - bare[name]).max() for name in both) > 1e-2
    told = json.loads((crossed / "fold-1-seed-0" / "only" / only / "metrics.json").read_text())
    assert told["streams"] == [only]


def test_a_stream_alone_is_its_own_run(crossed: Path, data: Path, tmp_path: Path) -> None:
    shutil.copytree(crossed / "fold-1-seed-0-text", tmp_path / "run")
    evaluate.evaluate(tmp_path / "run", [of_fold(crossed, data)], "test", tmp_path / "out")
    ours = probabilities(tmp_path / "out")
    theirs = probabilities(crossed / "fold-1-seed-0" / "alone" / "text")
    assert set(ours) == set(theirs) and len(ours) == 13
    for name, value in ours.items():
        np.testing.assert_array_equal(theirs[name], value)


def test_the_report_has_a_row_for_each_stream(crossed: Path) -> None:
    found = json.loads((crossed / "crossval.json").read_text())
    told = [(one["kind"], one["stream"]) for one in found["per_stream"]]
    assert told == [(kind, stream) for kind in ("alone", "only") for stream in STREAMS]
    markdown = (crossed / "report.md").read_text()
    assert "## Streams" in markdown
    for one in found["per_stream"]:
        rows = [
            row
            for fold in (1, 2, 3)
            for row in table(
                crossed / f"fold-{fold}-seed-0" / one["kind"] / one["stream"] / "predictions.csv"
            )
        ]
        assert one["num_clips"] == len(rows)
        right = np.mean([row["label"] == row["predicted"] for row in rows])
        assert one["mean"]["wa"] == pytest.approx(right)
        name = {"alone": "{} alone, by its own model", "only": "fusion given {} only"}
        line = next(
            text
            for text in markdown.splitlines()
            if text.startswith(f"| {name[one['kind']].format(one['stream'])} |")
        )
        assert f"| {one['mean']['uar']:.3f} |" in line and line.endswith(f"| {len(rows)} |")


# === Streams of another crossval ===


def test_streams_of_another_crossval_are_used_not_trained(
    crossed: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a stream was trained")

    monkeypatch.setattr(task, "train_stream", never)
    before = {
        path: path.read_bytes() for path in crossed.glob("fold-*-seed-0-*/*") if path.is_file()
    }
    out = tmp_path / "out"
    for done in ("fold-2-seed-0", "fold-3-seed-0"):  # one pair is to do
        shutil.copytree(crossed / done, out / done)
    shutil.copy(crossed / "plan.json", out)
    words = (*WORDS, "--recipe", FUSION, "--data", data, "--reuse-streams", crossed, "--out", out)
    assert models.run(*words) == EXIT_OK
    assert not list(out.glob("fold-*-seed-0-*"))
    assert {path: path.read_bytes() for path in before} == before
    assert table(out / "predictions.csv") == table(crossed / "predictions.csv")
    parts = read_run(out / "fold-1-seed-0").stream_info
    assert parts["text"]["recipe"] == "tfidf-text"
    ours, theirs = (json.loads((p / "crossval.json").read_text()) for p in (out, crossed))
    assert ours["per_stream"] == theirs["per_stream"]


def test_streams_that_do_not_fit_are_refused(
    crossed: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: object, other: Path = crossed, recipe: str = FUSION) -> str:
        capfd.readouterr()
        new = tmp_path / f"new-{len(list(tmp_path.iterdir()))}"
        typed = (*WORDS, "--recipe", recipe, "--data", data, "--out", new, "--reuse-streams", other)
        assert models.run(*typed, *words) == EXIT_FAILURE
        return models.error_line(capfd.readouterr().err)

    assert "no crossval folder (no plan.json)" in refused(other=tmp_path / "nothing")
    changed = ("--set", "audio.epochs=3")
    assert f"--reuse-streams {crossed}: a crossval with another stream_recipes" in refused(*changed)
    # Two seeds, of which the other has one.
    line = refused("--seeds", 2)
    assert line.endswith("fold-1-seed-1-audio: not trained to its end; finish that crossval first")
    half = tmp_path / "half"
    shutil.copytree(crossed, half)
    info = json.loads((half / "fold-2-seed-0-text" / "run.json").read_text())
    path = half / "fold-2-seed-0-text" / "run.json"
    atomic_io.write_checksummed_json(path, {**info, "finished": False})
    assert "fold-2-seed-0-text: not trained to its end" in refused(other=half)
    plan = json.loads((half / "plan.json").read_text())
    plan["folds"][0]["validation"] = plan["folds"][0]["test"]
    atomic_io.write_checksummed_json(half / "plan.json", plan)
    assert "a crossval with another folds" in refused(other=half)

    capfd.readouterr()
    alone = ("crossval", "--recipe", "tfidf-text", "--data", data, "--out", tmp_path / "alone")
    assert models.run(*alone, "--folds", 3, "--reuse-streams", crossed) == EXIT_FAILURE
    assert "of a fusion only; tfidf-text is a stream" in models.error_line(capfd.readouterr().err)


# === Seeds of another crossval, averaged ===


@pytest.mark.usefixtures("no_training")
def test_the_seeds_of_another_crossval_are_averaged_not_trained(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    words = (
        *("crossval", "--recipe", "tfidf-text", "--folds", 3, "--data", data, "--epochs", 2),
        *models.settings("min_df=1", "learning_rate=0.05", "early_stopping_patience=0"),
    )
    seeds, out = tmp_path / "seeds", tmp_path / "out"
    assert models.run(*words, "--seeds", 2, "--out", seeds) == EXIT_OK

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a network was trained")

    monkeypatch.setattr(train_stream, "train_network", never)
    averaged = (*words, "--seeds", 1, "--reuse-ensemble", seeds, "--out", out)
    assert models.run(*averaged, "--set", "ensemble_size=2") == EXIT_OK
    rows = [table(seeds / f"fold-1-seed-{seed}" / "predictions.csv") for seed in (0, 1)]
    logs = [np.log([[float(row[name]) for name in models.LABELS] for row in read]) for read in rows]
    scales = [read_run(seeds / f"fold-1-seed-{s}").calibration.temperature for s in (0, 1)]
    own = read_run(out / "fold-1-seed-0")
    mean = (logs[0] * scales[0] + logs[1] * scales[1]) / 2 / own.calibration.temperature
    expected = np.exp(mean) / np.exp(mean).sum(axis=1, keepdims=True)
    got = table(out / "fold-1-seed-0" / "predictions.csv")
    assert [row["id"] for row in got] == [row["id"] for row in rows[0]]
    made = np.array([[float(row[name]) for name in models.LABELS] for row in got])
    np.testing.assert_allclose(made, expected, atol=1e-4)
    assert isinstance(own.recipe, StreamRecipe)
    assert own.recipe.ensemble_size == 2

    def refused(*more: object) -> str:
        capfd.readouterr()
        assert models.run(*averaged[:-1], tmp_path / "no", *more) == EXIT_FAILURE
        return capfd.readouterr().err

    assert "nothing is averaged; --set ensemble_size=N" in refused()
    told = refused("--set", "ensemble_size=3")
    assert "seed-2: not trained to its end" in told and "take fewer --seeds" in told
    assert "another recipe" in refused("--set", "ensemble_size=2", "--set", "l2=0.1")
    assert f"--reuse-ensemble {data}: no crossval folder" in refused(
        *("--set", "ensemble_size=2", "--reuse-ensemble", data)
    )
    assert not (tmp_path / "no").exists()
