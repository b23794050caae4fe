"""Temperatures from held-out logits."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from affectstream.modeling.metrics.calibration import (
    TEMPERATURE_RANGE,
    _variance_of_log,
    fit_temperature,
    most_likely_temperature,
    nll,
)


def drawn(num_clips: int, num_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that mean exactly what they say, and truths drawn from them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (num_clips, num_classes))
    chances = softmax(logits, axis=1).cumsum(axis=1)
    return logits, (rng.random((num_clips, 1)) > chances).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, truth = drawn(8000)
    for found in (
        most_likely_temperature(logits * temperature, truth),
        fit_temperature(logits * temperature, truth, np.arange(8000)),
        fit_temperature(logits * temperature, truth, np.arange(8000) % 40),
    ):
        assert found == pytest.approx(temperature, rel=0.05)


def test_it_is_the_likeliest_one() -> None:
    logits, truth = drawn(300)
    logits = logits * 2.5

    def cost(temperature: float) -> float:
        return nll(log_softmax(logits / temperature, axis=1), truth)

    found = most_likely_temperature(logits, truth)
    assert cost(found) <= min(cost(t) for t in np.geomspace(0.1, 10, 400)) + 1e-6


def test_extremes_stay_within_bounds() -> None:
    sure = np.eye(3) * 5
    assert TEMPERATURE_RANGE[0] <= most_likely_temperature(sure, np.arange(3)) < 0.2
    assert 19 < most_likely_temperature(sure, (np.arange(3) + 1) % 3) <= TEMPERATURE_RANGE[1]


def test_nothing_to_fit_on() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int), np.zeros(0)) == 1.0
    # Neither a temperature nor its variance can be told from what is always the same.
    assert fit_temperature(np.zeros((6, 3)), np.arange(6) % 3, np.arange(6)) == 1.0


# === Speakers ===


def of_speakers(factors: Sequence[float], num_clips: int) -> tuple[np.ndarray, ...]:
    """Logits, truths and speakers; those of each speaker are too sure by a factor of his own."""
    logits, truth = drawn(num_clips * len(factors))
    speakers = np.repeat(np.arange(len(factors)), num_clips)
    return logits * np.array(factors)[speakers, None], truth, speakers


def test_speakers_who_disagree_draw_it_towards_one() -> None:
    logits, truth, speakers = of_speakers((4.0, 0.8), 400)
    likeliest = most_likely_temperature(logits, truth)
    assert likeliest > 1.5
    assert 1 <= fit_temperature(logits, truth, speakers) < 1 + (likeliest - 1) / 2
    # Clips that were all independent would leave no doubt.
    alone = fit_temperature(logits, truth, np.arange(len(truth)))
    assert alone == pytest.approx(likeliest, rel=0.02)


def test_speakers_who_agree_leave_it_as_it_is() -> None:
    logits, truth, speakers = of_speakers((2.0, 2.0, 2.0, 2.0), 500)
    likeliest = most_likely_temperature(logits, truth)
    assert fit_temperature(logits, truth, speakers) == pytest.approx(likeliest, rel=0.05)


def test_more_speakers_tell_more() -> None:
    found = []
    for repeats in (1, 4, 16):
        logits, truth, speakers = of_speakers((3.0, 1.2) * repeats, 200)
        likeliest = np.log(most_likely_temperature(logits, truth))
        found.append(np.log(fit_temperature(logits, truth, speakers)) / likeliest)
    assert found[0] < found[1] < found[2]
    assert found[2] > 0.9


def test_clips_of_a_single_speaker_count_as_independent() -> None:
    logits, truth = drawn(300)
    one = fit_temperature(logits * 3, truth, np.zeros(300))
    assert one == fit_temperature(logits * 3, truth, np.arange(300))
    assert one == pytest.approx(3.0, rel=0.15)


def test_its_variance_is_that_of_other_speakers() -> None:
    """Against what the likeliest temperature does over many draws of 20 speakers."""
    rng = np.random.default_rng(1)
    found, told = [], []
    for _ in range(200):
        logits = rng.normal(0, 2, (20, 30, 5))
        truth = (rng.random((20, 30, 1)) > softmax(logits, axis=2).cumsum(axis=2)).sum(axis=2)
        logits = (logits * np.exp(rng.normal(0, 0.4, (20, 1, 1)))).reshape(600, 5)
        truth, speakers = truth.reshape(600), np.repeat(np.arange(20), 30)
        temperature = most_likely_temperature(logits, truth)
        found.append(np.log(temperature))
        told.append(_variance_of_log(logits / temperature, truth, speakers))
    assert np.mean(told) == pytest.approx(np.var(found), rel=0.25)


@pytest.mark.parametrize("speakers", [np.zeros(7), np.arange(7) % 2, np.arange(7)])
@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("sureness", [2.0, 5.0, 50.0])
def test_only_right_answers_say_nothing(sureness: float, kind: type, speakers: np.ndarray) -> None:
    """The likelihood then grows with every further sharpening."""
    logits = sureness * np.eye(7) + np.random.default_rng(0).normal(0, 0.3, (7, 7))
    assert fit_temperature(logits.astype(kind), np.arange(7), speakers) == 1.0


def test_a_second_speaker_of_one_clip_makes_nothing_surer() -> None:
    logits, truth = drawn(200)
    alone = _variance_of_log(logits, truth, np.arange(200))
    assert _variance_of_log(logits, truth, np.arange(200) == 0) >= 0.5 * alone


# === Likelihood ===


def test_likelihood_by_hand() -> None:
    shares = np.array([[0.5, 0.5], [0.9, 0.1]])
    expected = -(np.log(0.5) + np.log(0.1)) / 2
    assert nll(np.log(shares), np.array([0, 1])) == pytest.approx(expected)
