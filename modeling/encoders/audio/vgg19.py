"""VGG19 of ImageNet as a transfer learner on spectrogram images."""

from __future__ import annotations

import contextlib
import sys
import warnings
from pathlib import Path
from typing import Any

import keras
from keras import layers, ops

from affectstream.core.errors import UserError
from affectstream.modeling.encoders.input_checks import require_image
from affectstream.modeling.layer_names import BASE, FROZEN_BASE
from affectstream.modeling.pretrained_weights import NO_WEIGHTS

IMAGENET = "imagenet"
NUM_BLOCKS = 5
MIN_PX = 32
# ImageNet means of blue, green and red in [0, 255], which the weights expect to be subtracted.
MEAN_BGR = (103.939, 116.779, 123.68)


def vgg19(
    input_shape: tuple[int, int, int],
    num_classes: int,
    embedding_dim: int = 256,
    weights: str = IMAGENET,
    trainable_blocks: int = NUM_BLOCKS,
    dropout: float = 0.5,
) -> keras.Model:
    """Encoder of one spectrogram image.

    The trainable blocks form a nested model `base`, the frozen ones `frozen_base`. "Frozen, then
    fine-tuned" means `trainable_blocks` above 0 and training that freezes `base` at first
    (`freeze_epochs` of a recipe).

    Args:
      input_shape: (bands, frames, 1 or 3), float in [0, 255], not standardised; both sides at least
        32; one channel is repeated for all three colours.
      num_classes: outputs.
      embedding_dim: width of the dense layer on the averaged maps.
      weights: `imagenet` (fetched and cached by Keras), `none`, or a weights file of VGG19 without
        top.
      trainable_blocks: number of trainable blocks, counted from the last: 0 none, 5 all.
      dropout: after the averaged maps and the dense layer.
    Returns:
      Model from `features` to {"logits": (batch, classes), "embedding": (batch, embedding_dim)};
      20,157,511 parameters at 7 classes, 20,024,384 of them VGG19's own.
    Raises:
      UserError: features of another shape, or weights that cannot be fetched or do not fit.
    Source: Simonyan & Zisserman 2015; keras.applications; ConvLSTM transfer system,
      docs/reproduced_systems.md.
    """
    require_image("vgg19", input_shape, MIN_PX)
    if not 0 <= trainable_blocks <= NUM_BLOCKS:
        raise UserError(f"trainable_blocks={trainable_blocks}: must be 0 to {NUM_BLOCKS}")

    # === Layers ===
    lower, upper = _split(_weighted((*input_shape[:2], 3), weights), NUM_BLOCKS - trainable_blocks)
    preprocess = layers.Normalization(mean=MEAN_BGR, variance=(1.0, 1.0, 1.0), name="caffe")
    dense = layers.Dense(embedding_dim)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    is_grey = input_shape[2] == 1
    x = layers.Concatenate(name="colours")([features] * 3) if is_grey else ops.flip(features, -1)
    x = preprocess(x)
    for part in (lower, upper):
        x = x if part is None else part(x)
    x = layers.Dropout(dropout)(layers.GlobalAveragePooling2D(name="pooled")(x))
    embedding = layers.ReLU(name="embedding")(dense(x))
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model(features, {"logits": logits, "embedding": embedding}, name="vgg19")


def _weighted(shape: tuple[int, int, int], weights: str) -> keras.Model:
    """VGG19 without its dense layers."""
    if weights in (NO_WEIGHTS, IMAGENET):
        name = None if weights == NO_WEIGHTS else IMAGENET
        try:
            with contextlib.redirect_stdout(sys.stderr):  # Keras reports its download on stdout
                return keras.applications.VGG19(include_top=False, weights=name, input_shape=shape)
        except Exception as error:  # Keras raises a bare Exception if a download fails
            if name is None:
                raise
            raise UserError(
                f"VGG19's ImageNet weights cannot be fetched ({_first_line(error)}); give a file"
                " (--set weights=PATH) or train from scratch (--set weights=none)"
            ) from error
    model = keras.applications.VGG19(include_top=False, weights=None, input_shape=shape)
    if not Path(weights).is_file():
        raise UserError(f"weights={weights}: not found; give a file, `imagenet` or `none`")
    try:
        with warnings.catch_warnings():  # Keras only warns of layers that are missing from the file
            warnings.simplefilter("error", UserWarning)
            model.load_weights(weights)
    except (ValueError, KeyError, OSError, TypeError, UserWarning) as error:
        raise UserError(
            f"weights={weights}: no weights of VGG19 without top ({_first_line(error)}); give"
            " another file, `imagenet` or `none`"
        ) from error
    return model


def _split(vgg: keras.Model, num_frozen: int) -> tuple[keras.Model | None, keras.Model | None]:
    """The first `num_frozen` blocks and the rest; None for an empty group."""
    if num_frozen == 0:
        return None, _model(vgg.layers[1:], vgg.input.shape[1:], BASE)
    last = [layer.name for layer in vgg.layers].index(f"block{num_frozen}_pool")
    lower = _model(vgg.layers[1 : last + 1], vgg.input.shape[1:], FROZEN_BASE)
    lower.trainable = False
    if num_frozen == NUM_BLOCKS:
        return lower, None
    return lower, _model(vgg.layers[last + 1 :], lower.output.shape[1:], BASE)


def _model(chain: list[keras.layers.Layer], shape: Any, name: str) -> keras.Model:
    given = keras.Input(shape)
    x = given
    for layer in chain:
        x = layer(x)
    return keras.Model(given, x, name=name)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
