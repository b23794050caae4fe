"""Concatenation: all embeddings as one sequence, input of a residual 1-D network."""

from __future__ import annotations

import keras
from keras import layers, ops

from affectstream.modeling.encoders.audio.resnet1d import POOLED_DIM, resnet1d
from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing


def concat_resnet1d(
    streams: tuple[str, ...],
    num_classes: int,
    embedding_dims: dict[str, int],
    dropout: float = 0.2,
) -> keras.Model:
    """The residual 1-D network `resnet1d` over the concatenated embeddings and presence flags.

    A missing stream is zeros with flag 0. The source concatenates raw audio and text features; here
    each stream contributes its normalised embedding, so that any trained stream fits.

    Args:
      dropout: on the concatenation and before the head.
    Raises:
      UserError: embeddings too narrow for the network.
    Source: IEMOCAP fused-features system, docs/reproduced_systems.md.
    """
    # === Layers ===
    norms = {stream: layers.LayerNormalization(name=f"{stream}_norm") for stream in streams}
    width = sum(embedding_dims[stream] for stream in streams) + len(streams)
    network = resnet1d((width,), num_classes, POOLED_DIM, dropout)

    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    pieces = []
    for stream in streams:
        present = inputs[stream]["present"]
        kept = norms[stream](zero_if_missing(inputs[stream]["embedding"], present))
        pieces += [zero_if_missing(kept, present), ops.expand_dims(present, 1)]
    x = layers.Dropout(dropout, name="dropout")(layers.Concatenate()(pieces))
    logits = layers.Activation("linear", dtype="float32", name="fused_logits")(network(x)["logits"])
    return keras.Model(flatten_inputs(inputs), {"logits": logits}, name="fusion")
