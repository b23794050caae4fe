"""Words beside voice and face: on recordings that lack some, and trained apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from affectstream.core import registry
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from affectstream.modeling.runs.checkpoints import load_model
from tests.support.models import (
    ALL,
    LABELS,
    error_line,
    record,
    records,
    run,
    settings,
    train,
    write_data,
)

pytestmark = pytest.mark.slow

CNN = settings("token_dim=16", "filters=16", "embedding_dim=16", "max_tokens=16")
SMALL_BERT = ("weights=none", "num_layers=1", "hidden_dim=8", "num_heads=2", "intermediate_dim=16")
ROWS = ("all", "words", "voice", "face", "none")


def told(run_folder: Path) -> dict[str, Any]:
    return json.loads((run_folder / "run.json").read_text())


@pytest.fixture(scope="module")
def mixed_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The speakers of `toy_data`; one clip in four has all streams."""
    has = (ALL, ("audio", "text"), ("text",), ("audio", "video"))
    made = [
        record(f"{speaker:02d}", label, take, streams=streams)
        for speaker in (1, 2, 3)
        for label in LABELS
        for take, streams in enumerate(has)
    ]
    return write_data(tmp_path_factory.mktemp("mixed") / "data", made)


@pytest.fixture(scope="module")
def text_run(mixed_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "text"
    words = ("--epochs", 4, "--batch-size", 7, *settings("learning_rate=0.01"))
    assert train(out, *CNN, *words, stream="text", data=mixed_data) == EXIT_OK
    return out


@pytest.fixture(scope="module")
def runs(audio_run: Path, video_run: Path, text_run: Path) -> dict[str, Path]:
    return {"audio": audio_run, "video": video_run, "text": text_run}


def example(streams: tuple[str, ...]) -> dict[str, tf.Tensor]:
    """One row each of `ROWS`."""
    there = {name: [kind in ("all", name) for kind in ROWS] for name in ("words", "voice", "face")}
    rng = np.random.default_rng(5)
    made: dict[str, Any] = {}
    if "audio" in streams:
        made["audio"] = rng.normal(0, 0.1, (5, 20_000)).astype(np.float32)
        made["audio_length"] = np.where(there["voice"], 20_000, 0).astype(np.int32)
    if "video" in streams:
        made["video"] = rng.integers(0, 256, (5, 2, 32, 32, 1)).astype(np.uint8)
        made["video_mask"] = np.repeat(np.array(there["face"])[:, None], 2, axis=1)
    if "text" in streams:
        made["text"] = np.array([b"furious shout" if t else b" " for t in there["words"]], object)
    return {name: tf.constant(value) for name, value in made.items()}


# === Pairs ===


@pytest.mark.parametrize(
    ("recipe", "streams"),
    [
        ("two-stream-sum", ("audio", "text")),
        ("late-fusion", ALL),
        ("dense-fusion", ("audio", "text")),
        ("dense-fusion", ALL),
    ],
)
def test_fusions_with_words(
    recipe: str,
    streams: tuple[str, ...],
    runs: dict[str, Path],
    mixed_data: Path,
    tmp_path: Path,
) -> None:
    out = tmp_path / "fusion"
    named = [word for stream in streams for word in (f"--{stream}-run", runs[stream])]
    if recipe == "two-stream-sum":  # it has parts of its own; the rule is what is wanted
        recipe, named = "late-fusion", [*named, "--set", "fusion=sum"]
    words = ("--recipe", recipe, *named)
    assert train(out, *words, stream="fusion", data=mixed_data) == EXIT_OK
    info = told(out)
    assert tuple(info["streams"]) == streams
    assert set(info["stream_info"]) == set(streams)
    assert info["stream_info"]["text"]["features"] == "word_tokens"
    assert info["finished"]
    assert 0 <= info["scores"]["val_uar"] <= 1
    assert not info["notes"]
    model, given = load_model(out / "best.keras"), example(streams)
    made = {name: np.asarray(v) for name, v in model(given, training=False).items()}
    assert made["logits"].shape == (5, 7)
    assert np.isfinite(made["logits"]).all()
    alone = load_model(runs["text"] / "best.keras")({"text": given["text"]}, training=False)
    np.testing.assert_allclose(made["text_logits"], alone["logits"], atol=1e-5)
    if recipe == "late-fusion":  # words alone: what the stream says alone, nothing else
        order = np.argsort(made["text_logits"][1])
        assert (np.argsort(made["logits"][1]) == order).all()
        assert np.ptp(softmax(made["logits"][4])) < 1e-6
    # Where words are missing, they do not count; where they are there, they do.
    other = {**given, "text": tf.constant([b"lonely tears", b"wow", b" ", b"", b"\t\n"])}
    again = np.asarray(model(other, training=False)["logits"])
    np.testing.assert_allclose(again[2:], made["logits"][2:], atol=1e-5)
    assert np.abs(again[:2] - made["logits"][:2]).max(axis=1).min() > 1e-4
    embedding = made["embedding"]
    width = int(alone["embedding"].shape[1])
    assert not embedding[2:, -width:].any()
    np.testing.assert_allclose(embedding[1, -width:], alone["embedding"][1], atol=1e-5)


# === Apart ===


def test_parts_on_their_own_data_fused_without_pairs(tmp_path: Path) -> None:
    """Sound from one corpus, words from another; the label set is that of both."""
    shared = registry.load("label-sets", "tess_emotion5").labels
    assert set(shared) < set(LABELS)
    voice = write_data(
        tmp_path / "voice", records(labels=shared, streams=("audio",), corpus="voices")
    )
    words = write_data(
        tmp_path / "words", records(labels=shared, num_takes=2, streams=("text",), corpus="posts")
    )
    out = tmp_path / "whole"
    few = [f"text.{word}" for word in (*SMALL_BERT, "epochs=1", "vocabulary_size=120")]
    done = run(
        *("train", "--recipe", "distilbert-lstm-max", "--out", out),
        *("--data", f"audio={voice}", "--data", f"text={words}"),
        *settings(*few, "audio.epochs=1"),
    )
    assert done == EXIT_OK
    info, audio, text = told(out), told(tmp_path / "whole-audio"), told(tmp_path / "whole-text")
    assert (audio["recipe"]["name"], text["recipe"]["name"]) == ("lstm-audio", "distilbert-text")
    assert [data["path"] for data in audio["data"]] == [str(voice)]
    assert [data["path"] for data in text["data"]] == [str(words)]
    assert text["recipe"]["encoder_settings"]["hidden_dim"] == 8
    assert text["recipe"]["features_settings"] == {"vocabulary_size": 120}
    assert set(info["streams"]) == {"audio", "text"}
    assert info["labels"] == list(shared)
    assert "fused without paired data" in info["notes"]
    made = load_model(out / "best.keras")(example(("audio", "text")), training=False)
    assert made["logits"].shape == (5, len(shared))
    assert np.isfinite(made["logits"]).all()


def test_late_fusion_without_pairs(
    text_run: Path, video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    runs = ("--text-run", text_run, "--video-run", video_run)
    assert train(tmp_path / "late", *runs, stream="fusion") == EXIT_OK
    assert "fused without paired data" in told(tmp_path / "late")["notes"]
    capfd.readouterr()
    words = (*runs, "--recipe", "dense-fusion")
    assert train(tmp_path / "dense", *words, stream="fusion") == EXIT_FAILURE
    assert "'dense' learns from recordings that have all" in error_line(capfd.readouterr().err)


# === What does not fit ===


def test_runs_that_do_not_fit(
    text_run: Path,
    audio_run: Path,
    toy_data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    for words, expected in (
        (("--audio-run", text_run, "--text-run", text_run), "a run of text, not of audio"),
        (("--audio-run", audio_run, "--text-run", audio_run), "a run of audio, not of text"),
        (("--text-run", text_run), "a fusion joins two runs"),
        (
            ("--audio-run", audio_run, "--text-run", text_run, "--data", toy_data),
            "no validation recording has audio and text together",
        ),
    ):
        capfd.readouterr()
        assert train(out, *words, stream="fusion") == EXIT_FAILURE
        assert expected in error_line(capfd.readouterr().err)
        assert not out.exists()
    assert train(out, "--text-run", text_run, stream="text") == EXIT_USAGE
    assert train(out, "--data", f"audio={tmp_path}", stream="text") == EXIT_USAGE
