"""`elu_cnn` over time: a clip is the mean over its faces."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from affectstream.core.errors import UserError
from affectstream.modeling.encoders.video.elu_cnn import elu_cnn, elu_cnn_face
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.models.stream_model import build_stream_model
from affectstream.modeling.recipes.video import ELU_CNN_VIDEO
from tests.modeling.encoders.test_encoder_contract import (
    EMBEDDING_DIM,
    NUM_CLASSES,
    answer,
    build,
    example,
)


def test_masked_frames_change_nothing() -> None:
    model = build("elu_cnn")
    frames, mask = example("elu_cnn")
    before = answer(model, [frames, mask])
    frames = frames.copy()
    frames[~mask] = 1e3
    for key, value in answer(model, [frames, mask]).items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)
    cut = [np.delete(frames, 1, axis=1), np.delete(mask, 1, axis=1)]
    for key, value in answer(model, cut).items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)


def test_order_of_frames_changes_nothing() -> None:
    model = build("elu_cnn")
    frames, mask = example("elu_cnn")
    order = [2, 0, 3, 1]
    before = answer(model, [frames, mask])
    for key, value in answer(model, [frames[:, order], mask[:, order]]).items():
        np.testing.assert_allclose(value, before[key], atol=1e-6)


def test_the_mean_is_over_probabilities() -> None:
    model = build("elu_cnn")
    frames, mask = example("elu_cnn")
    single = model.get_layer("elu_cnn_face")
    probabilities, embeddings = [], []
    for row in range(len(frames)):
        made = answer(single, frames[row][mask[row]])
        shares = np.exp(made["logits"]) / np.exp(made["logits"]).sum(axis=1, keepdims=True)
        probabilities.append(shares.mean(axis=0))
        embeddings.append(made["embedding"].mean(axis=0))
    made = answer(model, [frames, mask])
    np.testing.assert_allclose(np.exp(made["logits"]), probabilities, atol=1e-6)
    np.testing.assert_allclose(made["embedding"], embeddings, atol=1e-5)


def test_a_clip_without_a_face_says_nothing() -> None:
    model = build("elu_cnn")
    frames, mask = example("elu_cnn")
    mask = mask.copy()
    mask[0] = False
    made = answer(model, [frames, mask])
    assert np.ptp(made["logits"][0]) == 0
    np.testing.assert_array_equal(made["embedding"][0], 0)


def test_one_frame_alone_is_the_face_network() -> None:
    clip, single = build("elu_cnn"), elu_cnn_face((32, 32, 1), NUM_CLASSES, EMBEDDING_DIM)
    single.set_weights(clip.get_layer("elu_cnn_face").get_weights())
    frames, _ = example("elu_cnn")
    as_clips = answer(clip, [frames[:, :1], np.ones((3, 1), bool)])["logits"]
    logits = answer(single, frames[:, 0])["logits"]
    log_shares = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(as_clips, log_shares, atol=1e-5)


def test_attention_weighs_the_frames() -> None:
    """Frames that score higher count more; those without a face never do."""
    keras.utils.set_random_seed(0)
    model = elu_cnn((None, 32, 32, 1), 4, embedding_dim=6, pooling="attention")
    rng = np.random.default_rng(0)
    faces = rng.uniform(size=(2, 3, 32, 32, 1)).astype(np.float32)
    mask = np.array([[True, True, False], [False, False, False]])
    inner = keras.Model(
        model.inputs,
        [model.get_layer("attention").output, model.get_layer("attention_weights").output],
    )
    scores, weights = (np.asarray(x) for x in inner([faces, mask]))
    scores = scores.reshape(2, 3)
    expected = np.exp(scores[0, :2]) / np.exp(scores[0, :2]).sum()
    np.testing.assert_allclose(weights[0, :2], expected, rtol=1e-5)
    np.testing.assert_array_equal(weights[:, 2], 0)
    np.testing.assert_array_equal(weights[1], 0)
    single = [
        np.exp(np.asarray(model([faces[:1, k : k + 1], mask[:1, :1]])["logits"][0])) for k in (0, 1)
    ]
    whole = np.exp(np.asarray(model([faces, mask])["logits"][0]))
    np.testing.assert_allclose(whole, expected @ np.stack(single), rtol=1e-4)


def test_another_pooling_is_refused() -> None:
    with pytest.raises(UserError, match="pooling=max: must be mean or attention"):
        elu_cnn((None, 32, 32, 1), 4, pooling="max")


def test_clips_without_any_frame_say_nothing() -> None:
    spec = InputSpec(face_size_px=32, face_channels=1)
    whole = build_stream_model(ELU_CNN_VIDEO, NUM_CLASSES, spec).whole
    given = {"video": np.zeros((2, 0, 32, 32, 1), np.uint8), "video_mask": np.zeros((2, 0), bool)}
    made = answer(whole, given)
    assert np.ptp(made["logits"]) == 0
    np.testing.assert_array_equal(made["embedding"], 0)
