"""Linear classifier: the features are the embedding."""

from __future__ import annotations

import keras
from keras import layers

from affectstream.modeling.encoders.input_checks import require_vector


def linear(
    input_shape: tuple[int], num_classes: int, dropout: float = 0.0, l2: float = 0.0
) -> keras.Model:
    """Multinomial logistic regression; the embedding for a fusion is the features themselves.

    Args:
      input_shape: (dim,), float.
      num_classes: outputs.
      dropout: before the head.
      l2: weight of the squared weights in the loss.
    Returns:
      Model from `features` to {"logits": (batch, classes), "embedding": (batch, dim)}.
    Raises:
      UserError: features that are not a vector.
    """
    require_vector("linear", input_shape, 1)

    # === Functional Model ===
    features = keras.Input(input_shape, name="features")
    embedding = layers.Activation("linear", name="embedding")(features)
    logits = layers.Dense(
        num_classes, kernel_regularizer=keras.regularizers.L2(l2) if l2 else None, name="logits"
    )(layers.Dropout(dropout)(embedding))
    return keras.Model(features, {"logits": logits, "embedding": embedding}, name="linear")
