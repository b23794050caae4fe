"""`describe`: what a run, an export or a data folder is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from errors import EXIT_NOTHING_DONE, EXIT_OK, EXIT_USAGE
from tests.models import LABELS, records, run, the_one_line, write_data


def told(capfd: pytest.CaptureFixture[str], path: Path) -> tuple[dict[str, Any], str]:
    """Facts, and the same in lines."""
    capfd.readouterr()
    assert run("describe", path, "--json") == EXIT_OK
    facts = json.loads(capfd.readouterr().out)
    assert run("describe", path) == EXIT_OK
    lines = capfd.readouterr().out
    for key in facts:
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


def test_a_run(video_run: Path, toy_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--run", video_run, "--data", toy_data) == EXIT_OK
    facts, lines = told(capfd, video_run)
    assert facts["kind"] == "run"
    assert facts["streams"] == ["video"]
    assert facts["labels"] == list(LABELS)
    assert facts["recipe"]["encoder"] == "s2_video"
    assert facts["data"][0]["path"] == str(toy_data)
    assert facts["speakers trained on"] == 1
    assert facts["inputs"] == {
        "video": "(?, ?, 32, 32, 1) uint8",
        "video_mask": "(?, ?) bool",
    }
    assert facts["outputs"] == {"logits": "(?, 7) float32", "embedding": "(?, 128) float32"}
    assert facts["parameters"] > 100_000
    assert set(facts["scores on validation"]) >= {"val_uar", "val_wa", "epoch"}
    scores = json.loads((video_run / "evaluation" / "metrics.json").read_text())
    assert facts["evaluation"]["uar"] == scores["uar"]
    assert facts["evaluation"]["num_clips"] == 14
    assert f"labels: {', '.join(LABELS)}" in lines
    assert "command: python" in lines


def test_a_fusion(fusion_run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    facts, _ = told(capfd, fusion_run)
    assert facts["streams"] == ["audio", "video"]
    assert set(facts["fusion"]) == {"temperature", "weight", "sharpness"}
    assert set(facts["fusion"]["weight"]) == {"audio", "video"}
    assert sum(facts["fusion"]["weight"].values()) == pytest.approx(1)
    assert facts["parts"]["audio"]["recipe"] == "s2-audio"
    assert set(facts["inputs"]) == {"audio", "audio_length", "video", "video_mask"}


def test_an_unfinished_run(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    info = json.loads((video_run / "run.json").read_text())
    info |= {"finished": False, "leak_allowed": True, "synthetic": True, "scores": {}}
    (tmp_path / "run.json").write_text(json.dumps(info))
    facts, _ = told(capfd, tmp_path)
    assert facts["kind"] == "run (unfinished) (SYNTHETIC data) (LEAK ALLOWED)"
    assert "parameters" not in facts


@pytest.mark.parametrize("inner", ["", "1"])
def test_an_export(inner: str, exported: Path, capfd: pytest.CaptureFixture[str]) -> None:
    facts, _ = told(capfd, exported / inner)
    assert facts["kind"] == "export"
    assert facts["path"] == str(exported / "1")
    assert facts["labels"] == list(LABELS)
    assert facts["inputs"]["audio"] == "(?, ?) float32"
    assert facts["outputs"]["label"] == "(?,) string"
    assert facts["outputs"]["probabilities"] == "(?, 7) float32"


def test_anything_else(tmp_path: Path, toy_data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for path, line in (
        (tmp_path / "absent", "no such path; give a run, an export or a data folder"),
        (tmp_path, "neither a run, an export nor a data folder; check the path"),
        (toy_data / "clips.csv", "neither a run, an export nor a data folder"),
    ):
        capfd.readouterr()
        assert run("describe", path) == EXIT_NOTHING_DONE
        assert f"Error: {path}: {line}" in the_one_line(capfd.readouterr().err)
    assert run("describe") == EXIT_USAGE
