"""Recipes of fusions."""

from __future__ import annotations

from affectstream.modeling.recipes.recipe import FusionRecipe, TrainingSettings

_DENSE = TrainingSettings(epochs=60, early_stopping_patience=15)

DENSE_FUSION = FusionRecipe(
    name="dense-fusion",
    summary="dense layers over the concatenated embeddings, one stream hidden at random",
    source="Neverova et al. 2016 (ModDrop)",
    fusion="dense",
    modality_dropout=0.3,
    training=_DENSE,
)

CONVLSTM_YAMNET = FusionRecipe(
    name="convlstm-yamnet",
    summary="yamnet-audio and convlstm-video joined by dense layers",
    source="ConvLSTM transfer system",
    fusion="dense",
    stream_recipes=("yamnet-audio", "convlstm-video"),
    modality_dropout=0.3,
    training=_DENSE,
)

BERT_RESNET34 = FusionRecipe(
    name="bert-resnet34",
    summary="bert-text and resnet34-audio joined by dense layers",
    source="BERT-ResNet34 system",
    fusion="dense",
    stream_recipes=("bert-text", "resnet34-audio"),
    modality_dropout=0.3,
    training=_DENSE,
)

BERT_ALEXNET = FusionRecipe(
    name="bert-alexnet",
    summary="bert-text and alexnet-audio joined by dense layers",
    source="BERT-ResNet34 system",
    fusion="dense",
    stream_recipes=("bert-text", "alexnet-audio"),
    modality_dropout=0.3,
    training=_DENSE,
)

TFIDF_STATISTICS_RESNET1D = FusionRecipe(
    name="tfidf-statistics-resnet1d",
    summary="statistics and TF-IDF into a residual 1-D CNN; also from two tables",
    source="IEMOCAP fused-features system",
    fusion="concat_resnet1d",
    stream_recipes=("statistics-linear", "tfidf-text"),
    training=TrainingSettings(epochs=100, learning_rate=0.0003, early_stopping_patience=20),
)

TINYBERT_CONV1D = FusionRecipe(
    name="tinybert-conv1d",
    summary="tinybert-text and conv1d-audio joined by dense layers",
    source="TESS and text system, feature level",
    fusion="dense",
    stream_recipes=("tinybert-text", "conv1d-audio"),
    modality_dropout=0.3,
    training=_DENSE,
)

DISTILBERT_LSTM_MAX = FusionRecipe(
    name="distilbert-lstm-max",
    summary="the highest probability of distilbert-text and lstm-audio, each on its own corpus",
    source="TESS and text system, probability level",
    labels="tess_emotion5",
    fusion="max_rule",
    stream_recipes=("distilbert-text", "lstm-audio"),
)

THREE_STREAM = FusionRecipe(
    name="three-stream",
    source="RAVDESS two-stream system; Kim 2014; Guo et al. 2017",
    summary="relu-cnn-audio, elu-cnn-video and text-cnn, calibrated late fusion",
    fusion="calibrated_late",
    stream_recipes=("relu-cnn-audio", "elu-cnn-video", "text-cnn"),
)

TWO_STREAM_SUM = FusionRecipe(
    name="two-stream-sum",
    summary="relu-cnn-audio and elu-cnn-video, sum of softmaxes",
    source="RAVDESS two-stream system",
    fusion="sum",
    stream_recipes=("relu-cnn-audio", "elu-cnn-video"),
)

LATE_FUSION = FusionRecipe(
    name="late-fusion",
    source="Guo et al. 2017; Hinton 2002 (product of experts)",
    summary="calibrated late fusion, the default",
    fusion="calibrated_late",
)

AUTO = FusionRecipe(
    name="auto",
    source="selection on validation, see modeling/training/auto_fusion.py",
    summary="every fusion tried, the best on validation kept, never below its best stream",
    fusion="auto",
    modality_dropout=0.3,
    training=_DENSE,
)
