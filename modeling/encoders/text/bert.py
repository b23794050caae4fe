"""BERT and smaller variants over word pieces: pretrained and fine-tuned, or from scratch."""

from __future__ import annotations

from typing import Any

import keras
import keras_hub
from keras import layers, ops

from affectstream.modeling.encoders.input_checks import require_tokens
from affectstream.modeling.layer_names import BASE
from affectstream.modeling.pretrained_weights import NO_WEIGHTS
from affectstream.modeling.text_presets import preset_backbone

# Layers, width, heads, intermediate width.
TINYBERT = (4, 312, 12, 1200)


def bert(
    input_shape: tuple[int | None],
    num_classes: int,
    vocabulary_size: int,
    weights: str = "bert_base_en_uncased",
    num_layers: int = 12,
    hidden_dim: int = 768,
    num_heads: int = 12,
    intermediate_dim: int = 3072,
    dropout: float = 0.1,
) -> keras.Model:
    """BERT with its pooled [CLS] as the embedding.

    Args:
      input_shape: (pieces or None,), int; 512 at most.
      num_classes: outputs.
      vocabulary_size: pieces of the vocabulary.
      weights: a preset of keras-hub, `hf://owner/name`, a local folder of either, or "none".
      num_layers, hidden_dim, num_heads, intermediate_dim: of a network from scratch; ignored with
        pretrained weights.
      dropout: within a network from scratch, and before the head.
    Returns:
      Model from [`features` (batch, pieces) int32, `mask` (batch, pieces) bool] to
      {"logits": (batch, classes), "embedding": (batch, hidden_dim)}.
    Raises:
      UserError: features that are not tokens, or unavailable weights.
    Source: Devlin et al. 2019.
    """
    require_tokens("bert", input_shape)
    if weights == NO_WEIGHTS:
        backbone = keras_hub.models.BertBackbone(
            vocabulary_size, num_layers, num_heads, hidden_dim, intermediate_dim, dropout, name=BASE
        )
    else:
        backbone = preset_backbone(weights, keras_hub.models.BertBackbone)

    def embedded(tokens: Any, mask: Any) -> Any:
        given = {
            "token_ids": tokens,
            "segment_ids": ops.zeros_like(tokens),
            "padding_mask": ops.cast(mask, "int32"),
        }
        return backbone(given)["pooled_output"]

    return _classifier("bert", input_shape, num_classes, backbone, embedded, dropout)


def tinybert(
    input_shape: tuple[int | None],
    num_classes: int,
    vocabulary_size: int,
    weights: str = NO_WEIGHTS,
    dropout: float = 0.1,
) -> keras.Model:
    """BERT of 4 layers of width 312; its weights come from a folder or `hf://`, not from keras-hub.

    Args, Returns, Raises: see `bert`.
    Source: Jiao et al. 2020 (TinyBERT: 4 layers, width 312, 12 heads, intermediate width 1,200).
    """
    require_tokens("tinybert", input_shape)
    model = bert(input_shape, num_classes, vocabulary_size, weights, *TINYBERT, dropout)
    model.name = "tinybert"
    return model


def distilbert(
    input_shape: tuple[int | None],
    num_classes: int,
    vocabulary_size: int,
    weights: str = "distil_bert_base_en_uncased",
    num_layers: int = 6,
    hidden_dim: int = 768,
    num_heads: int = 12,
    intermediate_dim: int = 3072,
    dropout: float = 0.1,
) -> keras.Model:
    """DistilBERT with a dense layer over [CLS] as the embedding.

    Args, Returns, Raises: see `bert`.
    Source: Sanh et al. 2019.
    """
    require_tokens("distilbert", input_shape)
    if weights == NO_WEIGHTS:
        backbone = keras_hub.models.DistilBertBackbone(
            vocabulary_size, num_layers, num_heads, hidden_dim, intermediate_dim, dropout, name=BASE
        )
    else:
        backbone = preset_backbone(weights, keras_hub.models.DistilBertBackbone)
    dense = layers.Dense(backbone.hidden_dim, activation="relu", name="pooled_dense")

    def embedded(tokens: Any, mask: Any) -> Any:
        given = {"token_ids": tokens, "padding_mask": ops.cast(mask, "int32")}
        return dense(backbone(given)[:, 0, :])

    return _classifier("distilbert", input_shape, num_classes, backbone, embedded, dropout)


def _classifier(
    name: str,
    input_shape: tuple[int | None],
    num_classes: int,
    backbone: keras.Model,
    embedded: Any,
    dropout: float,
) -> keras.Model:
    backbone.name = BASE

    # === Functional Model ===
    tokens = keras.Input(input_shape, name="features", dtype="int32")
    mask = keras.Input(input_shape, name="mask", dtype="bool")
    embedding = layers.Activation("linear", name="embedding")(embedded(tokens, mask))
    logits = layers.Dense(num_classes, name="logits")(layers.Dropout(dropout)(embedding))
    outputs = {"logits": logits, "embedding": embedding}
    return keras.Model([tokens, mask], outputs, name=name)
