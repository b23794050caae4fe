"""`train` on words: alone, with other streams, and what is said where words tell nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK
from affectstream.modeling.data.training_data import training_data
from affectstream.modeling.encoders.text import bert
from affectstream.modeling.evaluation.token_model import vocabulary_of
from affectstream.modeling.models.stream_model import fitted_front_end
from affectstream.modeling.recipes.text import TEXT_CNN
from affectstream.modeling.runs.checkpoints import load_model
from affectstream.modeling.training.train_single import open_training_datasets
from affectstream.modeling.training.training_steps import TrainOptions
from affectstream.preprocessing.dataset.data_folder import DataFolder, open_data_folder
from tests.modeling.training.test_trainer import assert_same_run, interrupt_after
from tests.support.models import (
    LABELS,
    error_line,
    history,
    record,
    records,
    run,
    settings,
    train,
    write_data,
)

FIXED = ("Kids are talking by the door", "Dogs are sitting by the door")


CNN = settings("token_dim=16", "filters=16", "embedding_dim=16", "max_tokens=16")
TINY = {
    "text-cnn": CNN,
    "text-transformer": settings("token_dim=16", "num_heads=2", "num_layers=1", "min_count=1"),
    "tfidf-text": settings("min_df=2"),
    "tinybert-text": settings("weights=none", "vocabulary_size=150", "max_tokens=24"),
}
LEARNS = ("--epochs", 8, "--batch-size", 4, *settings("learning_rate=0.02", "transforms="))


def told(run_folder: Path) -> dict[str, Any]:
    return json.loads((run_folder / "run.json").read_text())


def refused(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    capfd.readouterr()
    assert run("train", *words) == EXIT_FAILURE
    return error_line(capfd.readouterr().err)


@pytest.fixture(scope="module")
def text_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """84 texts of 3 speakers, nothing else."""
    folder = tmp_path_factory.mktemp("text") / "data"
    return write_data(folder, records(num_takes=4, streams=("text",)))


@pytest.fixture(scope="module")
def text_run(text_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "text"
    assert train(out, *CNN, *LEARNS, stream="text", data=text_data) == EXIT_OK
    return out


@pytest.fixture(scope="module")
def fixed_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sound that tells the label, and two sentences that do not."""
    made = [
        record(f"{speaker:02d}", label, take, streams=("audio", "text"), transcript=FIXED[take])
        for speaker in (1, 2, 3)
        for label in LABELS
        for take in (0, 1)
    ]
    return write_data(tmp_path_factory.mktemp("fixed") / "data", made)


# === Words alone ===


@pytest.mark.parametrize("recipe", TINY)
def test_each_recipe_of_words_trains(
    recipe: str, text_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bert, "TINYBERT", (2, 12, 2, 16))
    out = tmp_path / "run"
    assert train(out, "--recipe", recipe, *TINY[recipe], stream="text", data=text_data) == EXIT_OK
    info = told(out)
    assert info["finished"]
    assert (info["streams"], info["recipe"]["name"]) == (["text"], recipe)
    assert len(history(out)) == 2
    assert {path.name for path in out.iterdir()} >= {"best.keras", "last.keras", "curves.png"}
    model = load_model(out / "best.keras")
    made = model({"text": tf.constant([b"", "\U0001f621 我".encode(), b"a " * 9000])})
    assert made["logits"].shape == (3, 7)
    assert np.isfinite(made["logits"]).all()


def test_it_learns_what_the_words_say(text_run: Path) -> None:
    assert told(text_run)["scores"]["val_uar"] > 0.8


def test_the_vocabulary_is_of_the_training_part(text_data: Path, text_run: Path) -> None:
    rows = open_data_folder(text_data).subset("train")
    spoken = {word for row in rows for word in row.transcript.split()}
    model = load_model(text_run / "best.keras")
    words = vocabulary_of(model, ("text",))
    assert words[:2] == ["", "[UNK]"]
    assert len(words) > 20
    assert set(words[2:]) <= spoken
    assert model.get_layer("tokens").max_tokens == 16
    assert told(text_run)["recipe"]["features_settings"] == {"max_tokens": 16}


@pytest.mark.usefixtures("no_training")
def test_min_count_and_vocabulary_size(text_data: Path, tmp_path: Path) -> None:
    words = (*CNN, *settings("min_count=1", "vocabulary_size=9"))
    assert train(tmp_path / "run", *words, stream="text", data=text_data) == EXIT_OK
    assert len(vocabulary_of(load_model(tmp_path / "run" / "best.keras"), ("text",))) == 2 + 9


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("max_tokens=4",), "max_tokens=4: must be from 8 to 512"),
        (("max_tokens=many",), "--set max_tokens=many: must be a whole number, like 64"),
        (("vocabulary_size=0",), "vocabulary_size=0: must be 1 or more"),
        (("min_count=99",), "no word occurs 99 times in 28 training texts"),
        (("stream=audio",), "--set stream: no such setting"),
        (("standardise_axis=1",), "--set standardise_axis: no such setting"),
        (
            ("features=log_mel_128_16k",),
            "features 'log_mel_128_16k' are of audio, the recipe is for text",
        ),
        (("features=tfidf",), "encoder 'text_cnn' takes tokens, features 'tfidf' give none"),
        (("encoder=linear",), "linear"),
        (("transforms=flip",), "transforms=flip: one is for video, the recipe for text"),
    ],
)
def test_settings_that_cannot_be(
    words: tuple[str, ...],
    expected: str,
    text_data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = ("--stream", "text", "--data", text_data, "--out", tmp_path / "run", *settings(*words))
    assert expected in refused(capfd, *given)
    assert not (tmp_path / "run").exists()


def test_more_tokens_than_a_transformer_has_places_for(
    text_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for recipe in ("text-transformer", "tinybert-text"):
        given = ("--recipe", recipe, "--data", text_data, "--out", tmp_path / "run")
        assert "from 8 to 512" in refused(capfd, *given, *settings("max_tokens=600"))


# === Interrupted, and begun from another run ===


def test_resumed_as_if_undisturbed(
    text_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = (*CNN, "--batch-size", 7)
    outs = tmp_path / "whole", tmp_path / "broken"
    assert train(outs[0], *words, stream="text", data=text_data) == EXIT_OK
    with monkeypatch.context() as patch:
        interrupt_after(patch, epoch=1, num_batches=2)
        assert train(outs[1], *words, stream="text", data=text_data) == EXIT_INTERRUPTED
    assert train(outs[1], *words, "--resume", stream="text", data=text_data) == EXIT_OK
    assert_same_run(*outs)


def test_begun_from_another_run_with_its_vocabulary(text_run: Path, tmp_path: Path) -> None:
    made = [
        record(f"{n}", label, take, ("text",), "other", transcript=f"{label} anew {take} {n}")
        for n in range(3)
        for label in LABELS
        for take in range(2)
    ]
    data = write_data(tmp_path / "data", made)
    words = (*CNN, "--init-from", text_run, "--epochs", 1, *settings("learning_rate=1e-9"))
    assert train(tmp_path / "run", *words, stream="text", data=data) == EXIT_OK
    models = [load_model(path / "best.keras") for path in (text_run, tmp_path / "run")]
    known = [vocabulary_of(model, ("text",)) for model in models]
    assert known[0] == known[1]
    assert "anew" not in known[1]
    asked = {"text": tf.constant([b"wonderful laugh", b"lonely tears again", b""])}
    logits = [np.asarray(model(asked, training=False)["logits"]) for model in models]
    np.testing.assert_allclose(logits[0], logits[1], atol=1e-4)


@pytest.mark.usefixtures("no_training")
def test_begun_from_another_run_with_settings_of_its_own(
    text_run: Path, text_data: Path, tmp_path: Path
) -> None:
    words = (*CNN, *settings("max_tokens=24"), "--init-from", text_run, "--epochs", 1)
    assert train(tmp_path / "run", *words, stream="text", data=text_data) == EXIT_OK
    model = load_model(tmp_path / "run" / "best.keras")
    assert told(tmp_path / "run")["recipe"]["features_settings"] == {"max_tokens": 24}
    assert model.get_layer("tokens").max_tokens == 24


@pytest.mark.parametrize("recipe", ["tfidf-text", "tinybert-text"])
def test_begun_from_a_run_of_other_features(
    recipe: str,
    text_run: Path,
    text_data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    given = ("--recipe", recipe, "--data", text_data, "--out", tmp_path / "run")
    line = refused(capfd, *given, *TINY[recipe], "--init-from", text_run)
    assert f"--init-from {text_run}: no run of features" in line


# === Transforms ===


def texts_of(batches: Any, epoch: int = 0) -> list[str]:
    return [text.decode() for inputs, *_ in batches(epoch) for text in inputs["text"].numpy()]


def test_transforms_change_training_batches_only(text_data: Path, tmp_path: Path) -> None:
    recipe = TEXT_CNN.with_settings(["transforms=word_dropout:share=0.5:probability=1"])
    folder: DataFolder = open_data_folder(text_data)
    data = training_data([folder], "basic7", ("text",), allow_leak=False)
    front_end = fitted_front_end(recipe, ["any words"] * 2)
    reading = open_training_datasets(recipe, data, TrainOptions(tmp_path), front_end, keras.Model())
    said = {split: [row.transcript for row in folder.subset(split)] for split in ("train",)}
    said["validation"] = [row.transcript for row in folder.subset("validation")]
    assert sorted(texts_of(reading.validation_data)) == sorted(said["validation"])
    assert sorted(texts_of(reading.normalisation_data)) == sorted(said["train"])
    first, second = (texts_of(reading.train, epoch) for epoch in (0, 1))
    assert len(first) == len(second) == len(said["train"])
    assert first == texts_of(reading.train, 0)
    assert sorted(first) != sorted(second)
    for text in first:
        shorter = text.split()
        assert len(shorter) < 6
        assert any(is_within(shorter, whole.split()) for whole in said["train"])


def is_within(shorter: list[str], whole: list[str]) -> bool:
    """Whether `shorter` is `whole` with words left out."""
    left = iter(whole)
    return all(word in left for word in shorter)


# === Words that tell nothing ===


def test_fixed_sentences_stop_training(
    fixed_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    given = ("--stream", "text", "--data", fixed_data, "--out", tmp_path / "run")
    line = refused(capfd, *given)
    assert "2 sentences over 14 records" in line
    assert "they say nothing about the label" in line
    assert "--allow-scripted-text" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_training")
def test_fixed_sentences_all_the_same_and_in_a_fusion(
    fixed_data: Path, audio_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    text, out = tmp_path / "text", tmp_path / "fusion"
    words = (*CNN, "--allow-scripted-text")
    assert train(text, *words, stream="text", data=fixed_data) == EXIT_OK
    assert [note for note in told(text)["notes"] if note.startswith("fixed sentences: 2 sent")]
    runs = ("--audio-run", audio_run, "--text-run", text)
    capfd.readouterr()
    assert train(out, *runs, stream="fusion", data=fixed_data) == EXIT_OK
    said = capfd.readouterr()
    assert "warning: fixed sentences" in said.err
    assert "note: fixed sentences" in said.out
    assert len([note for note in told(out)["notes"] if note.startswith("fixed sentences")]) == 1
