"""Temperatures and weights, fitted on validation."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax

TEMPERATURE_RANGE = (0.05, 20.0)


def nll(log_probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes.

    Args:
      log_probabilities: (clips, classes).
      truth: (clips,) int.
    """
    return float(-np.mean(log_probabilities[np.arange(len(truth)), truth]))


def fit_temperature(logits: np.ndarray, truth: np.ndarray, speakers: np.ndarray) -> float:
    """The likeliest temperature, drawn towards 1 as far as the speakers disagree about it.

    A few speakers tell little of the next one: with two that validate, the likeliest temperature
    is as much theirs as the model's. Its logarithm u is taken for a draw around 0 whose spread is
    what is left of u^2 beyond its own variance v, and is multiplied by max(0, 1 - v / u^2); v
    counts whole speakers, for clips of one are alike. From a single speaker v cannot be told; his
    clips are then taken for independent.

    Args:
      logits: (clips, classes) float.
      truth: (clips,) int.
      speakers: (clips,) of any kind; equal where clips are not independent.
    Returns:
      1.0 without any clip.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2; Liang & Zeger
      1986 (variance of what clusters); Efron & Morris 1973 (shrinking by its own variance).
    """
    temperature = most_likely_temperature(logits, truth)
    deviation = np.log(temperature)
    variance = _log_temperature_variance(logits / temperature, truth, speakers)
    if variance >= deviation**2:
        return 1.0
    return float(np.exp(deviation * (1 - variance / deviation**2)))


def _log_temperature_variance(scaled: np.ndarray, truth: np.ndarray, speakers: np.ndarray) -> float:
    """Of the logarithm of the likeliest temperature, robust to clips of a speaker being alike.

    Args:
      scaled: (clips, classes) logits divided by that temperature.
    Returns:
      infinity where the likelihood does not depend on the temperature.
    """
    shares = softmax(scaled, axis=1)
    expected = (shares * scaled).sum(axis=1)
    # Derivatives of each clip's negative log-likelihood by the logarithm of the temperature.
    slope = scaled[np.arange(len(truth)), truth] - expected
    curvature = (shares * scaled**2).sum(axis=1) - expected**2
    names, of = np.unique(speakers, return_inverse=True)
    slopes = np.bincount(of, slope) if len(names) > 1 else slope
    total, count = curvature.sum(), len(slopes)
    if count < 2 or total <= 0:
        return float("inf")
    return float(count / (count - 1) * (slopes**2).sum() / total**2)


def most_likely_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that makes the likelihood of the truth greatest; 1 without any clip.

    Args:
      logits, truth: see `fit_temperature`.
    """
    if len(truth) == 0:
        return 1.0

    def cost(log_temperature: float) -> float:
        return nll(log_softmax(logits / np.exp(log_temperature), axis=1), truth)

    bounds = tuple(np.log(TEMPERATURE_RANGE))
    return float(np.exp(minimize_scalar(cost, bounds=bounds, method="bounded").x))
