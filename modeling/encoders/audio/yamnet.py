"""YAMNet, an AudioSet classifier, as a transfer learner over log-mel patches."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import keras
from keras import layers

from affectstream.core.errors import UserError, from_os_error
from affectstream.modeling.encoders.temporal_pooling import MaskedMean, MergeTimeAxis
from affectstream.modeling.layer_names import BASE, FROZEN_BASE
from affectstream.modeling.pretrained_weights import (
    NO_WEIGHTS,
    LayerWeights,
    assign_layer_weights,
    fetch_hub_folder,
    layers_with_weights,
    read_h5_layers,
    read_saved_model_layers,
)

AUDIOSET = "audioset"
HUB_HANDLE = "https://tfhub.dev/google/yamnet/1"
PATCH_SHAPE = (96, 64)
NUM_CLASSES = 521
EPSILON = 1e-4
# He initialisation for nine inputs per map; Keras counts all maps of a depthwise kernel as inputs.
DEPTHWISE_STDDEV = (2 / 9) ** 0.5

# MobileNet v1: a plain convolution, then separable ones. One row per layer: filters, stride.
STEM = (32, 2)
SEPARABLE = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


def yamnet(
    input_shape: tuple[int | None, int, int],
    num_classes: int,
    embedding_dim: int = 256,
    weights: str = AUDIOSET,
    trainable: bool = True,
    dropout: float = 0.3,
) -> keras.Model:
    """Encoder of a clip: YAMNet on every patch, averaged over the patches with audio.

    The nested model is named `base`, or `frozen_base` if it is never trained. "Frozen, then
    fine-tuned" means `trainable` and training that freezes `base` at first (`freeze_epochs`).

    Args:
      input_shape: (patches or None, 96, 64), from features `yamnet_patches`.
      num_classes: outputs.
      embedding_dim: width of the dense layer on YAMNet's embedding of 1,024.
      weights: `audioset` (TF-Hub's google/yamnet/1), `none`, another TF-Hub handle, the folder of
        a SavedModel, or the official `yamnet.h5`.
      trainable: whether YAMNet itself is trained.
      dropout: after the average and the dense layer.
    Returns:
      Model from [`features` (batch, patches, 96, 64), `mask` (batch, patches) bool] to
      {"logits": (batch, classes), "embedding": (batch, embedding_dim)}; 3,481,543 parameters at 7
      classes.
    Raises:
      UserError: features of another shape, or weights that cannot be fetched or do not fit.
    Source: Plakal & Ellis, YAMNet (tensorflow/models); Howard et al. 2017; ConvLSTM
      transfer system, docs/reproduced_systems.md.
    """
    if len(input_shape) != 3 or tuple(input_shape[1:]) != PATCH_SHAPE:
        raise UserError(
            f"encoder 'yamnet' needs patches (patches, 96, 64), these features are"
            f" {tuple(input_shape)}; choose features=yamnet_patches"
        )

    # === Layers ===
    base = yamnet_base(weights, BASE if trainable else FROZEN_BASE)
    base.trainable = trainable
    dense = layers.Dense(embedding_dim)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    mask = keras.Input(input_shape[:1], name="mask", dtype="bool")
    patches = base(MergeTimeAxis(name="fold_time")(features))
    pooled = MaskedMean(name="mean_over_patches")(patches, mask)
    embedding = layers.ReLU(name="embedding")(dense(layers.Dropout(dropout)(pooled)))
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model([features, mask], {"logits": logits, "embedding": embedding}, name="yamnet")


def yamnet_base(weights: str, name: str = BASE) -> keras.Model:
    """YAMNet without its classes: (batch, 96, 64) log-mel -> (batch, 1024) embedding.

    Raises:
      UserError: weights that cannot be fetched or do not fit.
    """
    given = keras.Input(PATCH_SHAPE)
    return _with_weights(keras.Model(given, _embedding(given), name=name), weights)


def yamnet_classifier(weights: str) -> keras.Model:
    """Complete YAMNet: (batch, 96, 64) log-mel -> 521 classes of AudioSet.

    Returns:
      Model to {"scores": (batch, 521) in [0, 1], independent for each class,
      "embedding": (batch, 1024)}; 3,751,369 parameters.
    Raises:
      UserError: weights that cannot be fetched or do not fit.
    """
    given = keras.Input(PATCH_SHAPE, name="features")
    embedding = _embedding(given)
    logits = layers.Dense(NUM_CLASSES, name="logits")(embedding)
    scores = layers.Activation("sigmoid", dtype="float32")(logits)
    model = keras.Model(given, {"scores": scores, "embedding": embedding}, name="yamnet")
    return _with_weights(model, weights)


def audioset_class_names(path: Path) -> tuple[str, ...]:
    """The 521 names of `yamnet_class_map.csv`, in class order.

    Raises:
      UserError: the file is absent or has other content.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            names = tuple(row.get("display_name", "") for row in csv.DictReader(file))
    except OSError as error:
        raise from_os_error(error, path) from error
    if len(names) != NUM_CLASSES or not all(names):
        raise UserError(f"{path}: no class map of YAMNet ({len(names)} names of {NUM_CLASSES})")
    return names


# === Network ===


def _embedding(patches: Any) -> Any:
    x = layers.Reshape((*PATCH_SHAPE, 1))(patches)
    filters, stride = STEM
    settings: dict[str, Any] = {"padding": "same", "use_bias": False}
    convolution = layers.Conv2D(
        filters, 3, stride, kernel_initializer="he_normal", name="layer1_conv", **settings
    )
    x = _activated(convolution, x)
    for number, (filters, stride) in enumerate(SEPARABLE, 2):
        depthwise = layers.DepthwiseConv2D(
            3,
            stride,
            depthwise_initializer=keras.initializers.RandomNormal(stddev=DEPTHWISE_STDDEV),
            name=f"layer{number}_depthwise_conv",
            **settings,
        )
        pointwise = layers.Conv2D(
            filters,
            1,
            kernel_initializer="he_normal",
            name=f"layer{number}_pointwise_conv",
            **settings,
        )
        x = _activated(pointwise, _activated(depthwise, x))
    return layers.GlobalAveragePooling2D(name="embeddings")(x)


def _activated(convolution: keras.layers.Layer, x: Any) -> Any:
    norm = layers.BatchNormalization(scale=False, epsilon=EPSILON, name=f"{convolution.name}_bn")
    return layers.ReLU(name=f"{convolution.name}_relu")(norm(convolution(x)))


# === Weights ===


def _with_weights(model: keras.Model, weights: str) -> keras.Model:
    if weights != NO_WEIGHTS:
        names = [layer.name for layer in layers_with_weights(model)]
        assign_layer_weights(
            model, _read(HUB_HANDLE if weights == AUDIOSET else weights, names), weights
        )
    return model


def _read(weights: str, names: list[str]) -> LayerWeights:
    if "://" in weights:
        return read_saved_model_layers(fetch_hub_folder(weights), names)
    path = Path(weights)
    return read_saved_model_layers(path, names) if path.is_dir() else read_h5_layers(path)
