"""`export`: one check in memory, after reload, and in a process that knows nothing of us."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.modeling.evaluation.inference import inference_model, load_run
from affectstream.modeling.runs.checkpoints import load_model
from affectstream.serving.export import savedmodel_export as module
from affectstream.serving.export.savedmodel_export import (
    TOLERANCE,
    check_equal,
    example_inputs,
    read_config,
)
from affectstream.serving.exported.version_folder import newest_version
from tests.support.models import LABELS, error_line, run, save_arrays

# Runs with TensorFlow and NumPy alone, elsewhere, with nothing of ours on the path.
FRESH = """
import importlib.util, json, sys
import numpy as np
import tensorflow as tf

saved, inputs, answers = sys.argv[1:]
assert importlib.util.find_spec("modeling") is None
assert importlib.util.find_spec("serving") is None
loaded = tf.saved_model.load(saved)
signature = loaded.signatures["serving_default"]
given = {name: tf.constant(value) for name, value in np.load(inputs).items()}
made = {name: value.numpy() for name, value in signature(**given).items()}
made["label"] = made["label"].astype(str)
made["labels_asset"] = np.array(tf.io.read_file(loaded.labels_asset.asset_path).numpy().decode())
made["config_asset"] = np.array(tf.io.read_file(loaded.config_asset.asset_path).numpy().decode())
np.savez(answers, **made)
"""


@pytest.fixture(scope="module")
def inference(fusion_run: Path) -> Any:
    return inference_model(*load_run(fusion_run))


@pytest.fixture(scope="module")
def given(inference: Any) -> dict[str, np.ndarray]:
    """A ragged batch: all there, no sound, no face, neither, one frame."""
    rng = np.random.default_rng(8)
    made = example_inputs(inference, seed=3)
    made["audio"] = rng.normal(0, 0.1, (5, 50_000)).astype(np.float32)
    made["audio_length"] = np.array([50_000, 0, 30_000, 0, 100], np.int32)
    made["video"] = rng.integers(0, 256, (5, 4, *made["video"].shape[2:])).astype(np.uint8)
    mask = [[1, 1, 1, 1], [1, 0, 1, 0], [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0]]
    made["video_mask"] = np.array(mask, bool)
    return made


def expected(inference: Any, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in inference(given, training=False).items()}


def assert_equal(made: dict[str, np.ndarray], inference: Any, given: dict[str, np.ndarray]) -> None:
    """The one check: every output, and the label that follows from it."""
    wanted = expected(inference, given)
    names = {"probabilities", "embedding", "audio_probabilities", "video_probabilities"}
    assert set(wanted) == names
    assert set(made) >= names | {"label"}
    for name, value in wanted.items():
        np.testing.assert_allclose(made[name], value, atol=TOLERANCE, err_msg=name)
    labels = [LABELS[i] for i in wanted["probabilities"].argmax(axis=1)]
    assert [str(label) for label in made["label"]] == labels


# === One check in three places ===


def test_export_answers_the_same_in_memory(
    fusion_run: Path, inference: Any, given: dict[str, np.ndarray]
) -> None:
    """The inference model is the trained one with a softmax behind it."""
    model = load_model(fusion_run / "best.keras")
    logits = np.asarray(model(given, training=False)["logits"])
    temperature = load_run(fusion_run)[1].calibration.temperature
    shares = softmax(logits / temperature, axis=1)
    made = expected(inference, given)
    np.testing.assert_allclose(made["probabilities"], shares, atol=TOLERANCE)
    labels = np.array(LABELS)[shares.argmax(axis=1)]
    assert_equal({**made, "label": labels}, inference, given)


def test_export_answers_the_same_after_reload(
    exported: Path, inference: Any, given: dict[str, np.ndarray]
) -> None:
    signature = tf.saved_model.load(str(exported / "1")).signatures["serving_default"]
    made = signature(**{name: tf.constant(value) for name, value in given.items()})
    arrays = {name: value.numpy() for name, value in made.items()}
    arrays["label"] = arrays["label"].astype(str)
    assert_equal(arrays, inference, given)


def test_in_a_fresh_process_without_our_code(
    exported: Path, inference: Any, given: dict[str, np.ndarray], tmp_path: Path
) -> None:
    save_arrays(tmp_path / "inputs.npz", given)
    paths = (exported / "1", tmp_path / "inputs.npz", tmp_path / "answers.npz")
    done = subprocess.run(
        [sys.executable, "-I", "-c", FRESH, *map(str, paths)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made = dict(np.load(tmp_path / "answers.npz"))
    assert str(made["labels_asset"]).split() == list(LABELS)
    assert json.loads(str(made["config_asset"]))["labels"] == list(LABELS)
    assert_equal(made, inference, given)


# === What any row may be ===


def test_a_row_alone_is_the_row_in_its_batch(inference: Any, given: dict[str, np.ndarray]) -> None:
    whole = expected(inference, given)
    for row in range(5):
        alone = {name: value[row : row + 1] for name, value in given.items()}
        alone["audio"] = alone["audio"][:, : max(1, int(alone["audio_length"][0]))]
        for name, value in expected(inference, alone).items():
            np.testing.assert_allclose(value[0], whole[name][row], atol=1e-4, err_msg=name)


def test_a_missing_stream_is_not_in_the_answer(
    inference: Any, given: dict[str, np.ndarray]
) -> None:
    made = expected(inference, given)
    np.testing.assert_allclose(made["probabilities"].sum(axis=1), 1, atol=1e-5)
    junk = {name: value.copy() for name, value in given.items()}
    junk["audio"][1] = 0.9  # no length
    junk["video"][2] = 255  # no mask
    again = expected(inference, junk)["probabilities"]
    np.testing.assert_allclose(again[1:3], made["probabilities"][1:3], atol=1e-6)
    for row, stream in ((1, "video"), (2, "audio")):  # alone, a stream is the answer
        alone = made[f"{stream}_probabilities"][row]
        np.testing.assert_allclose(alone, made["probabilities"][row], atol=1e-6)
    # And of two, each says what it would say without the other.
    for stream, other in (("audio", "video_mask"), ("video", "audio_length")):
        without = expected(inference, given | {other: np.zeros_like(given[other])})
        alone = made[f"{stream}_probabilities"][0]
        np.testing.assert_allclose(alone, without["probabilities"][0], atol=1e-6)
    assert np.ptp(made["probabilities"][3]) < 1e-6  # neither: says nothing


def test_an_empty_batch_of_frames_and_samples(inference: Any) -> None:
    side = inference.input["video"].shape[2:]
    nothing = {
        "audio": np.zeros((2, 0), np.float32),
        "audio_length": np.zeros(2, np.int32),
        "video": np.zeros((2, 0, *side), np.uint8),
        "video_mask": np.zeros((2, 0), bool),
    }
    assert np.ptp(expected(inference, nothing)["probabilities"]) < 1e-6


# === What lies inside ===


def test_labels_and_config(exported: Path, fusion_run: Path, toy_data: Path) -> None:
    assets = exported / "1" / "assets"
    assert (assets / "labels.txt").read_text().split() == list(LABELS)
    config = read_config(exported / "1")
    assert config["streams"] == ["audio", "video"]
    assert config["labels"] == list(LABELS)
    assert config["input"] == {"sample_rate_hz": 16_000, "face_size_px": 32, "face_channels": 1}
    assert config["window_s"] == pytest.approx(47_770 / 16_000 + 0.5)
    assert config["preparation"]["detector"] == "haar"
    assert config["preparation"]["sampling"]["num_frames"] == 4
    assert config["run"] == str(fusion_run)
    assert config["data"][0]["path"] == str(toy_data)
    assert config["leak_allowed"] is False
    assert config["recipe"]["name"] == "late-fusion"


def test_the_signature(exported: Path) -> None:
    signature = tf.saved_model.load(str(exported / "1")).signatures["serving_default"]
    inputs = {
        name: (tuple(spec.shape), spec.dtype.name)
        for name, spec in signature.structured_input_signature[1].items()
    }
    assert inputs == {
        "audio": ((None, None), "float32"),
        "audio_length": ((None,), "int32"),
        "video": ((None, None, 32, 32, 1), "uint8"),
        "video_mask": ((None, None), "bool"),
    }
    outputs = {
        name: (tuple(spec.shape), spec.dtype.name)
        for name, spec in signature.structured_outputs.items()
    }
    assert outputs["label"] == ((None,), "string")
    for name in ("probabilities", "audio_probabilities", "video_probabilities"):
        assert outputs[name] == ((None, 7), "float32")
    assert outputs["embedding"] == ((None, 256), "float32")


# === Versions ===


def test_versions_count_up_and_are_never_overwritten(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exports"
    (out / "7").mkdir(parents=True)
    (out / "7" / "mine.txt").write_text("keep me")
    capfd.readouterr()
    assert run("export", "--run", video_run, "--out", out) == EXIT_OK
    assert capfd.readouterr().out.strip() == str(out / "8")
    assert {path.name for path in out.iterdir()} == {"7", "8"}
    assert newest_version(out) == out / "8"
    for taken in ("7", "8"):
        words = ("export", "--run", video_run, "--out", out, "--version", taken)
        assert run(*words) == EXIT_FAILURE
        line = error_line(capfd.readouterr().err)
        assert f"{out / taken}: exists already; versions are never overwritten" in line
    assert (out / "7" / "mine.txt").read_text() == "keep me"
    assert [path.name for path in (out / "7").iterdir()] == ["mine.txt"]
    assert run("export", "--run", video_run, "--out", out, "--version", "0") == EXIT_USAGE


def test_the_newest_is_by_number_not_by_name(tmp_path: Path) -> None:
    for version in ("2", "10", "9"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "saved_model.pb").touch()
    (tmp_path / "11").mkdir()  # not a SavedModel
    assert newest_version(tmp_path) == tmp_path / "10"
    assert newest_version(tmp_path / "9") == tmp_path / "9"
    assert newest_version(tmp_path / "11") is None


# === What stops it ===


def test_a_model_that_answers_differently_is_not_exported(
    video_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve = module.ServedModel._serve

    def wrong(self: Any, model: Any, inputs: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        made = serve(self, model, inputs)
        return {**made, "probabilities": made["probabilities"] + 2e-5}

    monkeypatch.setattr(module.ServedModel, "_serve", wrong)
    with pytest.raises(UserError, match=r"probabilities differs from the trained model by 2e-05"):
        module.export(video_run, tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_check_sees_a_number_that_is_none(video_run: Path, video_exported: Path) -> None:
    """Not even a NaN passes as equal."""
    model, info = load_run(video_run)
    broken = inference_model(model, info)
    for variable in broken.weights:
        if variable.path.endswith("logits/bias"):
            variable.assign(np.full(variable.shape, np.nan))
    version = video_exported / "1"
    with pytest.raises(UserError, match="differs from the trained model by nan"):
        check_equal({"serving_default": broken}, version, read_config(version))


def test_what_is_not_a_finished_run(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("export", "--run", tmp_path, "--out", tmp_path / "e") == EXIT_FAILURE
    assert "not a run folder" in error_line(capfd.readouterr().err)
    info = json.loads((video_run / "run.json").read_text()) | {"finished": False}
    atomic_io.write_checksummed_json(tmp_path / "run.json", info)
    assert run("export", "--run", tmp_path, "--out", tmp_path / "e") == EXIT_FAILURE
    assert "unfinished run" in error_line(capfd.readouterr().err)
    assert not (tmp_path / "e").exists()
    (tmp_path / "file").touch()
    words = ("export", "--run", video_run, "--out", tmp_path / "file")
    assert run(*words) == EXIT_FAILURE
    assert "choose another path" in error_line(capfd.readouterr().err)
