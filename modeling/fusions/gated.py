"""Gated multimodal unit: gates weight the streams for each hidden unit."""

from __future__ import annotations

import keras
from keras import layers, ops

from affectstream.modeling.fusions.fusion_inputs import flatten_inputs, fusion_inputs
from affectstream.modeling.fusions.missing_streams import zero_if_missing

# Added to the gate of a missing stream, so that its share of the softmax is 0 in float32.
CLOSED_GATE_LOGIT = -1e4


def gated(
    streams: tuple[str, ...],
    num_classes: int,
    embedding_dims: dict[str, int],
    hidden_dim: int = 64,
    dropout: float = 0.4,
) -> keras.Model:
    """A gated multimodal unit over any number of streams.

    Each stream s gives h_s = tanh(W_s e_s). The gates z_s are computed from all embeddings and
    presence flags, one per stream and hidden unit, by a softmax over the present streams; the head
    receives sum_s z_s h_s. With two streams this is the sigmoid gate of the paper, because a
    softmax over two is a sigmoid of their difference. A missing stream has gate 0, a single present
    stream has gate 1.

    Args:
      hidden_dim: units of h.
      dropout: on the embeddings and before the head.
    Source: Arevalo et al. 2017, Gated Multimodal Units for Information Fusion, equations 1-4.
    """
    # === Layers ===
    norms = {stream: layers.LayerNormalization(name=f"{stream}_norm") for stream in streams}
    drops = {stream: layers.Dropout(dropout, name=f"{stream}_dropout") for stream in streams}
    hidden = {s: layers.Dense(hidden_dim, activation="tanh", name=f"{s}_hidden") for s in streams}
    gates = {s: layers.Dense(hidden_dim, name=f"{s}_gate", dtype="float32") for s in streams}
    head = layers.Dense(num_classes, name="fused_logits", dtype="float32")

    # === Functional Model ===
    inputs = fusion_inputs(streams, num_classes, embedding_dims)
    flags = [ops.expand_dims(inputs[s]["present"], 1) for s in streams]
    embeddings = []
    for stream in streams:
        kept = norms[stream](
            zero_if_missing(inputs[stream]["embedding"], inputs[stream]["present"])
        )
        embeddings.append(drops[stream](zero_if_missing(kept, inputs[stream]["present"])))
    together = layers.Concatenate()([*embeddings, *flags])
    opened = [
        gates[stream](together) + (1.0 - flag) * CLOSED_GATE_LOGIT
        for stream, flag in zip(streams, flags, strict=True)
    ]
    shares = ops.softmax(ops.stack(opened, axis=1), axis=1)
    is_present = ops.expand_dims(ops.concatenate(flags, axis=1), 2)
    spoken = ops.stack([hidden[s](e) for s, e in zip(streams, embeddings, strict=True)], axis=1)
    x = ops.sum(ops.cast(spoken, "float32") * shares * is_present, axis=1)
    logits = head(layers.Dropout(dropout)(x))
    return keras.Model(flatten_inputs(inputs), {"logits": logits}, name="fusion")
