"""Fusion inputs: logits, embedding and presence flag of each stream."""

from __future__ import annotations

import keras


def fusion_inputs(
    streams: tuple[str, ...], num_classes: int, embedding_dims: dict[str, int]
) -> dict[str, dict[str, keras.KerasTensor]]:
    """Keras inputs of a fusion: stream -> {"logits", "embedding", "present"}.

    Returns:
      `STREAM_logits` (batch, classes), `STREAM_embedding` (batch, D), `STREAM_present` (batch,)
      float32, 1 for a present stream; values of a missing stream are undefined.
    """
    return {
        stream: {
            "logits": keras.Input((num_classes,), name=f"{stream}_logits"),
            "embedding": keras.Input((embedding_dims[stream],), name=f"{stream}_embedding"),
            "present": keras.Input((), name=f"{stream}_present"),
        }
        for stream in streams
    }


def flatten_inputs(inputs: dict[str, dict[str, keras.KerasTensor]]) -> dict[str, keras.KerasTensor]:
    """The same inputs as one flat dict by name."""
    return {f"{s}_{kind}": tensor for s, kinds in inputs.items() for kind, tensor in kinds.items()}
