"""Smooths a prediction over time: a moving average over its windows."""

from __future__ import annotations

import itertools
from dataclasses import replace

from affectstream.serving.inference.prediction import (
    Prediction,
    WindowPrediction,
    mean_probabilities,
    top_label,
)

# Tolerance for rounding of times when distances of windows are compared.
_SLACK_S = 1e-6


def smoothed(prediction: Prediction, smooth_s: float) -> Prediction:
    """The same prediction with a moving average over its windows.

    The probabilities of a window become the mean over the windows whose middle lies within
    `smooth_s` / 2 of its own. Each stream is averaged over the windows that have it, and stays
    missing in windows that lack it. The prediction for the whole recording does not change.

    Args:
      smooth_s: seconds, above 0; no effect below twice the smallest step between windows (the last
        step may be shorter than the hop).
    Raises:
      ValueError: `smooth_s` is not above 0.
    """
    if not smooth_s > 0:
        raise ValueError(f"smooth_s must be above 0, received {smooth_s}")
    middles = [(window.start_s + window.end_s) / 2 for window in prediction.windows]
    reach_s = smooth_s / 2 + _SLACK_S
    windows = tuple(
        _averaged(
            window,
            [
                other
                for at, other in zip(middles, prediction.windows, strict=True)
                if abs(at - middle) <= reach_s
            ],
        )
        for middle, window in zip(middles, prediction.windows, strict=True)
    )
    return replace(prediction, windows=windows, smooth_s=smooth_s)


def _averaged(window: WindowPrediction, near: list[WindowPrediction]) -> WindowPrediction:
    """Averages `window` over `near`, which includes `window` itself."""
    probabilities = mean_probabilities([other.probabilities for other in near])
    streams = {
        name: mean_probabilities([o.streams[name] for o in near if name in o.streams])
        for name in window.streams
    }
    return replace(
        window, label=top_label(probabilities), probabilities=probabilities, streams=streams
    )


def num_changes(prediction: Prediction) -> int:
    """Number of windows whose label differs from the label of the window before."""
    labels = [window.label for window in prediction.windows]
    return sum(one != other for one, other in itertools.pairwise(labels))
