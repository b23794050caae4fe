"""Temperatures and weights, fitted on validation."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

TEMPERATURE_RANGE = (0.05, 20.0)


def nll(log_probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Mean negative log-likelihood of the true classes.

    Args:
      log_probabilities: (clips, classes).
      truth: (clips,) int.
    """
    return float(-np.mean(log_probabilities[np.arange(len(truth)), truth]))


def fit_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """The temperature that makes the likelihood of the truth greatest; 1 without any clip.

    Args:
      logits: (clips, classes) float.
      truth: (clips,) int.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2.
    """
    if len(truth) == 0:
        return 1.0

    def cost(log_temperature: float) -> float:
        return nll(log_softmax(logits / np.exp(log_temperature), axis=1), truth)

    bounds = tuple(np.log(TEMPERATURE_RANGE))
    return float(np.exp(minimize_scalar(cost, bounds=bounds, method="bounded").x))
