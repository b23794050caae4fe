"""Names of layers that other modules look up in a saved model; they are part of its format."""

from __future__ import annotations

# A single-stream model: raw inputs -> FRONT -> NETWORK.
FRONT, NETWORK = "front", "network"
# Within the network: standardisation, and the members of an ensemble, numbered from 0.
STANDARDISE, MEMBER_PREFIX = "standardise", "member-"
# In a stream model with test-time augmentation.
SPEED_TTA = "speed_tta"
# Within an encoder: its pretrained submodel, which training can freeze for the first epochs; a
# submodel that is never trained (`trainable=False`, so its batch normalisation stays in inference
# mode); and its last layer.
BASE, FROZEN_BASE, HEAD = "base", "frozen_base", "logits"
# Within a text front end.
WORDS, PIECES, TERMS, TFIDF, TOKENS = "words", "pieces", "terms", "tfidf", "tokens"
# Within a fused model: the model of all streams, and the fusion.
FUSED_MODEL, FUSION = "fused", "fusion"


def stream_layer(stream: str) -> str:
    """Name of a stream's model within a fused model."""
    return f"{stream}_stream"
