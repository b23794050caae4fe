"""All layers of a model, those inside other layers included."""

from __future__ import annotations

from collections.abc import Iterator

import keras


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The model itself, its layers and theirs, in the order in which Keras tracks them.

    Keras 3 has no public way: `Model.layers` stops at layers that hold others, such as the blocks
    of BERT, whose dropout and normalisation are needed here.
    """
    yield from model._flatten_layers()
