"""`describe`: what a run, an export, a bundle, a .tflite or a data folder is."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from affectstream.modeling.runs.run_folder import read_run
from affectstream.serving.export.model_card import CARD_OF_VERSION
from affectstream.serving.exported.version_folder import read_config
from tests.conftest import ROOT
from tests.support.models import LABELS, error_line, records, run, write_data

# Signatures beside those of the streams.
OTHERS = ("labels", "serve_bytes")


def told(capfd: pytest.CaptureFixture[str], path: Path) -> tuple[dict[str, Any], str]:
    """Facts, and the same in lines, behind which the card stands as it is."""
    capfd.readouterr()
    assert run("describe", path, "--json") == EXIT_OK
    facts = json.loads(capfd.readouterr().out)
    assert run("describe", path) == EXIT_OK
    lines = capfd.readouterr().out
    if "card" in facts:
        assert lines.endswith(f"\n\n{facts['card']}")
        assert "Article 5(1)(f)" in facts["card"]
    for key in {*facts} - {"card"}:
        assert f"{key}:" in lines
    assert "None" not in lines
    return facts, lines


def test_a_data_folder(toy_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    facts, lines = told(capfd, toy_data)
    assert facts["kind"] == "data folder"
    assert facts["records"] == 42
    assert facts["speakers"] == 3
    assert facts["labels"] == dict.fromkeys(sorted(LABELS), 6)
    assert facts["streams"] == {"audio": 42, "video": 42, "text": 0}
    assert facts["audio"] == "(samples,) int16 at 16000 Hz"
    assert facts["video"] == "(frames, 32, 32, 1) uint8, detector haar"
    assert facts["split"]["test"] == {"records": 14, "speakers": 1}
    assert "card" not in facts
    assert facts["licence"] == "CC0 1.0"
    assert "  happy: 6" in lines


def test_a_synthetic_one_with_something_left_out(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = records(2)
    data = write_data(tmp_path / "data", made, excluded=[made[0].id], synthetic=True)
    facts, lines = told(capfd, data)
    assert facts["kind"] == "data folder (SYNTHETIC)"
    assert facts["left out"] == {"left out": 1}
    assert facts["records"] == 14
    assert sum(facts["labels"].values()) == 13
    assert "notes: validation not speaker-disjoint" in lines


def test_describe_tells_of_a_run_and_its_scores(
    video_run: Path, toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    video_run = shutil.copytree(video_run, tmp_path / "run")
    assert run("evaluate", "--run", video_run, "--data", toy_data) == EXIT_OK
    facts, lines = told(capfd, video_run)
    assert facts["kind"] == "run"
    assert facts["streams"] == ["video"]
    assert facts["labels"] == list(LABELS)
    assert facts["recipe"]["encoder"] == "elu_cnn"
    assert facts["data"][0]["path"] == str(toy_data)
    assert facts["speakers trained on"] == 1
    assert facts["inputs"] == {
        "video": "(?, ?, 32, 32, 1) uint8",
        "video_mask": "(?, ?) bool",
    }
    assert facts["outputs"] == {"logits": "(?, 7) float32", "embedding": "(?, 128) float32"}
    assert facts["parameters"] > 100_000
    known = read_run(video_run).scores
    assert facts["epoch kept"] == known["epoch"]
    assert facts["scores on validation"] == {k: known[f"val_{k}"] for k in ("loss", "wa", "uar")}
    trained = facts["scores on its own training part, during that epoch"]
    assert trained == {key: known[key] for key in ("loss", "wa", "uar")}
    file = video_run / "evaluation" / "data-test" / "metrics.json"
    scores = json.loads(file.read_text())
    (describe_scores,) = (one for one in facts["evaluation"] if one["split"] == "test")
    assert describe_scores["data"] == ["data"]
    assert describe_scores["uar"] == scores["uar"]
    assert describe_scores["num_clips"] == 14
    assert f"labels: {', '.join(LABELS)}" in lines
    assert "command: python" in lines
    assert f"| test of data (toy) | {scores['uar']:.3f}" in facts["card"]


def test_describe_tells_of_a_fusion(fusion_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    facts, _ = told(capfd, fusion_run)
    assert facts["streams"] == ["audio", "video"]
    assert set(facts["fusion"]) == {"temperature", "weight", "sharpness"}
    assert set(facts["fusion"]["weight"]) == {"audio", "video"}
    assert sum(facts["fusion"]["weight"].values()) == pytest.approx(1)
    part = facts["parts"]["audio"]
    assert (part["recipe"], part["corpora"]) == ("relu-cnn-audio", ["toy"])
    assert set(part["scores on validation"]) == {"loss", "wa", "uar"}
    assert "scores" not in part and "epoch kept" in part
    assert set(facts["inputs"]) == {"audio", "audio_length", "video", "video_mask"}


def test_an_unfinished_run(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    info = json.loads((video_run / "run.json").read_text())
    info |= {"finished": False, "leak_allowed": True, "synthetic": True, "scores": {}}
    atomic_io.write_checksummed_json(tmp_path / "run.json", info)
    facts, _ = told(capfd, tmp_path)
    assert facts["kind"] == "run (unfinished) (SYNTHETIC data) (LEAK ALLOWED)"
    assert "parameters" not in facts
    assert "card" not in facts


@pytest.mark.parametrize("inner", ["", "1"])
def test_describe_tells_of_an_export(
    inner: str, exported: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    facts, _ = told(capfd, exported / inner)
    assert facts["kind"] == "export"
    assert "scores" not in facts and "scores" not in facts["parts"]["video"]
    assert facts["parts"]["video"]["scores on validation"]["uar"] > 0
    assert facts["path"] == str(exported / "1")
    assert facts["labels"] == list(LABELS)
    assert facts["inputs"]["audio"] == "(?, ?) float32"
    assert facts["outputs"]["label"] == "(?,) string"
    assert facts["outputs"]["probabilities"] == "(?, 7) float32"
    assert facts["signatures"]["audio"] == {
        "inputs": "audio, audio_length",
        "outputs": "probabilities, label, embedding",
    }
    assert facts["card"] == (exported / "1" / CARD_OF_VERSION).read_text(encoding="utf-8")


def test_describe_tells_of_a_bundle(bundle: Path, capfd: pytest.CaptureFixture[str]) -> None:
    facts, lines = told(capfd, bundle)
    assert (facts["kind"], facts["name"], facts["path"]) == ("bundle", "both", str(bundle))
    assert facts["served versions"] == {"1": "stable", "2": "canary"}
    assert "  2: canary\n" in lines
    assert {"client.py", "models.config", "MODEL_CARD.md"} <= set(facts["files"])
    assert facts["described below"] == "version 2"
    assert set(facts["signatures"]) == {*facts["streams"], "serving_default", *OTHERS}
    assert facts["inputs"]["video"] == "(?, ?, 32, 32, 1) uint8"
    assert facts["card"] == (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_a_bundle_of_one_synthetic_version_and_a_label_that_points_nowhere(
    words_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    facts, _ = told(capfd, words_bundle)
    assert facts["kind"] == "bundle (SYNTHETIC data)"
    assert facts["served versions"] == {"1": "canary and stable"}
    copy = tmp_path / "copy"
    shutil.copytree(words_bundle, copy)
    file = copy / "models.config"
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"canary" value: 1', '"canary" value: 7'), encoding="utf-8")
    facts, _ = told(capfd, copy)
    assert facts["served versions"] == {"1": "stable", "7": "canary, but it is not there"}
    asked = text.replace("all {}", "specific { versions: 8 }")
    file.write_text(asked, encoding="utf-8")
    facts, _ = told(capfd, copy)
    assert facts["served versions"] == {
        "1": "not served, as models.config says",
        "8": "no label, but it is not there",
    }


def test_a_litert_model(exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "both.tflite"
    path.write_bytes(b"a model")
    digest = hashlib.sha256(b"a model").hexdigest()
    inputs = {
        "audio": {"shape": [1, 48000], "dtype": "float32"},
        "audio_length": {"shape": [1], "dtype": "int32"},
    }
    own = {"sha256": digest, "inputs": inputs, "window_samples": 48000, "offset_samples": 0}
    config = read_config(exported / "1") | {"litert": own, "streams": ["audio"]}
    path.with_suffix(".json").write_text(json.dumps(config), encoding="utf-8")
    facts, _ = told(capfd, path)
    assert facts["kind"] == "LiteRT model"
    assert facts["inputs"] == {"audio": "(1, 48000) float32", "audio_length": "(1,) int32"}
    assert (facts["sha256"], facts["labels"]) == (digest, list(LABELS))


def test_exports_are_described_without_tensorflow(exported: Path, bundle: Path) -> None:
    code = (
        "import sys; from affectstream import cli\n"
        "assert not any(cli.main(['describe', path]) for path in sys.argv[1:])\n"
        "assert not {'tensorflow', 'keras', 'modeling'} & sys.modules.keys()"
    )
    words = [sys.executable, "-c", code, str(exported), str(bundle)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Article 5(1)(f)") == 2


def test_exports_that_say_too_little(
    exported: Path, words_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = read_config(exported / "1")
    version, bundle = tmp_path / "1", tmp_path / "bundle"
    (version / "assets").mkdir(parents=True)
    (version / "saved_model.pb").touch()
    bundle.mkdir()
    asset, models = version / "assets" / "config.json", bundle / "models.config"
    shown = (words_bundle / "models.config").read_text(encoding="utf-8")
    two = shown.replace("model_config_list {", "model_config_list { config { name: 'x' }")
    without_recipe = {key: value for key, value in config.items() if key != "recipe"}
    odd = config | {"signatures": {"serving_default": {"inputs": [1], "outputs": {}}}}
    for path, file, text, line in (
        (tmp_path, asset, "{}", f"{asset}: not as `export` writes it (lacks labels, streams, "),
        (tmp_path, asset, "[]", f"{asset}: not as `export` writes it (no JSON object)"),
        (tmp_path, asset, json.dumps(without_recipe), f"{asset}: not as `export` writes it (lacks"),
        (tmp_path, asset, json.dumps(odd), f"{asset}: not as `export` writes it (signatures"),
        (bundle, models, "model {", f"{models}: no ModelServerConfig ("),
        (bundle, models, two, f"{models}: 2 models where a bundle has one"),
        (bundle, models, shown, f"{bundle}: no version of my-words below models"),
        (bundle, models, shown.replace("my-words", "../x"), f"{bundle}: no version of ../x"),
    ):
        file.write_text(text, encoding="utf-8")
        capfd.readouterr()
        assert run("describe", path) == EXIT_FAILURE
        assert f"Error: {line}" in error_line(capfd.readouterr().err)


def test_an_export_without_signatures_is_refused(
    exported: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = read_config(exported / "1")
    del config["signatures"]
    (tmp_path / "1" / "assets").mkdir(parents=True)
    (tmp_path / "1" / "saved_model.pb").touch()
    (tmp_path / "1" / "assets" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    capfd.readouterr()
    assert run("describe", tmp_path) == EXIT_FAILURE
    assert "(signatures do not tell inputs and outputs)" in error_line(capfd.readouterr().err)


def test_describe_refuses_anything_else(
    tmp_path: Path, toy_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    kinds = "a run, an export, a bundle, a .tflite or a data folder"
    for path, line in (
        (tmp_path / "absent", f"no such path; give {kinds}"),
        (tmp_path, f"not {kinds}; check the path"),
        (toy_data / "clips.csv", f"not {kinds}"),
    ):
        capfd.readouterr()
        assert run("describe", path) == EXIT_FAILURE
        assert f"Error: {path}: {line}" in error_line(capfd.readouterr().err)
    assert run("describe") == EXIT_USAGE
