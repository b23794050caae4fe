"""The model's own window into sound of any length."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.modeling.features.audio.window import FitWindow


def fit(layer: FitWindow, rows: list[list[float]], junk: float = 0.0) -> np.ndarray:
    """The windows of some waveforms, padded with `junk` to one length."""
    longest = max(map(len, rows))
    audio = np.full((len(rows), longest), junk, np.float32)
    for index, row in enumerate(rows):
        audio[index, : len(row)] = row
    return np.asarray(layer(audio, np.array([len(row) for row in rows], np.int32)))


@pytest.mark.parametrize(
    ("samples", "window"),
    [
        ([1, 2, 3, 4, 5, 6, 7], [3, 4, 5, 6]),  # from the offset on
        ([1, 2, 3, 4, 5, 6], [3, 4, 5, 6]),  # just long enough
        ([1, 2, 3, 4, 5], [2, 3, 4, 5]),  # as far in as it goes
        ([1, 2, 3, 4], [1, 2, 3, 4]),
        ([1, 2], [1, 2, 0, 0]),  # filled up behind
        ([], [0, 0, 0, 0]),
    ],
)
def test_a_window_has_exact_values_alone_and_in_a_padded_batch(
    samples: list[float], window: list[float]
) -> None:
    layer = FitWindow(4, offset_samples=2)
    assert fit(layer, [samples]).tolist() == [window]
    # The same inside a padded batch, whatever the padding holds.
    beside = fit(layer, [samples, list(range(20))], junk=99.0)
    assert beside[0].tolist() == window


def test_without_an_offset() -> None:
    assert fit(FitWindow(3), [[1, 2, 3, 4, 5], [7]]).tolist() == [[1, 2, 3], [7, 0, 0]]


def test_a_length_out_of_range_is_taken_as_the_nearest() -> None:
    layer = FitWindow(3)
    audio = np.array([[1, 2, 3, 4], [1, 2, 3, 4]], np.float32)
    assert np.asarray(layer(audio, np.array([9, -1]))).tolist() == [[1, 2, 3], [0, 0, 0]]


def test_in_a_graph_with_free_shapes() -> None:
    layer = FitWindow(4, offset_samples=1)
    audio = keras.Input((None,), dtype="float32")
    length = keras.Input((), dtype="int32")
    model = keras.Model([audio, length], layer(audio, length))
    assert model.output.shape == (None, 4)
    run = tf.function(model)
    for samples in (0, 3, 30):
        waves = np.ones((2, samples), np.float32)
        result = np.asarray(run([waves, np.array([samples, 0], np.int32)]))
        assert result.sum(axis=1).tolist() == [min(samples, 4), 0]


def test_its_settings_are_stored() -> None:
    layer = FitWindow(4, offset_samples=2, name="window")
    again = FitWindow.from_config(layer.get_config())
    assert (again.window_samples, again.offset_samples, again.name) == (4, 2, "window")
