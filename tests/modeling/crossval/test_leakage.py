"""What leaking would have shown: folders of its own, stamped, and never in the baseline figures."""

from __future__ import annotations

import csv
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score

from affectstream.commands.crossval import LEAKAGE_CHOICES
from affectstream.core import atomic_io, registry
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, UserError
from affectstream.modeling.crossval import leakage
from affectstream.modeling.crossval.config import Crossval, data_for_fold, plan_crossval
from affectstream.modeling.crossval.leakage import (
    ALL,
    LEAKAGE_NOTES,
    LEAKAGE_SCENARIOS,
    choose_leakage_scenarios,
    standardise_by_speaker,
    train_speaker_normalised,
    with_leakage,
)
from affectstream.modeling.crossval.run import run_crossval
from affectstream.modeling.crossval.scores import pooled_scores
from affectstream.modeling.features.front_end import vector_names
from affectstream.modeling.recipes.recipe import Recipe, StreamRecipe
from affectstream.modeling.runs import run_folder
from affectstream.modeling.training import train_single, trainer
from affectstream.preprocessing.dataset.data_folder import open_data_folder, read_rows
from affectstream.preprocessing.dataset.feature_table import METADATA_COLUMNS, open_feature_table
from tests.support import models

LABELS = models.LABELS
WORDS = (
    *("--recipe", "tfidf-text", "--set", "min_df=1", "--set", "learning_rate=0.05", "--folds", 3),
    *("--epochs", 3, "--seeds", 1, "--validation-speakers", 1),
)
NAMED = ("--leakage-scenario", "random-split", "--leakage-scenario", "test-epoch")


def planned(name: str, data: Any, out: Path, *settings: str) -> Crossval:
    recipe: Recipe = registry.load("recipes", name)
    return plan_crossval(recipe.with_settings(settings), (), data, "3", 2, out)


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of four speakers, four takes."""
    made = models.records(4, num_takes=4, streams=("text",))
    return models.write_data(tmp_path_factory.mktemp("words") / "data", made, synthetic=True)


@pytest.fixture(scope="module")
def leaked(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Honest pairs, then two kinds of leak."""
    out = tmp_path_factory.mktemp("leaked") / "out"
    assert models.run("crossval", *WORDS, *NAMED, "--data", data, "--out", out) == EXIT_OK
    return out


# === Runs of their own ===


def test_the_command_offers_what_there_is() -> None:
    assert (*LEAKAGE_SCENARIOS, ALL) == LEAKAGE_CHOICES


@pytest.mark.parametrize("kind", ["random-split", "test-epoch"])
def test_each_clip_is_predicted_once_and_every_run_is_stamped(
    leaked: Path, data: Path, kind: str
) -> None:
    rows = table(leaked / f"leak-{kind}" / "predictions.csv")
    assert Counter(row["id"] for row in rows) == {row.id: 1 for row in read_rows(data)}
    for number in (1, 2, 3):
        run = leaked / f"leak-{kind}" / f"fold-{number}-seed-0"
        info = run_folder.read_run(run)
        assert info.finished and info.leak_allowed and LEAKAGE_NOTES[kind] in info.notes
        told = json.loads((run / "metrics.json").read_text())
        assert told["leak_allowed"] and LEAKAGE_NOTES[kind] in told["notes"]
        baseline = run_folder.read_run(leaked / run.name)
        assert not baseline.leak_allowed and not any("LEAK" in note for note in baseline.notes)


def test_random_split_trains_on_the_tested_speakers_but_not_on_the_tested_clips(
    leaked: Path,
) -> None:
    rows = table(leaked / "leak-random-split" / "predictions.csv")
    hands = set()
    for number in (1, 2, 3):
        run = f"fold-{number}-seed-0"
        info, baseline = (
            run_folder.read_run(path / run) for path in (leaked / "leak-random-split", leaked)
        )
        tested = [row for row in rows if row["fold"] == str(number)]
        assert {row["speaker"] for row in tested} <= info.train_footprint.speakers
        assert not {row["id"] for row in tested} & info.footprint.recordings
        hands.add(tuple(sorted(row["id"] for row in tested)))
        sizes = [len(i.validation_footprint.recordings) for i in (info, baseline)]
        assert sizes == [28, 28]
    assert len(hands) == 3 and max(map(len, hands)) - min(map(len, hands)) <= 1


def test_test_epoch_chooses_on_the_tested_and_trains_on_the_same(leaked: Path) -> None:
    plan = json.loads((leaked / "plan.json").read_text())
    for fold in plan["folds"]:
        run = f"fold-{fold['number']}-seed-0"
        info = run_folder.read_run(leaked / "leak-test-epoch" / run)
        assert info.validation_footprint.speakers == set(fold["test"])
        assert info.train_footprint == run_folder.read_run(leaked / run).train_footprint
        scored = json.loads((leaked / "leak-test-epoch" / run / "metrics.json").read_text())
        # The score that the epoch was chosen by is the score that is told.
        assert info.scores["val_uar"] == pytest.approx(scored["uar"])
        history = models.history(leaked / "leak-test-epoch" / run)
        assert info.scores["val_uar"] == max(float(row["val_uar"]) for row in history)


def test_a_recipe_that_keeps_the_last_epoch_chooses_one_where_that_is_the_fault(
    data: Path, tmp_path: Path
) -> None:
    folder = open_data_folder(data)
    crossval = planned(
        "tfidf-text", folder, tmp_path, "keep_epoch=last", "early_stopping_patience=0", "min_df=1"
    )
    assert isinstance(crossval.recipe, StreamRecipe)
    crossval = replace(crossval, stream_recipes=(crossval.recipe,), reuse_streams=tmp_path)
    assert with_leakage(crossval, "random-split").recipe.training.keep_epoch == "last"
    leak = with_leakage(crossval, "test-epoch")
    assert (
        leak.recipe.training.keep_epoch,
        leak.stream_recipes[0].training.keep_epoch,
        leak.num_seeds,
    ) == (
        "best",
        "best",
        1,
    )
    assert leak.reuse_streams is None
    assert leak.out == tmp_path / "leak-test-epoch"


def test_copies_train_only_in_a_random_split_too(data: Path, tmp_path: Path) -> None:
    folder = open_data_folder(data)
    copies = [replace(r, id=f"{r.id}+", attributes={"copy_of": r.id}) for r in folder.rows]
    crossval = planned("tfidf-text", replace(folder, rows=(*folder.rows, *copies)), tmp_path)
    leak = with_leakage(crossval, "random-split")
    for fold in leak.folds:
        parts = data_for_fold(leak, fold).splits.parts
        train = set(parts["train"])
        clips = {name for name in train if not name.endswith("+")}
        assert train == clips | {f"{name}+" for name in clips}
        assert not any(name.endswith("+") for s in ("validation", "test") for name in parts[s])


@pytest.mark.usefixtures("no_training")
def test_the_streams_of_a_fusion_have_the_same_fault(tmp_path: Path) -> None:
    made = models.records(3, streams=("video", "text"))
    data = open_data_folder(models.write_data(tmp_path / "data", made))
    settings = {"tfidf-text": ("min_df=1", "epochs=2"), "elu-cnn-video": ("epochs=1",)}
    parts = [registry.load("recipes", n).with_settings(s) for n, s in settings.items()]
    fusion = registry.load("recipes", "late-fusion")
    crossval = plan_crossval(fusion, parts, data, "3", 1, tmp_path / "out")
    leak = with_leakage(replace(crossval, folds=crossval.folds[:1]), "test-epoch")
    rows = run_crossval(leak)
    assert {row["speaker"] for row in rows} == set(crossval.folds[0].test)
    pair = leak.out / "fold-1-seed-0"
    for run in (pair, *(pair.with_name(f"{pair.name}-{s}") for s in ("text", "video"))):
        info = run_folder.read_run(run)
        assert info.leak_allowed and LEAKAGE_NOTES["test-epoch"] in info.notes
        assert info.validation_footprint.speakers == set(crossval.folds[0].test)
    for kind in ("alone/text", "only/video"):
        assert json.loads((pair / kind / "metrics.json").read_text())["leak_allowed"]


# === The report ===


def test_the_table_stands_beside_honest_figures_that_know_nothing_of_it(leaked: Path) -> None:
    found = json.loads((leaked / "crossval.json").read_text())
    baseline = table(leaked / "predictions.csv")
    scores = pooled_scores(baseline, LABELS)
    assert found["mean"] == scores["mean"] and found["num_clips"] == len(baseline)
    assert not any("LEAK" in note for pair in found["fold_runs"] for note in pair["notes"])
    assert [one["protocol"] for one in found["leaks"]] == ["baseline", "random-split", "test-epoch"]
    report = (leaked / "report.md").read_text()
    assert "## What leaking would have shown" in report
    for one in found["leaks"]:
        kind = one["protocol"]
        rows = (
            baseline if kind == "baseline" else table(leaked / f"leak-{kind}" / "predictions.csv")
        )
        uar = balanced_accuracy_score(*([row[k] for row in rows] for k in ("label", "predicted")))
        assert one["uar"] == pytest.approx(uar)
        assert one["uar_difference"] == pytest.approx(uar - scores["mean"]["uar"])
        line = f"| {kind} | {uar:.3f} | {one['wa']:.3f} | {one['uar_difference']:+.3f} |"
        assert line in report
    assert "What leaking would have shown" in (leaked / "report.html").read_text()


def test_the_same_command_again_trains_nothing(
    leaked: Path,
    data: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    before = json.loads((leaked / "crossval.json").read_text())

    def never(*_: object) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(trainer.Trainer, "train_epoch", never)
    words = ("crossval", *WORDS, "--leakage-scenario", "all", "--data", data, "--out", leaked)
    assert models.run(*words) == EXIT_OK
    told = capfd.readouterr()
    assert told.err.count("done before") == 9
    assert "speaker-norm: not offered for recipe tfidf-text: of sound only" in told.err
    assert "UAR with the leak random-split" in told.out
    assert json.loads((leaked / "crossval.json").read_text())["leaks"] == before["leaks"]


def test_a_folder_of_leaks_is_not_taken_for_an_honest_one(
    leaked: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("crossval", *WORDS, "--data", data, "--out")
    assert models.run(*words, leaked / "leak-test-epoch") == EXIT_FAILURE
    told = models.error_line(capfd.readouterr().err)
    assert "another" in told and "leak" in told.split("another", 1)[1]
    assert (
        models.run(*words, tmp_path / "new", "--leakage-scenario", "speaker-norm") == EXIT_FAILURE
    )
    assert "not offered for recipe tfidf-text" in models.error_line(capfd.readouterr().err)
    assert not (tmp_path / "new").exists()


# === By speaker ===


def test_standardising_by_speaker_takes_away_what_is_of_the_speaker_only() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, (6, 4, 5)).astype(np.float32)
    speakers = np.array(["a", "b", "a", "b", "a", "b"])
    values[speakers == "b"] *= 7.0
    values[:, 2] = 5.0
    standardise_by_speaker(values, speakers, axis=1)
    for name in "ab":
        own = values[speakers == name]
        assert own.mean(axis=(0, 2)) == pytest.approx(0, abs=1e-5)
        assert own.std(axis=(0, 2)) == pytest.approx([1, 1, 0, 1], abs=1e-5)


def test_frames_that_do_not_count_become_zeros_and_are_not_counted() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(3.0, 2.0, (4, 6, 2))
    mask = np.arange(6) < np.array([[6], [3], [2], [0]])
    values[~mask] = 1e6
    standardise_by_speaker(values, np.array(["a", "a", "a", "silent"]), 2, mask)
    assert values[:3][mask[:3]].mean(axis=0) == pytest.approx(0, abs=1e-9)
    assert not values[:3][~mask[:3]].any()


def test_a_table_whose_speakers_hide_the_label_is_read_by_speaker(tmp_path: Path) -> None:
    """Speaker offsets, far larger than what tells the label, mislead the baseline model only."""
    names = vector_names(registry.load("features", "clip_statistics"), "clip_statistics")
    rng, cells = np.random.default_rng(4), []
    for one in models.records(4, num_takes=3, streams=("audio",)):
        values = np.resize(2.0 * np.eye(len(LABELS))[LABELS.index(one.label)], len(names))
        values += rng.normal(0, 0.2, len(names))
        offset = np.random.default_rng([*one.speaker.encode()]).normal(0, 20, len(names))
        known = (one.id, one.speaker, one.recording, one.label, "")
        cells.append(
            dict(zip((*METADATA_COLUMNS, *names), (*known, *(values + offset)), strict=True))
        )
    atomic_io.write_csv(tmp_path / "data.csv", (*METADATA_COLUMNS, *names), cells)
    data = open_feature_table(tmp_path / "data.csv", 16_000)
    settings = ("epochs=6", "learning_rate=0.01", "batch_size=16")
    crossval = planned("statistics-linear", data, tmp_path / "out", *settings)
    crossval = replace(crossval, num_seeds=1, folds=crossval.folds[:1])
    baseline = run_crossval(crossval)
    assert choose_leakage_scenarios(crossval, ["speaker-norm"]) == ("speaker-norm",)
    leaked = leakage.run_leakage_scenarios(crossval, ("speaker-norm",))
    found = leakage.leakage_scores(baseline, leaked, LABELS)
    assert found[0]["uar"] < 0.6 < 0.9 < found[1]["uar"]
    info = run_folder.read_run(tmp_path / "out" / "leak-speaker-norm" / "fold-1-seed-0")
    assert info.leak_allowed and LEAKAGE_NOTES["speaker-norm"] in info.notes
    assert info.validation_footprint.speakers == set(crossval.folds[0].validation)


def test_kept_features_of_records_are_read_by_speaker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = models.records(3, streams=("audio",))
    data = open_data_folder(models.write_data(tmp_path / "data", made))
    settings = ("cached_augmentations=2", "transforms=noise", "epochs=1", "batch_size=8")
    crossval = with_leakage(
        planned("relu-cnn-audio", data, tmp_path / "out", *settings), "speaker-norm"
    )
    fed: list[Any] = []
    predict = leakage.predict_logits

    def kept(model: Any, batches: Any) -> Any:
        fed.append(batches)
        return predict(model, batches)

    for module in (train_single, leakage):
        monkeypatch.setattr(module, "predict_logits", kept)
    fold = crossval.folds[0]
    train_speaker_normalised(crossval, fold, 0)
    assert len(fed) == 2  # validation, then test, of one speaker each
    for batches in fed:
        values = np.concatenate([inputs["features"] for inputs, *_ in batches()])
        assert values.mean(axis=(0, 2, 3)) == pytest.approx(0, abs=0.01)
        assert values.std(axis=(0, 2, 3)) == pytest.approx(1, abs=0.01)
    rows = table(crossval.fold_run(fold, 0) / "predictions.csv")
    assert {row["speaker"] for row in rows} == set(fold.test) and len(rows) == len(LABELS)
    sums = [sum(float(row[name]) for name in LABELS) for row in rows]
    assert sums == pytest.approx([1] * len(rows), abs=1e-5)
    assert (crossval.fold_run(fold, 0) / "done.json").is_file()


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("relu-cnn-audio", "it caches no features"),
        ("vgg19-audio", "its features spectrogram_image are not standardised"),
        ("elu-cnn-video", "of sound only, it is of video"),
    ],
)
def test_by_speaker_is_refused_in_one_line_where_there_is_no_way(
    tmp_path: Path, name: str, why: str
) -> None:
    made = models.records(3)
    data = open_data_folder(models.write_data(tmp_path / "data", made))
    with pytest.raises(UserError) as error:
        choose_leakage_scenarios(planned(name, data, tmp_path), ["speaker-norm"])
    assert f"not offered for recipe {name}: {why}" in str(error.value)
    assert choose_leakage_scenarios(planned(name, data, tmp_path), ["all"]) == LEAKAGE_SCENARIOS[:2]
