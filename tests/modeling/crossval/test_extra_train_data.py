"""Cross-validation with another corpus that only trains."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from affectstream.core import registry
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK
from affectstream.modeling.crossval.config import plan_crossval
from affectstream.modeling.crossval.task import train_and_predict
from affectstream.preprocessing.dataset.data_folder import open_data_folder, read_rows
from tests.support import models

# What is tested stands in options, notes and files; what is learnt is of no matter.
pytestmark = pytest.mark.usefixtures("no_training")

WORDS = (
    *("crossval", "--recipe", "tfidf-text", "--set", "min_df=1", "--set", "learning_rate=0.05"),
    *("--folds", 3, "--epochs", 1, "--seeds", 1),
)


def other_corpus(folder: Path, streams: tuple[str, ...]) -> Path:
    """A speaker of another corpus, who says something of her own."""
    made = [
        replace(
            one,
            id=f"other/{one.id}",
            corpus="other",
            speaker="other/99",
            recording=f"other/{one.recording}",
            transcript=f"{one.transcript} elsewhere" if one.transcript else "",
            audio_hash=f"{number:032x}" if one.audio_hash else "",
        )
        for number, one in enumerate(models.records(1, streams=streams))
    ]
    return models.write_data(folder, made)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = models.records(3, streams=("text",))
    return models.write_data(tmp_path_factory.mktemp("words") / "data", made)


def test_it_trains_in_each_fold_and_is_never_scored(data: Path, tmp_path: Path) -> None:
    also, out = other_corpus(tmp_path / "other", ("text",)), tmp_path / "out"
    typed = (*WORDS, "--data", data, "--extra-train-data", also)
    assert models.run(*typed, "--out", out) == EXIT_OK
    with open(out / "predictions.csv", newline="", encoding="utf-8") as file:
        scored = [row["id"] for row in csv.DictReader(file)]
    assert sorted(scored) == sorted(row.id for row in read_rows(data))
    for fold in (1, 2, 3):
        info = json.loads((out / f"fold-{fold}-seed-0" / "run.json").read_text())
        assert "other/99" in info["train_footprint"]["speakers"]
        assert "other/99" not in info["validation_footprint"]["speakers"]
    found = json.loads((out / "crossval.json").read_text())
    assert [one["path"] for one in found["extra_train_data"]] == [str(also)]
    assert f"never scored: {also}" in (out / "report.md").read_text()


def test_a_crossval_with_it_is_another_one(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    also, out = other_corpus(tmp_path / "other", ("text",)), tmp_path / "out"
    assert models.run(*WORDS, "--data", data, "--out", out) == EXIT_OK
    capfd.readouterr()
    typed = (*WORDS, "--data", data, "--out", out, "--extra-train-data", also)
    assert models.run(*typed) == EXIT_FAILURE
    assert "holds a crossval with another extra_train_data" in models.error_line(
        capfd.readouterr().err
    )


def test_a_folder_that_adds_nothing_is_refused(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    silent = other_corpus(tmp_path / "other", ("audio",))
    typed = (*WORDS, "--data", data, "--out", tmp_path / "out", "--extra-train-data", silent)
    assert models.run(*typed) == EXIT_FAILURE
    told = models.error_line(capfd.readouterr().err)
    assert f"--extra-train-data {silent}: no clip has a label" in told and "leave it out" in told
    assert not (tmp_path / "out").exists()


def test_a_fusion_gives_it_to_the_streams_that_it_has(tmp_path: Path) -> None:
    """Sound of another corpus trains the sound; the fusion itself is fitted on the pairs."""
    data = models.write_data(tmp_path / "data", models.records(3, streams=("audio", "text")))
    also, out = other_corpus(tmp_path / "other", ("audio",)), tmp_path / "out"
    fusion = registry.load("recipes", "late-fusion")
    settings = {"lstm-audio": ["epochs=1"], "tfidf-text": ["epochs=1", "min_df=1"]}
    parts = [registry.load("recipes", n).with_settings(told) for n, told in settings.items()]
    given = open_data_folder(data), "3", 1, out
    crossval = plan_crossval(fusion, parts, *given, extra_train_data=[open_data_folder(also)])
    train_and_predict(crossval, crossval.folds[0], 0)
    heard, read, fused = (
        json.loads((out / f"fold-1-seed-0{stream}" / "run.json").read_text())["train_footprint"]
        for stream in ("-audio", "-text", "")
    )
    assert "other/99" in heard["speakers"]
    assert "other/99" not in read["speakers"]
    assert "other/99" in fused["speakers"], "what a part has seen, the fusion has seen"


def test_what_is_scored_must_not_train(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before anything is trained; so is a folder that is named twice."""
    typed = (*WORDS, "--data", data, "--out", tmp_path / "out", "--extra-train-data")
    assert models.run(*typed, data) == EXIT_FAILURE
    assert "speaker toy/01, toy/02, toy/03" in models.error_line(capfd.readouterr().err)
    also = other_corpus(tmp_path / "other", ("text",))
    assert models.run(*typed, also, "--extra-train-data", also) == EXIT_FAILURE
    assert "or another --extra-train-data, too" in models.error_line(capfd.readouterr().err)
    assert not (tmp_path / "out").exists()
