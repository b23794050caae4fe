"""LSTM over a sequence of feature vectors."""

from __future__ import annotations

import keras
from keras import layers

from affectstream.modeling.encoders.input_checks import require_sequence


def lstm(
    input_shape: tuple[int | None, int],
    num_classes: int,
    embedding_dim: int = 128,
    units: int = 128,
    num_layers: int = 1,
    dropout: float = 0.3,
    use_cudnn: bool = False,
) -> keras.Model:
    """Encoder of a sequence: the state after the last valid frame.

    Masked frames leave the state unchanged; a row without valid frames keeps the zero state.

    Args:
      input_shape: (frames or None, dim), float, standardised.
      num_classes: outputs.
      embedding_dim: width of the dense layer.
      units: width of each LSTM.
      num_layers: number of stacked LSTMs.
      dropout: after each LSTM and the dense layer.
      use_cudnn: faster on a GPU, but requires masks with padding only at the end.
    Returns:
      Model from [`features` (batch, frames, dim), `mask` (batch, frames) bool] to
      {"logits": (batch, classes), "embedding": (batch, embedding_dim)}; 110,087 parameters at
      dim 52 and 7 classes.
    Raises:
      UserError: features that are not a sequence.
    Source: Hochreiter & Schmidhuber 1997; TESS and text system, probability-level fusion,
      docs/reproduced_systems.md; the widths are chosen here.
    """
    require_sequence("lstm", input_shape)

    # === Layers ===
    recurrent = [
        layers.LSTM(
            units,
            return_sequences=place < num_layers - 1,
            unroll=False,
            use_cudnn="auto" if use_cudnn else False,
        )
        for place in range(num_layers)
    ]
    dense = layers.Dense(embedding_dim)
    head = layers.Dense(num_classes, name="logits")

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    mask = keras.Input(input_shape[:1], name="mask", dtype="bool")
    x = features
    for layer in recurrent:
        x = layers.Dropout(dropout)(layer(x, mask=mask))
    embedding = layers.ReLU(name="embedding")(dense(x))
    logits = head(layers.Dropout(dropout)(embedding))
    return keras.Model([features, mask], {"logits": logits, "embedding": embedding}, name="lstm")
