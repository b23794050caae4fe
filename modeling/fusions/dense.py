"""Feature-level fusion: dense layers over the concatenated embeddings."""

from __future__ import annotations

import keras
from keras import layers, ops

from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing


def dense_fusion(
    streams: tuple[str, ...],
    num_classes: int,
    embedding_dims: dict[str, int],
    hidden_dim: int = 128,
    dropout: float = 0.4,
) -> keras.Model:
    """Dense layers over embeddings; a missing stream is zeros with a presence flag of 0.

    Args:
      hidden_dim: width of the hidden layer.
      dropout: before and after it.
    Source: ConvLSTM transfer system, docs/reproduced_systems.md; Neverova et al. 2016 for hiding
      streams in training.
    """
    # === Layers ===
    norms = {stream: layers.LayerNormalization(name=f"{stream}_norm") for stream in streams}
    hidden = layers.Dense(hidden_dim, activation="elu", name="hidden")
    head = layers.Dense(num_classes, name="fused_logits", dtype="float32")

    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    pieces = []
    for stream in streams:
        is_present = ops.expand_dims(inputs[stream]["present"], 1)
        kept = zero_if_missing(inputs[stream]["embedding"], inputs[stream]["present"])
        pieces += [norms[stream](kept) * is_present, is_present]
    x = layers.Dropout(dropout)(layers.Concatenate()(pieces))
    x = layers.Dropout(dropout)(hidden(x))
    return keras.Model(flatten_inputs(inputs), {"logits": head(x)}, name="fusion")
