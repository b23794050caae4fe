"""Fitting fusions on made outputs of streams; `fusion=auto` and what it leaves in the run."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from affectstream.core import registry
from affectstream.core.errors import EXIT_OK
from affectstream.modeling.data.array_dataset import Arrays
from affectstream.modeling.data.subset import Subset
from affectstream.modeling.data.training_data import TrainingData
from affectstream.modeling.metrics.classification import accuracies
from affectstream.modeling.recipes.recipe import FusionRecipe, TrainingSettings
from affectstream.modeling.runs import checkpoints
from affectstream.modeling.runs.run_folder import read_run
from affectstream.modeling.training import auto_fusion, train_fusion, trainer
from affectstream.modeling.training.auto_fusion import remove_candidates
from affectstream.modeling.training.fit_fusion import (
    StreamOutputs,
    build_fusion,
    fit_fusion,
    fused_logits,
)
from affectstream.modeling.training.training_steps import TrainOptions
from affectstream.preprocessing.labels import LabelSet
from tests.support.models import clip_row_of, history, record, run, weights

pytestmark = pytest.mark.slow

LABELS = LabelSet(("angry", "happy", "neutral", "sad"))
DIM = 6
TRAINED = ("dense", "gated", "cross_attention")
RECIPE = FusionRecipe(
    name="made",
    source="this test",
    fusion="auto",
    modality_dropout=0.2,
    training=TrainingSettings(epochs=8, learning_rate=0.02),
)


# === Made streams ===


def outputs(
    names: tuple[str, ...], kind: str, num_clips: int = 160, missing: float = 0.0
) -> StreamOutputs:
    """What made streams say.

    Args:
      kind: "halves": each stream tells one bit of the class, so that none alone knows it.
        "xor": the same, but a stream's logits are silent: only the embeddings hold the bits.
        "one": the first stream knows the class, the others speak loudly and at random.
      missing: share of rows without a stream, for each.
    """
    train, validation_data = (_made(names, kind, num_clips, missing, seed) for seed in (1, 2))
    return StreamOutputs(names, train, validation_data, np.arange(num_clips))


def _made(names: tuple[str, ...], kind: str, num_clips: int, missing: float, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    truth = rng.integers(4, size=num_clips)
    arrays: Arrays = {}
    for place, name in enumerate(names):
        bit = (truth >> (place % 2)) & 1
        if kind == "one":
            spoken = truth if place == 0 else rng.integers(4, size=num_clips)
            wrong = rng.random(num_clips) < 0.15
            spoken = np.where(wrong, rng.integers(4, size=num_clips), spoken)
            logits = np.eye(4)[spoken] * (2.0 if place == 0 else 9.0)
            embedding = np.eye(4, DIM)[spoken]
        else:
            fits = ((np.arange(4)[None] >> (place % 2)) & 1) == bit[:, None]
            logits = 2.0 * fits * (kind == "halves")
            embedding = np.outer(2.0 * bit - 1, np.ones(DIM) * (np.arange(DIM) % 2))
        there = rng.random(num_clips) >= missing
        arrays[f"{name}_logits"] = logits + rng.normal(0, 0.4, logits.shape)
        arrays[f"{name}_embedding"] = embedding + rng.normal(0, 0.3, embedding.shape)
        arrays[f"{name}_present"] = there.astype(float)
        for what in ("logits", "embedding"):
            arrays[f"{name}_{what}"][~there] = np.nan
    # Keras hands the outputs of a model back in the order of the alphabet.
    arrays = {name: arrays[name].astype(np.float32) for name in sorted(arrays)}
    return arrays | {"truth": truth}


def data_for_fold(made: StreamOutputs) -> TrainingData:
    """What the loss needs to know of the records: their labels."""
    one = clip_row_of(record("01", "sad"), "00001.tfrecord")
    parts = {}
    for split, arrays in (("train", made.train), ("validation", made.validation_data)):
        rows = tuple(dataclasses.replace(one, label=LABELS.labels[i]) for i in arrays["truth"])
        parts[split] = Subset((), (rows,))
    return TrainingData((), LABELS, parts, (), False)


def fit(name: str, made: StreamOutputs, out: Path, **changes: Any) -> float:
    """Validation UAR of one fusion."""
    recipe = dataclasses.replace(RECIPE, fusion=name, **changes)
    fusion = build_fusion(recipe, 4, dict.fromkeys(made.names, DIM))
    fusion, _ = fit_fusion(recipe, fusion, data_for_fold(made), made, TrainOptions(out))
    guesses = fused_logits(fusion, made.validation_data).argmax(axis=1)
    return accuracies(made.validation_data["truth"], guesses)["uar"]


def choose(made: StreamOutputs, out: Path, **options: Any) -> auto_fusion.SelectedFusion:
    recipe = RECIPE.with_training(epochs=options.pop("epochs", RECIPE.training.epochs))
    return auto_fusion.choose_fusion(
        recipe, data_for_fold(made), made, TrainOptions(out, **options)
    )


def table(out: Path) -> dict[str, dict[str, str]]:
    with open(out / "fusions.csv", newline="", encoding="utf-8") as file:
        return {row["fusion"]: row for row in csv.DictReader(file)}


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """Only some fusions compete, so that a test is quick."""
    names = ("sum", "best_stream", "dense", "gated")
    rows = {name: registry.entry("fusions", name) for name in names}
    monkeypatch.setitem(registry.TABLE, "fusions", rows)
    return names


# === One fusion ===


def alone(made: StreamOutputs) -> float:
    """UAR of the best single stream, where no row lacks it."""
    truth = made.validation_data["truth"]
    return max(
        accuracies(truth, made.validation_data[f"{s}_logits"].argmax(axis=1))["uar"]
        for s in made.names
    )


@pytest.mark.parametrize("name", ["sum", "calibrated_late", *TRAINED])
def test_two_halves_make_a_whole(name: str, tmp_path: Path) -> None:
    made = outputs(("audio", "video"), "halves")
    assert alone(made) < 0.6
    assert fit(name, made, tmp_path) > 0.8


@pytest.mark.parametrize("name", TRAINED)
def test_embeddings_tell_what_logits_do_not(name: str, tmp_path: Path) -> None:
    made = outputs(("audio", "video", "text"), "xor", missing=0.1)
    assert fit("sum", made, tmp_path) < 0.4
    assert fit(name, made, tmp_path) > 0.7


def test_hiding_streams_in_training_helps_where_one_is_missing(tmp_path: Path) -> None:
    """A trained fusion still says the bit it hears when the other stream is gone."""
    made = outputs(("audio", "video"), "halves")
    gone = {
        **made.validation_data,
        "video_present": np.zeros_like(made.validation_data["video_present"]),
    }
    losses = {}
    for share in (0.0, 0.5):
        recipe = dataclasses.replace(RECIPE, fusion="dense", modality_dropout=share)
        fusion = build_fusion(recipe, 4, dict.fromkeys(made.names, DIM))
        place = TrainOptions(tmp_path / str(share))
        fusion, _ = fit_fusion(recipe, fusion, data_for_fold(made), made, place)
        said = softmax(fused_logits(fusion, gone), axis=1)
        losses[share] = -np.log(said[np.arange(len(said)), gone["truth"]]).mean()
    assert losses[0.5] < losses[0.0]
    assert losses[0.5] < 1.0  # knowing one bit of two is log 2 = 0.69


def test_streams_are_calibrated_in_their_own_order(tmp_path: Path) -> None:
    made = outputs(("video", "text", "audio"), "one")
    recipe = dataclasses.replace(RECIPE, fusion="best_stream")
    fusion = build_fusion(recipe, 4, dict.fromkeys(made.names, DIM))
    fusion, _ = fit_fusion(recipe, fusion, data_for_fold(made), made, TrainOptions(tmp_path))
    assert fusion.get_layer("best").settings(made.names)["order"][0] == "video"


# === The choice ===


def test_the_choice_is_the_best_on_validation(few: tuple[str, ...], tmp_path: Path) -> None:
    made = outputs(("audio", "video"), "xor")
    choice = choose(made, tmp_path)
    rows = table(tmp_path)
    assert set(rows) == {*few, "audio alone", "video alone"}
    (chosen,) = (row for row in rows.values() if row["chosen"] == "True")
    assert chosen["fusion"] in ("dense", "gated")
    assert float(chosen["val_uar"]) == max(float(row["val_uar"]) for row in rows.values())
    assert f"fusion {chosen['fusion']} is the best of 4 on validation" in choice.note
    guesses = fused_logits(choice.fusion, made.validation_data).argmax(axis=1)
    score = accuracies(made.validation_data["truth"], guesses)
    assert score["uar"] == pytest.approx(float(chosen["val_uar"]))
    assert int(rows["sum"]["num_trainable_params"]) == 0
    assert int(rows["dense"]["num_trainable_params"]) > 500
    # The run folder shows the epochs of the chosen one.
    assert len(history(tmp_path)) == len(choice.history.rows) == RECIPE.training.epochs
    assert int(chosen["best_epoch"]) == choice.history.best_epoch
    assert any((tmp_path / "tensorboard").iterdir())
    remove_candidates(tmp_path)
    assert not (tmp_path / "candidates").exists()


@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_never_worse_than_the_best_stream(
    missing: float, few: tuple[str, ...], tmp_path: Path
) -> None:
    """Two of three streams mislead, and training is far too short to find that out."""
    made = outputs(("text", "audio", "video"), "one", num_clips=80, missing=missing)
    choose(made, tmp_path, epochs=1)
    rows = table(tmp_path)
    (chosen,) = (row for row in rows.values() if row["chosen"] == "True")
    singles = {name: float(r["val_uar"]) for name, r in rows.items() if name.endswith("alone")}
    assert max(singles, key=lambda name: singles[name]) == "text alone"
    assert float(rows["best_stream"]["val_uar"]) >= singles["text alone"]
    assert float(chosen["val_uar"]) >= singles["text alone"]
    assert float(rows["sum"]["val_uar"]) < singles["text alone"]


def test_of_equals_the_one_with_the_lower_loss() -> None:
    rows = [
        auto_fusion.Candidate("a", 0.5, 0.5, 1.2),
        auto_fusion.Candidate("b", 0.5 + 1e-12, 0.4, 1.3),
        auto_fusion.Candidate("c", 0.4, 0.6, 0.1),
    ]
    assert max(rows, key=lambda row: row.ranking_key).fusion == "a"


def test_interrupted_and_resumed(
    few: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No epoch is trained twice, and the outcome is that of a run left in peace."""
    made = outputs(("audio", "video"), "xor", num_clips=64)
    trained: list[str] = []
    stop_after = [5]
    train_epoch = trainer.Trainer.train_epoch

    def counted(self: trainer.Trainer, *args: Any) -> dict[str, Any]:
        if len(trained) == stop_after[0]:
            raise KeyboardInterrupt
        assert isinstance(self.recipe, FusionRecipe)
        trained.append(self.recipe.fusion)
        return train_epoch(self, *args)

    monkeypatch.setattr(trainer.Trainer, "train_epoch", counted)
    with pytest.raises(KeyboardInterrupt):
        choose(made, tmp_path / "broken", epochs=3)
    assert trained == ["dense"] * 3 + ["gated"] * 2
    assert set(table(tmp_path / "broken")) == {
        "audio alone",
        "video alone",
        "sum",
        "best_stream",
        "dense",
    }
    stop_after[0] = 99
    resumed = choose(made, tmp_path / "broken", epochs=3, resume=True)
    assert trained == ["dense"] * 3 + ["gated"] * 3
    peaceful = choose(made, tmp_path / "whole", epochs=3)
    assert table(tmp_path / "broken") == table(tmp_path / "whole")
    assert resumed.note == peaceful.note
    for mine, theirs in zip(resumed.fusion.weights, peaceful.fusion.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(mine), np.asarray(theirs))


# === The command ===


def test_auto_from_the_command_line(
    toy_data: Path,
    audio_run: Path,
    video_run: Path,
    few: tuple[str, ...],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "run"
    words = ("--recipe", "auto", "--audio-run", audio_run, "--video-run", video_run, "--out", out)
    assert run("train", *words, "--epochs", 2) == EXIT_OK
    said = capfd.readouterr()
    rows = table(out)
    (chosen,) = (name for name, row in rows.items() if row["chosen"] == "True")
    assert f"note: fusion {chosen} is the best of 4 on validation" in said.out
    assert "video alone" in said.err
    info = read_run(out)
    assert info.finished
    assert any(f"fusion {chosen} is the best of 4" in note for note in info.notes)
    assert info.scores["val_uar"] == pytest.approx(float(rows[chosen]["val_uar"]))
    singles = [float(row["val_uar"]) for name, row in rows.items() if name.endswith("alone")]
    assert info.scores["val_uar"] >= max(singles)
    assert not (out / "candidates").exists()
    # Whole and usable, and finished is finished.
    assert run("evaluate", "--run", out, "--data", toy_data, "--split", "validation") == EXIT_OK
    before = weights(out / "best.keras")
    assert run("train", *words, "--epochs", 2, "--resume") == EXIT_OK
    after = weights(out / "best.keras")
    assert all((before[name] == after[name]).all() for name in before)


def test_auto_without_paired_data(
    audio_run: Path,
    video_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(train_fusion, "common_folders", lambda infos: [])
    recipe = dataclasses.replace(RECIPE, name="auto")
    runs = {"audio": audio_run, "video": video_run}
    info = train_fusion.train_fusion(recipe, runs, [], TrainOptions(tmp_path / "run"))
    assert "auto is calibrated_late here" in capfd.readouterr().err
    assert isinstance(info.recipe, FusionRecipe)
    assert info.recipe.fusion == "calibrated_late"
    assert info.notes[0] == "fused without paired data"
    whole = checkpoints.load_model(tmp_path / "run" / "best.keras")
    assert (
        whole.get_layer("fusion").get_layer("late").settings(("audio", "video"))["sharpness"] == 2
    )
