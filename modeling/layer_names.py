"""Names of layers that other modules look up in a saved model; they are part of its format."""

from __future__ import annotations

# A stream's model: raw inputs -> FRONT -> NETWORK.
FRONT, NETWORK = "front", "network"
# Within the network: standardisation, and of an ensemble its members, numbered from 0.
STANDARDISE, MEMBER_PREFIX = "standardise", "member-"
# Of a stream with test-time augmentation.
SPEED_TTA = "speed_tta"
# Within an encoder: its pretrained part, which training can hold still for the first epochs; a part
# that never learns (`trainable=False`, so its batch normalisation stays in inference mode); and its
# last layer.
BASE, FROZEN_BASE, HEAD = "base", "frozen_base", "logits"
# Within a text front end.
WORDS, PIECES, TERMS, TFIDF, TOKENS = "words", "pieces", "terms", "tfidf", "tokens"
# Of several streams: the whole model, and its fusion.
FUSED_MODEL, FUSION = "fused", "fusion"


def stream_layer(stream: str) -> str:
    """Name of a stream's model within the model of several."""
    return f"{stream}_stream"
