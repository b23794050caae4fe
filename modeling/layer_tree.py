"""All layers of a model, including nested ones."""

from __future__ import annotations

from collections.abc import Iterator

import keras


def all_layers(model: keras.Model) -> Iterator[keras.layers.Layer]:
    """The model itself, its layers and theirs, in Keras's tracking order.

    Keras 3 has no public function for this: `Model.layers` stops at layers that hold others, such
    as the blocks of BERT, whose dropout and normalisation are needed here.
    """
    yield from model._flatten_layers()
