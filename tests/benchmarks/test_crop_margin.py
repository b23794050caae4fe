"""What is cut out of a picture by a model that was trained on pictures taken whole."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np

from affectstream.modeling.evaluation.inference import client_config
from affectstream.modeling.runs.run_folder import read_run
from affectstream.opencv_model.detectors.detector import FaceBox, FaceDetector
from benchmarks.accuracy import crop_margin


class Fixed(FaceDetector):
    """Finds one box, but in the second picture none."""

    name = "fixed"

    def _find(self, picture: np.ndarray) -> list[FaceBox]:
        return [FaceBox(80, 80, 160, 160, 1.0)] if picture.max() > 100 else []


def test_what_was_trained_whole_is_cut_out_without_a_margin(video_run: Path) -> None:
    info = read_run(video_run)
    found = client_config(info)["preparation"]
    assert found == info.preparation
    assert found["face"]["margin"] == 0.1
    whole = dataclasses.replace(info, preparation=info.preparation | {"detector": "none"})
    assert client_config(whole)["preparation"]["face"] == found["face"] | {"margin": 0.0}


def test_the_benchmark_counts_right_and_kept() -> None:
    bright, dark = np.full((320, 320, 3), 200, np.uint8), np.zeros((320, 320, 3), np.uint8)
    rows = crop_margin.rows_of(
        "fixed",
        Fixed(()),
        pictures=[bright, dark, bright],
        changed=[bright, dark, bright],
        whole=np.array([1, 1, 1]),
        truth=np.array([1, 1, 0]),
        answer=lambda faces: np.ones(len(faces), np.int64),
    )
    margins = [f"{margin:g}" for margin in crop_margin.MARGINS]
    assert rows == [("fixed", "2 of 3", margin, "0.500", "0.500", "1.000") for margin in margins]
