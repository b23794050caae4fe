"""Mixup blends what two rows share, and leaves alone what it cannot blend."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from affectstream.data_augmentation.mixup import Mixup

LABELS = np.eye(4, dtype=np.float32)[[0, 1, 2]]


def batch() -> dict[str, np.ndarray]:
    """Three clips: 6, 4 and 0 samples; 2, 2 and 1 faces of 3 frames."""
    rng = np.random.default_rng(0)
    audio = rng.uniform(-1, 1, (3, 8)).astype(np.float32)
    length = np.array([6, 4, 0], np.int32)
    audio[np.arange(8) >= length[:, None]] = 0.0
    return {
        "audio": audio,
        "audio_length": length,
        "video": rng.integers(0, 256, (3, 3, 5, 4, 1), dtype=np.uint8),
        "video_mask": np.array([[1, 1, 0], [0, 1, 1], [1, 0, 0]], bool),
    }


def test_mixup_blends_exactly_by_its_weights() -> None:
    given = batch()
    before = {key: array.copy() for key, array in given.items()}
    mixed, labels = Mixup().apply(given, LABELS, permutation=[1, 0, 2], weights=[0.75, 0.5, 1.0])
    audio, video = given["audio"], given["video"].astype(np.float64)
    np.testing.assert_allclose(mixed["audio"][0], 0.75 * audio[0] + 0.25 * audio[1], atol=1e-7)
    np.testing.assert_allclose(mixed["audio"][1], 0.5 * audio[1] + 0.5 * audio[0], atol=1e-7)
    assert mixed["audio_length"].tolist() == [6, 6, 0]
    np.testing.assert_array_equal(mixed["video"][0, 0], given["video"][0, 0])
    np.testing.assert_array_equal(
        mixed["video"][0, 1], np.rint(0.75 * video[0, 1] + 0.25 * video[1, 1])
    )
    np.testing.assert_array_equal(mixed["video"][0, 2], given["video"][1, 2])
    assert mixed["video_mask"].tolist() == [[True] * 3, [True] * 3, [True, False, False]]
    np.testing.assert_allclose(labels[0], [0.75, 0.25, 0, 0])
    np.testing.assert_allclose(labels.sum(axis=1), 1.0)
    for key, array in mixed.items():
        assert (array.shape, array.dtype) == (given[key].shape, given[key].dtype)
        np.testing.assert_array_equal(given[key], before[key])


def test_a_partner_without_the_same_streams_changes_nothing() -> None:
    given = batch()
    mixed, labels = Mixup().apply(given, LABELS, permutation=[2, 2, 0], weights=[0.5, 0.5, 0.5])
    for key, array in mixed.items():
        np.testing.assert_array_equal(array, given[key])
    np.testing.assert_array_equal(labels, LABELS)


def test_one_stream_alone() -> None:
    video = {key: array for key, array in batch().items() if key.startswith("video")}
    mixed, labels = Mixup().apply(video, LABELS, permutation=[2, 1, 0], weights=[0.5, 0.0, 1.0])
    assert list(mixed) == ["video", "video_mask"]
    assert labels.tolist() == [[0.5, 0, 0.5, 0], [0, 1, 0, 0], [0, 0, 1, 0]]


def test_sampling_is_seeded_and_follows_alpha_and_probability() -> None:
    drawn = Mixup(alpha=1.0).sample(np.random.default_rng(4), 2000)
    assert drawn == Mixup(alpha=1.0).sample(np.random.default_rng(4), 2000)
    assert drawn != Mixup(alpha=1.0).sample(np.random.default_rng(5), 2000)
    assert json.loads(json.dumps(drawn)) == drawn
    assert sorted(drawn["permutation"]) == list(range(2000))
    assert np.var(drawn["weights"]) == pytest.approx(1 / 12, abs=0.005)  # Beta(1, 1) is uniform
    extreme = np.array(Mixup(alpha=0.2).sample(np.random.default_rng(4), 2000)["weights"])
    assert np.var(extreme) == pytest.approx(1 / (4 * 1.4), abs=0.01)
    assert Mixup(probability=0.0).sample(np.random.default_rng(4), 9)["weights"] == [1.0] * 9
    half = np.array(Mixup(probability=0.5).sample(np.random.default_rng(4), 2000)["weights"])
    assert np.mean(half == 1.0) == pytest.approx(0.5, abs=0.04)


def test_what_cannot_be_blended_is_refused() -> None:
    fixed: dict[str, Any] = {"permutation": [0, 1, 2], "weights": [1.0, 1.0, 1.0]}
    with pytest.raises(ValueError, match="received text"):
        Mixup().apply({**batch(), "text": np.zeros(3)}, LABELS, **fixed)
    with pytest.raises(ValueError, match="both audio and audio_length"):
        Mixup().apply({"audio": batch()["audio"]}, LABELS, **fixed)
    with pytest.raises(ValueError, match="audio has 3 rows, the labels have 2"):
        Mixup().apply(batch(), LABELS[:2], permutation=[0, 1], weights=[1.0, 1.0])
    with pytest.raises(ValueError, match="int64"):
        Mixup().apply(batch(), LABELS.astype(np.int64), **fixed)
    with pytest.raises(ValueError, match="permutation"):
        Mixup().apply(batch(), LABELS, permutation=[0, 1, 3], weights=[1.0] * 3)
    with pytest.raises(ValueError, match="weights"):
        Mixup().apply(batch(), LABELS, permutation=[0, 1, 2], weights=[1.0, 1.2, 1.0])
