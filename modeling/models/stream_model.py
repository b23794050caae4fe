"""One stream from raw input to logits: front end, standardisation, encoder."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import keras

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import parse_transforms
from affectstream.data_augmentation.spectrogram.spectrogram_transform import SpectrogramTransform
from affectstream.modeling.features.audio.window import FitWindow
from affectstream.modeling.features.front_end import (
    AudioFrontEnd,
    Axes,
    Features,
    FrontEnd,
    max_samples_of_front_end,
)
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import (
    BASE,
    FRONT,
    MEMBER_PREFIX,
    NETWORK,
    SPEED_TTA,
    STANDARDISE,
    stream_layer,
)
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.models.speed_tta import SpeedTTA, SpeedTTAMean, samples_for_speeds
from affectstream.modeling.pretrained_weights import NO_WEIGHTS
from affectstream.modeling.recipes.recipe import StreamRecipe


@dataclass(frozen=True)
class StreamModel:
    """A single-stream model and its two submodels.

    Attributes:
      whole: raw inputs -> {"logits": (B, classes), "embedding": (B, D)} float32.
      front: raw inputs -> {"features": ..., "mask": ...}; has no trained weights.
      network: these features -> the outputs of `whole`; holds all trained weights. With test-time
        augmentation, `whole` averages the outputs of `network` over several speeds.
    """

    whole: keras.Model
    front: keras.Model
    network: keras.Model


def build_stream_model(
    recipe: StreamRecipe,
    num_classes: int,
    spec: InputSpec,
    texts: Sequence[str] = (),
    front_end: FrontEnd | None = None,
) -> StreamModel:
    """Builds the untrained model of one stream.

    Args:
      recipe: its encoder, features and settings.
      num_classes: classes of the label set.
      spec: format of the training records.
      texts: transcripts of the training split, from which a text front end takes its vocabulary.
      front_end: a fitted front end; None fits the recipe's.
    Raises:
      UserError: records that do not fit the features or the encoder.
    """
    front_end = front_end or fitted_front_end(recipe, texts)
    raw = spec.inputs(recipe.stream)
    features = front_end.connect(raw, spec)
    axis = front_end.standardise_axis
    if not recipe.is_ensemble:
        network = _network(recipe, num_classes, features, axis)
    else:
        names = [f"{MEMBER_PREFIX}{number}" for number in range(recipe.ensemble_size)]
        members = [_network(recipe, num_classes, features, axis, name) for name in names]
        network = _averaged(members)
    _require_places(network, getattr(front_end, "max_tokens", 0), recipe)
    features_by_name = _named(features)
    front = keras.Model(raw, features_by_name, name=FRONT)
    if recipe.tta_speeds:
        num_samples = max_samples_of_front_end(cast(AudioFrontEnd, front_end))
        outputs = _at_speeds(recipe.tta_speed_values, num_samples, raw, front, network)
    else:
        outputs = network(features_by_name)
    whole = keras.Model(raw, outputs, name=stream_layer(recipe.stream))
    return StreamModel(whole, front, network)


def fitted_front_end(recipe: StreamRecipe, texts: Sequence[str]) -> FrontEnd:
    """The recipe's front end; a text front end gets its settings and the vocabulary of `texts`.

    Raises:
      UserError: a front end of another stream, or an empty vocabulary.
    """
    front_end = registry.load("features", recipe.features)
    if front_end.stream != recipe.stream:
        raise UserError(
            f"features {recipe.features!r} are of {front_end.stream}, the recipe is for"
            f" {recipe.stream}; see `list features`"
        )
    if recipe.stream != "text":
        return front_end
    if recipe.pretrained != NO_WEIGHTS and recipe.features != "wordpieces":
        raise UserError(
            f"weights={recipe.pretrained} know word pieces, not features {recipe.features!r}; add"
            " --set features=wordpieces, or train from scratch (--set weights=none)"
        )
    front_end = dataclasses.replace(front_end, **recipe.features_settings)
    return front_end.fitted(texts, recipe.pretrained)


def _averaged(members: Sequence[keras.Model]) -> keras.Model:
    """Averages logits (the geometric mean of probabilities); concatenates embeddings."""
    inputs = {
        name: keras.Input(spec.shape[1:], name=name, dtype=spec.dtype)
        for name, spec in members[0].input.items()
    }
    outputs = [member(inputs) for member in members]
    if len(outputs) == 1:
        return keras.Model(inputs, outputs[0], name=NETWORK)
    # Single precision under any policy, like the outputs of the networks themselves.
    mean = keras.layers.Average(name="logits", dtype="float32")
    join = keras.layers.Concatenate(name="embedding", dtype="float32")
    logits, embedding = (
        mean([m["logits"] for m in outputs]),
        join([m["embedding"] for m in outputs]),
    )
    return keras.Model(inputs, {"logits": logits, "embedding": embedding}, name=NETWORK)


def _at_speeds(
    speeds: Sequence[float],
    num_samples: int,
    raw: dict[str, keras.KerasTensor],
    front: keras.Model,
    network: keras.Model,
) -> dict[str, keras.KerasTensor]:
    """Averages the network's outputs over several speeds of each waveform.

    Args:
      num_samples: read by the front end.
    """
    window = FitWindow(samples_for_speeds(speeds, num_samples), name="heard")
    sound = window(raw["audio"], raw["audio_length"])
    resampled = SpeedTTA(speeds, num_samples, name=SPEED_TTA)(sound, raw["audio_length"])
    outputs = network(front(dict(zip(("audio", "audio_length"), resampled, strict=True))))
    return {name: SpeedTTAMean(len(speeds), name=name)(value) for name, value in outputs.items()}


def _network(
    recipe: StreamRecipe,
    num_classes: int,
    features: Features,
    standardise_axis: Axes | None,
    name: str = NETWORK,
) -> keras.Model:
    shape = tuple(features.values.shape[1:])
    kind = "int32" if features.vocabulary_size else None
    values = keras.Input(shape, name="features", dtype=kind)
    inputs = {"features": values}
    x = values
    if standardise_axis is not None:
        x = keras.layers.Normalization(axis=standardise_axis, name=STANDARDISE)(x)
    x = _augmented(x, recipe)
    settings = dict(recipe.encoder_settings)
    build = registry.load("encoders", recipe.encoder)
    if "vocabulary_size" in inspect.signature(build).parameters:
        if not features.vocabulary_size:
            raise UserError(
                f"encoder {recipe.encoder!r} takes tokens, features {recipe.features!r} give none;"
                " choose others (--set features=NAME, see `list features`)"
            )
        settings["vocabulary_size"] = features.vocabulary_size
    encoder = build(shape, num_classes, **settings)
    given: Any = x
    if features.mask is not None:
        inputs["mask"] = keras.Input(features.mask.shape[1:], name="mask", dtype="bool")
        if len(encoder.inputs) == 2:
            given = [x, inputs["mask"]]
    elif len(encoder.inputs) == 2:
        raise UserError(
            f"encoder {recipe.encoder!r} needs features over time, {recipe.features!r} has no"
            " frames; choose others (--set features=NAME, see `list features`)"
        )
    outputs = encoder(given)
    named = {
        name: keras.layers.Activation("linear", dtype="float32", name=name)(outputs[name])
        for name in ("logits", "embedding")
    }
    return keras.Model(inputs, named, name=name)


def _require_places(network: keras.Model, num_tokens: int, recipe: StreamRecipe) -> None:
    """Raises if a pretrained network has fewer positions than a text may have tokens."""
    for layer in all_layers(network):
        places = getattr(layer, "max_sequence_length", None)
        if layer.name == BASE and places is not None and places < num_tokens:
            raise UserError(
                f"weights={recipe.pretrained}: made for {places} tokens, the recipe gives up to"
                f" {num_tokens}; cut them (--set max_tokens={places})"
            )


def _augmented(x: Any, recipe: StreamRecipe) -> Any:
    """Applies feature transforms to (batch, bands, frames, channels) in training only."""
    for transform in parse_transforms(recipe.transforms):
        if isinstance(transform, SpectrogramTransform):
            if len(x.shape) != 4 or x.shape[-1] > transform.max_channels:
                raise UserError(
                    f"transforms={recipe.transforms}: {transform.transform_name} is for"
                    f" spectrogram pictures of {transform.max_channels} channels at most, features"
                    f" {recipe.features!r} are none; leave it out"
                )
            shape = tuple(x.shape[1:])
            if shape[-1] == 1:
                x = keras.layers.Reshape(shape)(transform(keras.layers.Reshape(shape[:-1])(x)))
            else:
                x = transform(x)
    return x


def _named(features: Features) -> dict[str, keras.KerasTensor]:
    if features.mask is None:
        return {"features": features.values}
    return {"features": features.values, "mask": features.mask}
