"""Calibrated late fusion: a temperature per stream, weighted log-probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing
from affectstream.modeling.metrics.calibration import fit_temperature, nll

# Smallest stream weight: the stream alone must still be able to predict.
MIN_WEIGHT = 0.02


@keras.saving.register_keras_serializable(package="affectstream")
class CalibratedLate(keras.layers.Layer):
    """Weighted mean of calibrated log-probabilities, sharpened if several streams are present.

    For one row with the present streams `s`, weights w and temperatures T:

        mean = sum_s w_s (log softmax(logits_s / T_s) - log prior_s) / sum_s w_s
        logits = mean * (1 + (sharpness - 1) * (number present - 1) / (number of streams - 1))

    A stream alone therefore yields its own calibrated probabilities. Weights are set by `calibrate`
    (recordings with all streams) or `assume_independent` (streams trained separately).

    Call:
      logits: list of (batch, classes), one per stream.
      present: list of (batch,) 0 or 1.
    Returns:
      (batch, classes) float32.
    Source: Guo et al. 2017 (temperature); Hinton 2002 (product of experts).
    """

    def __init__(self, num_streams: int, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.num_streams = num_streams
        self.num_classes = num_classes

        def fixed(name: str, shape: tuple[int, ...], start: str) -> Any:
            return self.add_weight(name=name, shape=shape, initializer=start, trainable=False)

        self.temperatures = fixed("temperatures", (num_streams,), "ones")
        self.stream_weights = fixed("stream_weights", (num_streams,), "ones")
        self.log_priors = fixed("log_priors", (num_streams, num_classes), "zeros")
        self.sharpness = fixed("sharpness", (), "ones")

    def build(self, *_: Any) -> None:
        self.built = True

    def call(self, logits: list[Any], present: list[Any]) -> Any:
        is_present = ops.cast(ops.stack(present, axis=1), "float32")
        kept = [zero_if_missing(x, p) for x, p in zip(logits, present, strict=True)]
        scaled = ops.stack([ops.cast(x, "float32") for x in kept], axis=1)
        scaled = scaled / self.temperatures[None, :, None]
        scores = ops.log_softmax(scaled, axis=-1) - self.log_priors[None]
        weights = is_present * self.stream_weights[None]
        total = ops.maximum(ops.sum(weights, axis=1, keepdims=True), 1e-6)
        mean = ops.sum(scores * weights[:, :, None], axis=1) / total
        further = ops.maximum(ops.sum(is_present, axis=1, keepdims=True) - 1.0, 0.0)
        share = further / max(self.num_streams - 1, 1)
        return mean * (1.0 + (self.sharpness - 1.0) * share)

    def compute_output_shape(self, logits_shape: Any, present_shape: Any = None) -> Any:
        return (logits_shape[0][0], self.num_classes)

    def get_config(self) -> dict[str, Any]:
        mine = {"num_streams": self.num_streams, "num_classes": self.num_classes}
        return {**super().get_config(), **mine}

    def calibrate(
        self,
        logits: Sequence[np.ndarray],
        present: Sequence[np.ndarray],
        truth: np.ndarray,
        speakers: np.ndarray,
    ) -> None:
        """Fits temperatures, weights and sharpness by the likelihood of held-out recordings.

        Args:
          logits: (clips, classes) of each stream.
          present: (clips,) bool of each stream.
          truth: (clips,) int.
          speakers: (clips,), see `fit_temperature`.
        """
        temperatures = [
            fit_temperature(x[p], truth[p], speakers[p])
            for x, p in zip(logits, present, strict=True)
        ]
        full = np.all(present, axis=0)
        scores = [
            log_softmax(x[full] / t, axis=1) for x, t in zip(logits, temperatures, strict=True)
        ]
        weights, sharpness = np.full(len(scores), 1 / len(scores)), 1.0
        if full.any() and len(scores) > 1:
            weights, sharpness = _fit_weights(np.stack(scores), truth[full])
        self.temperatures.assign(temperatures)
        self.stream_weights.assign(weights)
        self.sharpness.assign(sharpness)

    def assume_independent(
        self, temperatures: Sequence[float], log_priors: Sequence[Sequence[float]]
    ) -> None:
        """Equal weights: multiplies probabilities, divides out each training's class shares.

        Args:
          temperatures: of each stream, from its own validation split.
          log_priors: (streams, classes) log class shares of each training.
        """
        self.temperatures.assign(list(temperatures))
        self.log_priors.assign(np.array(log_priors, np.float32))
        self.stream_weights.assign(np.full(self.num_streams, 1 / self.num_streams))
        self.sharpness.assign(float(self.num_streams))

    def settings(self, streams: Sequence[str]) -> Mapping[str, Any]:
        """The fitted values by stream, for `describe`."""
        temperatures, weights = (
            np.array(ops.convert_to_numpy(v)).tolist()
            for v in (self.temperatures, self.stream_weights)
        )
        return {
            "temperature": dict(zip(streams, temperatures, strict=True)),
            "weight": dict(zip(streams, weights, strict=True)),
            "sharpness": float(ops.convert_to_numpy(self.sharpness)),
        }


def _fit_weights(scores: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, float]:
    """Maximum-likelihood weights (sum 1) and sharpness; scores (streams, clips, classes)."""
    count = len(scores)

    def unpack(parameters: np.ndarray) -> tuple[np.ndarray, float]:
        shares = softmax(np.append(parameters[:-1], 0.0))
        return MIN_WEIGHT + (1 - count * MIN_WEIGHT) * shares, float(np.exp(parameters[-1]))

    def cost(parameters: np.ndarray) -> float:
        weights, sharpness = unpack(parameters)
        fused = np.tensordot(weights, scores, axes=1) * sharpness
        return nll(log_softmax(fused, axis=1), truth)

    start = np.zeros(count)
    start[-1] = np.log(count)
    return unpack(minimize(cost, start, method="Nelder-Mead", options={"xatol": 1e-4}).x)


def calibrated_late(
    streams: tuple[str, ...], num_classes: int, embedding_dims: dict[str, int]
) -> keras.Model:
    """Late fusion with a `CalibratedLate` layer called "late", to be calibrated."""
    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    late = CalibratedLate(len(streams), num_classes, name="late")
    logits = late([inputs[s]["logits"] for s in streams], [inputs[s]["present"] for s in streams])
    return keras.Model(flatten_inputs(inputs), {"logits": logits}, name="fusion")
