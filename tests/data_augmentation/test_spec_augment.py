"""SpecAugment: exact masks when fixed, limits when drawn, the identity when not training."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

keras = pytest.importorskip("keras")

from affectstream.core.errors import UserError  # noqa: E402
from affectstream.data_augmentation.chain import parse_transforms  # noqa: E402
from affectstream.data_augmentation.spectrogram.spec_augment import SpecAugment  # noqa: E402
from affectstream.data_augmentation.transform import Transform  # noqa: E402


def spectrogram(batch_size: int = 3, num_mels: int = 16, num_frames: int = 30) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.uniform(-80, 0, (batch_size, num_mels, num_frames)).astype(np.float32)


def numpy(value: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(value)


def widths(hidden: np.ndarray, axis: int) -> np.ndarray:
    """How many bins (axis 1) or frames (axis 2) are hidden altogether, for each example."""
    return hidden.all(axis=3 - axis).sum(axis=1)


# === Applying ===


@pytest.mark.parametrize("with_channel", [False, True])
@pytest.mark.parametrize("fill_value", [None, -80.0])
def test_fixed_masks_hide_exactly(with_channel: bool, fill_value: float | None) -> None:
    given = spectrogram(batch_size=2)
    shaped = given[..., None] if with_channel else given
    masked = SpecAugment(fill_value=fill_value).apply_masks(
        shaped,
        frequency_start_bins=np.array([[2, 10], [0, 0]], np.int32),
        frequency_width_bins=np.array([[3, 1], [0, 0]], np.int32),
        time_start_frames=np.array([[29], [5]], np.int32),
        time_width_frames=np.array([[1], [4]], np.int32),
    )
    assert masked.shape == shaped.shape
    hidden = np.zeros(given.shape, bool)
    hidden[0, 2:5] = hidden[0, 10] = hidden[0, :, 29] = hidden[1, :, 5:9] = True
    fill = given.mean(axis=(1, 2), keepdims=True) if fill_value is None else fill_value
    expected = np.where(hidden, fill, given)
    np.testing.assert_allclose(numpy(masked).reshape(given.shape), expected, atol=1e-4)


def test_it_is_the_identity_unless_training() -> None:
    given, layer = spectrogram(), SpecAugment()
    np.testing.assert_array_equal(numpy(layer(given)), given)
    np.testing.assert_array_equal(numpy(layer(given, training=False)), given)
    never = SpecAugment(probability=0.0)
    np.testing.assert_array_equal(numpy(never(given, training=True)), given)
    assert (numpy(layer(given, training=True)) != given).any()


def test_half_precision_keeps_its_dtype() -> None:
    layer = SpecAugment(dtype="mixed_float16")
    masked = layer(spectrogram().astype(np.float16), training=True)
    assert keras.backend.standardize_dtype(masked.dtype) == "float16"
    assert np.isfinite(numpy(masked)).all()


# === Drawing ===


def test_drawn_masks_keep_their_limits_and_use_them() -> None:
    layer = SpecAugment(1, 4, 1, 7, fill_value=100.0)
    hidden = numpy(layer(spectrogram(batch_size=600), training=True)) == 100.0
    bins, frames = widths(hidden, axis=1), widths(hidden, axis=2)
    assert set(bins) == set(range(5))
    assert set(frames) == set(range(8))
    assert bins.mean() == pytest.approx(2.0, abs=0.3)
    assert (hidden.any(axis=0).sum(), hidden.any(axis=(0, 2)).sum()) == (16 * 30, 16)
    drawn = {key: numpy(value) for key, value in layer.sample_masks(600, 16, 30).items()}
    ends = drawn["time_start_frames"] + drawn["time_width_frames"]
    assert (drawn["time_start_frames"].min(), ends.max()) == (0, 30)
    assert all(value.shape == (600, 1) for value in drawn.values())


def test_masks_larger_than_the_spectrogram_and_no_masks() -> None:
    given = spectrogram(batch_size=50, num_mels=4, num_frames=3)
    masked = numpy(SpecAugment(2, 100, 2, 100)(given, training=True))
    assert np.isfinite(masked).all()
    none = SpecAugment(num_frequency_masks=0, num_time_masks=0)
    np.testing.assert_array_equal(numpy(none(given, training=True)), given)


def test_each_example_is_chosen_with_its_probability() -> None:
    layer = SpecAugment(4, 8, 4, 10, probability=0.25)
    given = spectrogram(batch_size=800)
    changed = (numpy(layer(given, training=True)) != given).any(axis=(1, 2))
    assert changed.mean() == pytest.approx(0.25, abs=0.06)


def test_the_seed_decides() -> None:
    given = spectrogram()
    first, same, other = SpecAugment(seed=5), SpecAugment(seed=5), SpecAugment(seed=6)
    calls = [numpy(first(given, training=True)) for _ in range(2)]
    np.testing.assert_array_equal(numpy(same(given, training=True)), calls[0])
    assert (calls[1] != calls[0]).any()
    assert (numpy(other(given, training=True)) != calls[0]).any()


def test_an_epoch_can_be_repeated() -> None:
    given, undisturbed, resumed = spectrogram(), SpecAugment(seed=5), SpecAugment(seed=5)
    epochs = []
    for epoch in range(3):
        undisturbed.begin_epoch(epoch)
        epochs.append([numpy(undisturbed(given, training=True)) for _ in range(2)])
    resumed.begin_epoch(2)
    for step in range(2):
        np.testing.assert_array_equal(numpy(resumed(given, training=True)), epochs[2][step])
    assert (epochs[1][0] != epochs[2][0]).any()


# === Model ===


@pytest.mark.parametrize("compile_with_xla", [False, True])
def test_it_runs_in_a_graph_with_unknown_sizes(compile_with_xla: bool) -> None:
    tf = pytest.importorskip("tensorflow")
    layer = SpecAugment(fill_value=100.0)
    specification = tf.TensorSpec((None, 16, None, 1), tf.float32)
    graph = tf.function(
        lambda inputs: layer(inputs, training=True),
        input_signature=None if compile_with_xla else [specification],
        jit_compile=compile_with_xla,
    )
    for num_frames in (30, 41):
        given = spectrogram(batch_size=20, num_frames=num_frames)[..., None]
        hidden = graph(tf.constant(given)).numpy() == 100.0
        assert hidden.shape == given.shape
        assert 0 < hidden.mean() < 1


def test_a_model_saves_and_reloads_it(tmp_path: Any) -> None:
    inputs = keras.Input((16, None))
    layer = SpecAugment(1, 3, 2, 5, fill_value=-80.0, probability=0.5, seed=9, name="masks")
    model = keras.Model(inputs, layer(inputs))
    assert model.output_shape == (None, 16, None)
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").get_layer("masks")
    assert again.get_config() == layer.get_config()
    assert json.loads(json.dumps(again.get_config()))["max_time_mask_frames"] == 5


# === Arguments ===


def test_text_becomes_a_layer() -> None:
    layer: Any
    (layer,) = parse_transforms("spec_augment:num_time_masks=1:fill_value=-80:seed=3")
    assert (type(layer), issubclass(SpecAugment, Transform)) == (SpecAugment, True)
    assert (layer.stream, layer.num_time_masks, layer.fill_value, layer.seed) == (
        "features",
        1,
        -80.0,
        3,
    )
    (layer,) = parse_transforms("spec_augment:fill_value=none")
    assert layer.fill_value is None
    with pytest.raises(UserError, match=r"num_time_masks=1\.5: must be a whole number"):
        parse_transforms("spec_augment:num_time_masks=1.5")
    with pytest.raises(UserError, match="one of: num_frequency_masks"):
        parse_transforms("spec_augment:kwargs=1")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_time_masks": -1}, "num_time_masks.*-1"),
        ({"max_frequency_mask_bins": -2}, "max_frequency_mask_bins.*-2"),
        ({"probability": 1.5}, "probability.*1.5"),
        ({"fill_value": float("nan")}, "fill_value.*nan"),
        ({"seed": -1}, "seed.*-1"),
    ],
)
def test_wrong_arguments_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SpecAugment(**fields)


def test_another_rank_is_refused() -> None:
    with pytest.raises(ValueError, match=r"received shape \(16, 30\)"):
        SpecAugment()(np.zeros((16, 30), np.float32), training=True)
