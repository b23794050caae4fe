"""Recipes of the video stream."""

from __future__ import annotations

from affectstream.modeling.recipes.recipe import StreamRecipe, TrainingSettings

ELU_CNN_VIDEO = StreamRecipe(
    name="elu-cnn-video",
    stream="video",
    summary="four ELU convolutions on single faces",
    source="RAVDESS two-stream system",
    encoder="elu_cnn",
    features="faces",
    transforms="flip",
    frames_as_examples=True,
    training=TrainingSettings(epochs=10, batch_size=64),
)

RESNET_FACE = StreamRecipe(
    name="resnet-face",
    stream="video",
    summary="small residual CNN on single faces of 48 px; jitter, cutout, mixup",
    source="He et al. 2016",
    encoder="resnet_face",
    features="faces",
    transforms="flip,crop_jitter:min_zoom=0.85:max_zoom=1.15:max_shift_fraction=0.08,cutout,mixup",
    frames_as_examples=True,
    training=TrainingSettings(
        epochs=40,
        batch_size=64,
        optimizer="adamw",
        learning_rate=0.002,
        weight_decay=0.005,
        schedule="cosine",
        label_smoothing=0.1,
        class_weights=False,
        ema_momentum=0.998,
        keep_epoch="last",
    ),
)

CONVLSTM_VIDEO = StreamRecipe(
    name="convlstm-video",
    stream="video",
    summary="ConvLSTM2D over the faces of a clip",
    source="ConvLSTM transfer system",
    encoder="convlstm",
    features="faces",
    transforms="flip",
    training=TrainingSettings(epochs=30, batch_size=16),
)

ACTION_UNITS = StreamRecipe(
    name="action-units",
    source="Ekman & Friesen 1978 (action units)",
    stream="video",
    summary="facial action units or blendshapes as the video stream",
    encoder="action_units",
    features="action_units",
    training=TrainingSettings(
        epochs=60,
        optimizer="adamw",
        weight_decay=0.01,
        schedule="cosine",
        label_smoothing=0.1,
        ema_momentum=0.99,
        keep_epoch="last",
    ),
)
