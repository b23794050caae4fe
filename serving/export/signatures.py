"""Signatures of a served model: all streams, single streams, files as bytes, labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from affectstream.modeling.data.record_dataset import missing_stream_input
from affectstream.modeling.evaluation.token_model import TOKEN_IDS
from affectstream.modeling.features.audio.window import FitWindow
from affectstream.modeling.layer_tree import all_layers
from affectstream.serving.export.wav_bytes import assert_no_problems, decode_wavs
from affectstream.serving.exported.version_folder import DEFAULT_SIGNATURE

Tensors = dict[str, tf.Tensor]
Specs = dict[str, tf.TensorSpec]

SERVE_BYTES = "serve_bytes"
LABELS = "labels"
ANY = "any"  # input of `labels`
# Stream -> its inputs; a text model has one of the two.
STREAM_INPUTS = {
    "audio": ("audio", "audio_length"),
    "video": ("video", "video_mask"),
    "text": ("text", TOKEN_IDS),
}
STREAM_OUTPUTS = ("probabilities", "label", "embedding")
WAV, FACE_JPEG = "wav", "face_jpeg"

MAX_FACE_PX = 2048
JPEG_START = b"\xff\xd8\xff"
# Weights of red, green and blue in OpenCV's grey conversion, times 2**15.
GREY_WEIGHTS, GREY_SHIFT = (9798, 19235, 3735), 15


class ServedModel(tf.Module):
    """The saved object: named signatures over named inputs, with labels and config as assets.

    `serving_default` takes the model's inputs among these: `audio` (B, samples) float32 at the
    model's rate, `audio_length` (B,) int32, `video` (B, T, H, W, C) uint8 face crops or (B, T,
    units) float32 action units, `video_mask` (B, T) bool, `text` (B,) string. A stream is missing
    for a row if its length is 0, its mask is all 0 or its text is empty; one zero sample or one
    zero frame is enough padding. It returns `probabilities` (B, classes) float32, `label` (B,)
    string, `embedding` (B, D) float32, the concatenated streams with zeros for missing ones, and
    `STREAM_probabilities` (B, classes) for each stream: the `probabilities` with all other streams
    missing.

    `audio`, `video`, `text`, one for each stream of the model: takes the inputs of that stream, the
    others are missing; returns `probabilities`, `label`, `embedding`.

    `serve_bytes`, for a model with audio or face crops: `wav` (B,) string replaces `audio` and its
    length (see `wav_bytes.decode_wavs`), `face_jpeg` (B, T) string replaces `video` and its mask
    (see `face_crops`); other inputs are unchanged. Returns the outputs of `serving_default`.

    `labels`: takes `any` (B,) string, which is ignored; returns `labels` (B, classes) string, so
    that the first dimension is the batch.

    `token_ids`, for a text model with tokens: as `serving_default` with `token_ids` (B, T) int32 in
    place of `text` (padded with 0, all 0 if missing; ids are line numbers of
    `assets/vocabulary.txt`, from 0).

    Args:
      models: signature -> model, for `serving_default` and, if present, `token_ids`.
      labels: classes, in output order.
      streams: of the model.
      sample_rate_hz: of `audio`; None for a model without audio.
    """

    def __init__(
        self,
        models: dict[str, keras.Model],
        labels: Sequence[str],
        streams: Sequence[str],
        sample_rate_hz: int | None = None,
    ) -> None:
        super().__init__()
        self.models = models
        self.sample_rate_hz = sample_rate_hz
        self.class_names = tf.constant(list(labels))
        self.functions = {name: self._whole(model) for name, model in models.items()}
        model, whole = models[DEFAULT_SIGNATURE], self.functions[DEFAULT_SIGNATURE]
        for stream in streams:
            self.functions[stream] = self._of_stream(model, whole, stream)
        if takes_bytes(model):
            self.functions[SERVE_BYTES] = self._of_bytes(model, whole)
        self.functions[LABELS] = self._labels()

    def attach_assets(self, assets: dict[str, Path]) -> None:
        """Attaches asset files as attributes `NAME_asset`, so that they are saved as well."""
        for name, path in assets.items():
            setattr(self, f"{name}_asset", tf.saved_model.Asset(str(path)))

    def describe_signatures(self) -> dict[str, Any]:
        """Shapes (-1: any length) and dtypes of each signature's inputs and outputs, for JSON."""
        made = {}
        for name, function in self.functions.items():
            concrete = function.get_concrete_function()
            ((inputs,), _) = concrete.structured_input_signature
            sides = {"inputs": inputs, "outputs": concrete.structured_outputs}
            made[name] = {
                side: {
                    key: {"shape": _shape(spec), "dtype": spec.dtype.name}
                    for key, spec in specs.items()
                }
                for side, specs in sides.items()
            }
        return made

    # === One signature each ===

    def _whole(self, model: keras.Model) -> Any:
        return _function(lambda inputs: self._serve(model, inputs), input_specs(model))

    def _serve(self, model: keras.Model, inputs: Tensors) -> Tensors:
        made = model(inputs, training=False)
        label = tf.gather(self.class_names, tf.argmax(made["probabilities"], axis=1))
        return {**made, "label": label}

    def _of_stream(self, model: keras.Model, whole: Any, stream: str) -> Any:
        specs = input_specs(model)
        own = {name: specs[name] for name in STREAM_INPUTS[stream] if name in specs}
        others = {name: spec for name, spec in specs.items() if name not in own}

        def serve(inputs: Tensors) -> Tensors:
            num_rows = tf.shape(next(iter(inputs.values())))[0]
            missing = {
                name: missing_stream_input(spec.shape, spec.dtype, num_rows)
                for name, spec in others.items()
            }
            made = whole({**inputs, **missing})
            return {name: made[name] for name in STREAM_OUTPUTS}

        return _function(serve, own)

    def _of_bytes(self, model: keras.Model, whole: Any) -> Any:
        specs = input_specs(model)
        rate_hz = self.sample_rate_hz
        if "audio" in specs:
            if rate_hz is None:
                raise ValueError("a model with sound needs sample_rate_hz")
            window = _samples_looked_at(model)
            specs[WAV] = tf.TensorSpec((None,), tf.string, WAV)
            del specs["audio"], specs["audio_length"]
        if _has_faces(model):
            *_, size_px, _, num_channels = model.input["video"].shape
            specs[FACE_JPEG] = tf.TensorSpec((None, None), tf.string, FACE_JPEG)
            del specs["video"], specs["video_mask"]

        def serve(inputs: Tensors) -> Tensors:
            given = dict(inputs)
            if WAV in given and rate_hz is not None:
                wav = given.pop(WAV)
                given["audio"], given["audio_length"] = decode_wavs(wav, rate_hz, window)
            if FACE_JPEG in given:
                jpeg = given.pop(FACE_JPEG)
                given["video"], given["video_mask"] = face_crops(jpeg, size_px, num_channels)
            return whole(given)

        return _function(serve, specs)

    def _labels(self) -> Any:
        def serve(inputs: Tensors) -> Tensors:
            shape = tf.stack([tf.size(inputs[ANY]), tf.size(self.class_names)])
            labels = tf.broadcast_to(self.class_names, shape)
            return {LABELS: tf.ensure_shape(labels, (None, self.class_names.shape[0]))}

        return _function(serve, {ANY: tf.TensorSpec((None,), tf.string, ANY)})


def _function(serve: Callable[[Tensors], Tensors], specs: Specs) -> Any:
    return tf.function(serve, input_signature=[specs])


def _shape(spec: Any) -> list[int]:
    """Shape in TensorFlow Serving's notation: -1 for any length."""
    return [-1 if length is None else length for length in spec.shape.as_list()]


# === What a model takes ===


def input_specs(model: keras.Model) -> Specs:
    """Input specs by name."""
    return {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
        for name, tensor in model.input.items()
    }


def takes_bytes(model: keras.Model) -> bool:
    """Whether an input can be sent as files: audio or faces, not action units or text."""
    return "audio" in model.input or _has_faces(model)


def _has_faces(model: keras.Model) -> bool:
    return "video" in model.input and len(model.input["video"].shape) == 5


def _samples_looked_at(model: keras.Model) -> int | None:
    """Number of samples from the start that the model reads; None reads all."""
    windows = [layer for layer in all_layers(model) if isinstance(layer, FitWindow)]
    ends = [layer.offset_samples + layer.window_samples for layer in windows]
    return max(ends, default=None)


# === Faces ===


def face_crops(face_jpeg: Any, size_px: int, num_channels: int) -> tuple[Any, Any]:
    """Face crops from a batch of JPEG files, in the format of the training data.

    Each file is the square around a face with the model's margin, of any side up to 2,048 px, grey
    or RGB. It is resized to the model's size as in `affectstream.opencv_model.crops`: area
    averaging to shrink, bilinear to enlarge, then OpenCV's grey conversion for a grey model. An
    empty string is a frame without a face.

    Args:
      face_jpeg: (batch, frames) string.
      size_px: side of the result.
      num_channels: 3 for RGB, 1 for grey.
    Returns:
      (batch, frames, size_px, size_px, num_channels) uint8; (batch, frames) bool.
    Raises:
      tf.errors.InvalidArgumentError: not a JPEG, or an image that is not a crop.
    """
    shape = tf.shape(face_jpeg)
    starts = tf.strings.substr(face_jpeg, 0, len(JPEG_START))
    is_face = tf.not_equal(face_jpeg, "")
    is_wrong = tf.logical_and(is_face, tf.not_equal(starts, JPEG_START))
    says_wrong = "no JPEG; send the face crop as one, or an empty string where there is no face"
    problems = tf.reduce_any(is_wrong, axis=1)
    with tf.control_dependencies([assert_no_problems(tf.where(problems, says_wrong, ""))]):
        flat = tf.reshape(face_jpeg, [-1])
    rows = tf.range(tf.size(flat)) // tf.maximum(shape[1], 1)
    crop_shape = (size_px, size_px, num_channels)

    def one(jpeg_and_row: tuple[Any, Any]) -> Any:
        jpeg, row = jpeg_and_row
        return tf.cond(
            tf.equal(jpeg, ""),
            lambda: tf.zeros(crop_shape, tf.uint8),
            lambda: _crop(jpeg, row, size_px, num_channels),
        )

    signature = tf.TensorSpec(crop_shape, tf.uint8)
    crops = tf.map_fn(one, (flat, rows), fn_output_signature=signature)
    return tf.reshape(crops, tf.concat([shape, crop_shape], axis=0)), is_face


def _crop(jpeg: Any, row: Any, size_px: int, num_channels: int) -> Any:
    """(size_px, size_px, num_channels) uint8; the size is checked before decoding."""
    shape = tf.io.extract_jpeg_shape(jpeg)
    height_px, width_px = shape[0], shape[1]
    fits = tf.logical_and(tf.equal(height_px, width_px), height_px <= MAX_FACE_PX)
    number = tf.strings.as_string
    says = tf.strings.join(
        [
            *("row ", number(row), ": a face crop of ", number(width_px), " x "),
            *(number(height_px), f" px; send the square around the face, at most {MAX_FACE_PX} px"),
        ]
    )
    with tf.control_dependencies([tf.debugging.Assert(fits, [says])]):
        jpeg = tf.identity(jpeg)
    rgb = tf.io.decode_jpeg(jpeg, channels=3, dct_method="INTEGER_ACCURATE")
    size = (size_px, size_px)
    sized = tf.cond(
        height_px > size_px,
        lambda: tf.image.resize(rgb, size, method="area"),
        lambda: tf.image.resize(rgb, size, method="bilinear"),
    )
    sized = tf.cast(tf.clip_by_value(tf.round(sized), 0, 255), tf.int32)
    if num_channels == 1:
        weighted = tf.reduce_sum(sized * GREY_WEIGHTS, axis=-1, keepdims=True)
        sized = (weighted + 2 ** (GREY_SHIFT - 1)) // 2**GREY_SHIFT
    return tf.ensure_shape(tf.cast(sized, tf.uint8), (*size, num_channels))
