"""Recipes of the audio stream."""

from __future__ import annotations

from affectstream.modeling.recipes.recipe import StreamRecipe, TrainingSettings

RELU_CNN_AUDIO = StreamRecipe(
    name="relu-cnn-audio",
    stream="audio",
    summary="three ReLU convolutions on a spectrogram",
    source="RAVDESS two-stream system",
    encoder="relu_cnn",
    features="log_mel_128_16k",
    transforms="noise,speed,time_shift",
    training=TrainingSettings(epochs=45),
)

ALEXNET_AUDIO = StreamRecipe(
    name="alexnet-audio",
    stream="audio",
    summary="AlexNet on spectrogram pictures",
    source="BERT-ResNet34 system",
    encoder="alexnet",
    features="log_mel_128_16k",
    transforms="noise,speed,time_shift",
    training=TrainingSettings(epochs=30, learning_rate=0.0003, early_stopping_patience=12),
)

RESNET34_AUDIO = StreamRecipe(
    name="resnet34-audio",
    stream="audio",
    summary="ResNet34 on spectrogram pictures",
    source="BERT-ResNet34 system",
    encoder="resnet34",
    features="log_mel_128_16k",
    transforms="noise,speed,time_shift",
    training=TrainingSettings(epochs=30, learning_rate=0.0003, early_stopping_patience=12),
)

STATISTICS_RESNET1D = StreamRecipe(
    name="statistics-resnet1d",
    stream="audio",
    summary="276 statistics a clip into a residual 1-D CNN; also from a table",
    source="IEMOCAP fused-features system",
    encoder="resnet1d",
    features="clip_statistics",
    training=TrainingSettings(epochs=100, learning_rate=0.0003, early_stopping_patience=20),
)

CONV1D_AUDIO = StreamRecipe(
    name="conv1d-audio",
    stream="audio",
    summary="1-D CNN over MFCC and chroma",
    source="TESS and text system, feature level",
    encoder="conv1d",
    features="mfcc_chroma_sequence",
    transforms="noise,time_stretch,pitch_shift,speed",
    training=TrainingSettings(epochs=45),
)

LSTM_AUDIO = StreamRecipe(
    name="lstm-audio",
    stream="audio",
    summary="LSTM over MFCC and chroma",
    source="TESS and text system, probability level",
    encoder="lstm",
    features="mfcc_chroma_sequence",
    training=TrainingSettings(epochs=45),
)

VGG19_AUDIO = StreamRecipe(
    name="vgg19-audio",
    stream="audio",
    summary="VGG19 on spectrogram pictures, frozen, then fine-tuned",
    source="ConvLSTM transfer system",
    encoder="vgg19",
    features="spectrogram_image",
    training=TrainingSettings(epochs=12, freeze_epochs=6),
)

YAMNET_AUDIO = StreamRecipe(
    name="yamnet-audio",
    stream="audio",
    summary="YAMNet embeddings over time, frozen, then fine-tuned",
    source="ConvLSTM transfer system",
    encoder="yamnet",
    features="yamnet_patches",
    training=TrainingSettings(epochs=40, freeze_epochs=25),
)

RESNET_ASP_AUDIO = StreamRecipe(
    name="resnet-asp-audio",
    stream="audio",
    summary="small residual CNN, attentive statistics; noise, speed, SpecAugment, mixup",
    source="He et al. 2016; Okabe et al. 2018",
    encoder="resnet_asp",
    features="speech_80",
    transforms="speed:probability=0.8,noise:probability=0.5,time_shift,spec_augment,mixup:alpha=0.3",
    cached_augmentations=6,
    training=TrainingSettings(
        epochs=120,
        optimizer="adamw",
        learning_rate=0.002,
        weight_decay=0.005,
        schedule="cosine",
        label_smoothing=0.1,
        ema_momentum=0.99,
        keep_epoch="last",
    ),
)

RESNET_ASP_3X80_AUDIO = StreamRecipe(
    name="resnet-asp-3x80-audio",
    stream="audio",
    summary="resnet-asp-audio over log-mels of three windows, bands joined, in smaller batches",
    source="He et al. 2016; Okabe et al. 2018",
    encoder="resnet_asp",
    encoder_settings={"channels": "32,48,64,96", "bands": "joined"},
    features="speech_3x80",
    transforms="speed:probability=0.8,noise:probability=0.5,time_shift,spec_augment,mixup:alpha=0.3",
    cached_augmentations=6,
    training=TrainingSettings(
        epochs=100,
        optimizer="adamw",
        learning_rate=0.002,
        weight_decay=0.005,
        schedule="cosine",
        label_smoothing=0.1,
        ema_momentum=0.99,
        keep_epoch="last",
        batch_size=16,
    ),
)

STATISTICS_LINEAR = StreamRecipe(
    name="statistics-linear",
    stream="audio",
    summary="276 statistics a clip and a linear layer; also from a table",
    source="IEMOCAP fused-features system",
    encoder="linear",
    features="clip_statistics",
    training=TrainingSettings(epochs=60, early_stopping_patience=10),
)
