"""Temperatures from held-out logits."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from modeling.calibration import TEMPERATURE_RANGE, fit_temperature, nll


def drawn(num_clips: int, num_classes: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Logits that mean exactly what they say, and truths drawn from them."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (num_clips, num_classes))
    chances = softmax(logits, axis=1).cumsum(axis=1)
    return logits, (rng.random((num_clips, 1)) > chances).sum(axis=1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, truth = drawn(8000)
    assert fit_temperature(logits * temperature, truth) == pytest.approx(temperature, rel=0.05)


def test_it_is_the_best_one() -> None:
    logits, truth = drawn(300)
    logits = logits * 2.5

    def cost(temperature: float) -> float:
        return nll(log_softmax(logits / temperature, axis=1), truth)

    fitted = fit_temperature(logits, truth)
    assert cost(fitted) <= min(cost(t) for t in np.geomspace(0.1, 10, 400)) + 1e-6


def test_extremes_stay_within_bounds() -> None:
    sure = np.eye(3) * 5
    assert TEMPERATURE_RANGE[0] <= fit_temperature(sure, np.arange(3)) < 0.2
    assert 19 < fit_temperature(sure, (np.arange(3) + 1) % 3) <= TEMPERATURE_RANGE[1]


def test_nothing_to_fit_on() -> None:
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, int)) == 1.0


def test_likelihood_by_hand() -> None:
    shares = np.array([[0.5, 0.5], [0.9, 0.1]])
    expected = -(np.log(0.5) + np.log(0.1)) / 2
    assert nll(np.log(shares), np.array([0, 1])) == pytest.approx(expected)
