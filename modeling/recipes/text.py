"""Recipes of the text stream."""

from __future__ import annotations

from affectstream.modeling.recipes.recipe import StreamRecipe, TrainingSettings

TEXT_CNN = StreamRecipe(
    name="text-cnn",
    stream="text",
    summary="word vectors and convolutions, from scratch",
    source="Kim 2014",
    encoder="text_cnn",
    features="word_tokens",
    transforms="word_dropout",
    training=TrainingSettings(epochs=25, batch_size=64, early_stopping_patience=6),
)

TEXT_TRANSFORMER = StreamRecipe(
    name="text-transformer",
    stream="text",
    summary="a small transformer, from scratch",
    source="Vaswani et al. 2017",
    encoder="text_transformer",
    features="word_tokens",
    transforms="word_dropout",
    training=TrainingSettings(
        epochs=25, batch_size=64, learning_rate=0.0005, early_stopping_patience=6
    ),
)

TFIDF_TEXT = StreamRecipe(
    name="tfidf-text",
    stream="text",
    summary="TF-IDF and a linear layer; also from a table",
    source="IEMOCAP fused-features system",
    encoder="linear",
    encoder_settings={"l2": 1e-05},
    features="tfidf",
    training=TrainingSettings(
        epochs=40, batch_size=64, learning_rate=0.003, early_stopping_patience=8
    ),
)

BERT_TEXT = StreamRecipe(
    name="bert-text",
    stream="text",
    summary="BERT, fine-tuned",
    source="BERT-ResNet34 system",
    encoder="bert",
    features="wordpieces",
    training=TrainingSettings(epochs=4, batch_size=16, learning_rate=2e-05),
)

TINYBERT_TEXT = StreamRecipe(
    name="tinybert-text",
    stream="text",
    summary="TinyBERT's build, from scratch unless weights are named",
    source="TESS and text system, feature level",
    encoder="tinybert",
    features="wordpieces",
    transforms="word_dropout",
    training=TrainingSettings(epochs=12, learning_rate=0.0002, early_stopping_patience=4),
)

DISTILBERT_TEXT = StreamRecipe(
    name="distilbert-text",
    stream="text",
    summary="DistilBERT, fine-tuned",
    source="TESS and text system, probability level",
    encoder="distilbert",
    features="wordpieces",
    training=TrainingSettings(epochs=4, batch_size=16, learning_rate=2e-05),
)
