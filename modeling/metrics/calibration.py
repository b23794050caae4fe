"""Temperature scaling, fitted on validation data."""

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
    """Maximum-likelihood temperature, shrunk towards 1 by its speaker-clustered variance.

    A few speakers say little about the next one: with two validation speakers, the
    maximum-likelihood temperature describes these two as much as the model. Its logarithm u is
    modelled as a draw around 0 whose variance is the excess of u^2 over v, the sampling variance of
    u. So u is multiplied by max(0, 1 - v / u^2). v is clustered by speaker, because clips of a
    speaker are alike, but is never below the variance for independent clips; with a single speaker
    it is that variance.

    Args:
      logits: (clips, classes) float.
      truth: (clips,) int.
      speakers: (clips,) of any type; equal for clips that are not independent.
    Returns:
      1.0 if no temperature can be estimated: no clip, or only correct predictions.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks, section 4.2; Liang & Zeger
      1986, Longitudinal data analysis using generalized linear models (v); Efron & Morris 1973,
      Stein's estimation rule and its competitors: an empirical Bayes approach (for one value, as
      here, the rule of maximum marginal likelihood, without a guarantee to be best everywhere).
    """
    logits = np.asarray(logits, np.float64)
    temperature = most_likely_temperature(logits, truth)
    square = np.log(temperature) ** 2
    variance = _variance_of_log(logits / temperature, truth, speakers)
    if variance >= square:
        return 1.0
    return float(temperature ** (1 - variance / square))


def _variance_of_log(scaled: np.ndarray, truth: np.ndarray, speakers: np.ndarray) -> float:
    """Variance of the logarithm of the maximum-likelihood temperature.

    Args:
      scaled: (clips, classes) float64, logits divided by that temperature.
      truth, speakers: see `fit_temperature`.
    Returns:
      infinity if the likelihood does not depend on the temperature.
    """
    shares = softmax(scaled, axis=1)
    centred = scaled - (shares * scaled).sum(axis=1, keepdims=True)
    # Derivatives of each clip's negative log-likelihood by the logarithm: slope, expected second
    # derivative.
    slope = centred[np.arange(len(truth)), truth]
    information = float((shares * centred**2).sum())
    names, speaker_of_clip = np.unique(speakers, return_inverse=True)
    slopes = np.bincount(speaker_of_clip, slope) if len(names) > 1 else slope
    count = len(slopes)
    if count < 2 or information <= 0:
        return float("inf")
    between = count / (count - 1) * float((slopes**2).sum()) / information**2
    return max(between, 1 / information)


def most_likely_temperature(logits: np.ndarray, truth: np.ndarray) -> float:
    """Maximum-likelihood temperature; 1 without clips.

    Args:
      logits, truth: see `fit_temperature`.
    """
    if len(truth) == 0:
        return 1.0

    def cost(log_temperature: float) -> float:
        return nll(log_softmax(logits / np.exp(log_temperature), axis=1), truth)

    bounds = tuple(np.log(TEMPERATURE_RANGE))
    return float(np.exp(minimize_scalar(cost, bounds=bounds, method="bounded").x))
