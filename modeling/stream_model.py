"""One stream from raw input to logits: front end, standardisation, encoder."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras

import registry
from data_augmentation.chain import parse_transforms
from errors import UserError
from modeling.features.window import FitWindow
from modeling.recipes import Recipe
from preprocessing.data_folder import DataFolder

INPUT_NAMES = {"audio": ("audio", "audio_length"), "video": ("video", "video_mask")}


@dataclass(frozen=True)
class InputSpec:
    """What a model is fed with; stored with it and repeated to every client.

    Attributes:
      sample_rate_hz: of `audio`; None for a model without sound.
      face_size_px, face_channels: of `video`; None for a model without pictures.
    """

    sample_rate_hz: int | None = None
    face_size_px: int | None = None
    face_channels: int | None = None

    @classmethod
    def of(cls, folder: DataFolder, stream: str) -> InputSpec:
        """What the records of `folder` hold of one stream."""
        if stream == "audio":
            return cls(sample_rate_hz=folder.sample_rate_hz)
        face = folder.crop_format
        return cls(face_size_px=face.size_px, face_channels=face.num_channels)


def inputs(streams: tuple[str, ...], spec: InputSpec) -> dict[str, keras.KerasTensor]:
    """Keras inputs of some streams, by the names used everywhere.

    Returns:
      `audio` (batch, samples) float32 in [-1, 1], `audio_length` (batch,) int32,
      `video` (batch, frames, height, width, channels) uint8, `video_mask` (batch, frames) bool.
    """
    made: dict[str, keras.KerasTensor] = {}
    if "audio" in streams:
        made["audio"] = keras.Input((None,), name="audio", dtype="float32")
        made["audio_length"] = keras.Input((), name="audio_length", dtype="int32")
    if "video" in streams:
        side, channels = spec.face_size_px, spec.face_channels
        shape = (None, side, side, channels)
        made["video"] = keras.Input(shape, name="video", dtype="uint8")
        made["video_mask"] = keras.Input((None,), name="video_mask", dtype="bool")
    return made


def build_stream_model(recipe: Recipe, num_classes: int, spec: InputSpec) -> keras.Model:
    """The network of one stream, untrained.

    Args:
      recipe: its encoder, features and settings.
      num_classes: classes of the label set.
      spec: of the records that it will be trained on.
    Returns:
      Model from the stream's inputs to {"logits": (B, classes), "embedding": (B, D)} float32.
    Raises:
      UserError: records of another sampling rate than the features are made for.
    """
    build = registry.load("encoders", recipe.encoder)
    raw = inputs((recipe.stream,), spec)
    if recipe.stream == "audio":
        features, shape = _audio_features(recipe, raw, spec)
        outputs = build(shape, num_classes, **recipe.encoder_settings)(features)
    else:
        faces = keras.layers.Rescaling(1 / 255, name="faces")(raw["video"])
        shape = tuple(raw["video"].shape[1:])
        encoder = build(shape, num_classes, **recipe.encoder_settings)
        outputs = encoder([faces, raw["video_mask"]])
    named = {
        name: keras.layers.Activation("linear", dtype="float32", name=name)(outputs[name])
        for name in ("logits", "embedding")
    }
    return keras.Model(raw, named, name=f"{recipe.stream}_stream")


def _audio_features(recipe: Recipe, raw: dict[str, Any], spec: InputSpec) -> tuple[Any, Any]:
    config = registry.load("features", recipe.features)
    if spec.sample_rate_hz != config.sample_rate_hz:
        raise UserError(
            f"features {recipe.features!r} are made for {config.sample_rate_hz} Hz, the records"
            f" hold {spec.sample_rate_hz} Hz; preprocess with --sample-rate {config.sample_rate_hz}"
            " or choose other features (--set features=NAME)"
        )
    window = FitWindow(config.window_samples, config.offset_samples, name="window")
    spectrogram = config.build()(window(raw["audio"], raw["audio_length"]))
    # One mean and deviation a band, from the training part (`adapt` in train_stream).
    spectrogram = keras.layers.Normalization(axis=1, name="standardise")(spectrogram)
    for transform in parse_transforms(recipe.transforms):
        if isinstance(transform, keras.layers.Layer):
            spectrogram = transform(spectrogram)
    features = keras.layers.Reshape(config.output_shape, name="picture")(spectrogram)
    return features, config.output_shape


def feature_model(model: keras.Model) -> keras.Model:
    """The part of an audio model up to what `standardise` takes in."""
    standardise = model.get_layer("standardise")
    inputs = {name: model.get_layer(name).output for name in INPUT_NAMES["audio"]}
    return keras.Model(inputs, standardise.input)
