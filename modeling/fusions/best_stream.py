"""Predicts with one stream: the first present one in an order of preference."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from keras import ops

from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing
from affectstream.modeling.metrics import classification
from affectstream.modeling.metrics.calibration import fit_temperature

# Class number for a missing prediction.
NO_PREDICTION = -1


@keras.saving.register_keras_serializable(package="affectstream")
class BestStream(keras.layers.Layer):
    """Calibrated logits of the preferred stream among the present ones; 0 if none is present.

    Until `calibrate` sets an order, streams are preferred in input order.

    Call:
      logits: list of (batch, classes), one per stream.
      present: list of (batch,) 0 or 1.
    Returns:
      (batch, classes) float32.
    """

    def __init__(self, num_streams: int, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.num_streams = num_streams
        self.num_classes = num_classes
        shape = (num_streams,)
        self.temperatures = self.add_weight(
            name="temperatures", shape=shape, initializer="ones", trainable=False
        )
        self.preferences = self.add_weight(
            name="preferences", shape=shape, initializer="zeros", trainable=False
        )

    def build(self, *_: Any) -> None:
        self.built = True

    def call(self, logits: list[Any], present: list[Any]) -> Any:
        is_present = ops.stack([ops.cast(flag, "float32") for flag in present], axis=1)
        kept = [
            zero_if_missing(ops.cast(x, "float32"), p) for x, p in zip(logits, present, strict=True)
        ]
        scaled = ops.stack(kept, axis=1) / self.temperatures[None, :, None]
        # The first wins a tie. LiteRT lacks the operation that argmax needs for the sign of zero.
        rank = ops.where(is_present > 0, self.preferences[None], -1e9)
        first = ops.top_k(rank, k=1)[1][:, 0]
        chosen = ops.one_hot(first, self.num_streams, dtype="float32")
        return ops.sum(scaled * chosen[:, :, None], axis=1)

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
        """Sets the order with the highest UAR over all recordings, and each stream's temperature.

        If all streams are always present, the stream with the highest UAR comes first.

        Args:
          logits: (clips, classes) of each stream.
          present: (clips,) bool of each stream.
          truth: (clips,) int.
          speakers: (clips,), see `fit_temperature`.
        """
        predicted = [stream_predictions(x, p) for x, p in zip(logits, present, strict=True)]
        alone = [classification.accuracies(truth, guess)["uar"] for guess in predicted]
        falling = sorted(range(len(predicted)), key=lambda stream: -alone[stream])

        def uar(order: Sequence[int]) -> float:
            answer = np.full(len(truth), NO_PREDICTION)
            for stream in reversed(order):
                answer = np.where(present[stream], predicted[stream], answer)
            return classification.accuracies(truth, answer)["uar"]

        best = max(itertools.permutations(falling), key=uar)  # the first wins a tie
        preferences = [len(best) - best.index(stream) for stream in range(len(best))]
        self.preferences.assign(preferences)
        self.temperatures.assign(
            [
                fit_temperature(x[p], truth[p], speakers[p])
                for x, p in zip(logits, present, strict=True)
            ]
        )

    def assume_independent(
        self, temperatures: Sequence[float], log_priors: Sequence[Sequence[float]]
    ) -> None:
        """Keeps the input order, with the temperature of each stream's own validation split.

        Scores of streams that were validated on different recordings are not comparable.

        Args:
          temperatures: of each stream.
          log_priors: (streams, classes), unused: a single stream's prediction keeps its own.
        """
        self.preferences.assign(np.zeros(self.num_streams))
        self.temperatures.assign(list(temperatures))

    def settings(self, streams: Sequence[str]) -> Mapping[str, Any]:
        """The fitted values, for `describe`: streams by preference, temperatures."""
        preferences = np.array(ops.convert_to_numpy(self.preferences))
        temperatures = np.array(ops.convert_to_numpy(self.temperatures)).tolist()
        order = np.argsort(-preferences, kind="stable")
        return {
            "order": [streams[i] for i in order],
            "temperature": dict(zip(streams, temperatures, strict=True)),
        }


def stream_predictions(logits: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(clips,) int: predictions of one stream, `NO_PREDICTION` if it is missing.

    Args:
      logits: (clips, classes).
      present: (clips,) bool.
    """
    predicted = np.full(len(present), NO_PREDICTION)
    predicted[present] = logits[present].argmax(axis=1)
    return predicted


def best_stream(
    streams: tuple[str, ...], num_classes: int, embedding_dims: dict[str, int]
) -> keras.Model:
    """Selects one stream per clip by a `BestStream` layer called "best"."""
    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    best = BestStream(len(streams), num_classes, name="best")
    logits = best([inputs[s]["logits"] for s in streams], [inputs[s]["present"] for s in streams])
    return keras.Model(flatten_inputs(inputs), {"logits": logits}, name="fusion")
