"""What models are made of: features, encoders, fusions, and the recipes of whole models."""

from __future__ import annotations

from affectstream.core.catalogue.entry import Entry

_ENCODERS = "affectstream.modeling.encoders."
_FEATURES = "affectstream.modeling.features."
_FUSIONS = "affectstream.modeling.fusions."
_RECIPES = "affectstream.modeling.recipes."
_SIGNAL = "log-mel picture, 128 x 282"

FEATURES: dict[str, Entry] = {
    "log_mel_128_16k": Entry(
        _FEATURES + "audio.log_mel:LOG_MEL_128_16K", f"{_SIGNAL}, from 16 kHz", stream="audio"
    ),
    "log_mel_128_48k": Entry(
        _FEATURES + "audio.log_mel:LOG_MEL_128_48K",
        f"{_SIGNAL}, from 48 kHz",
        "",
        "RAVDESS two-stream system",
        "audio",
    ),
    "speech_80": Entry(
        _FEATURES + "audio.log_mel:SPEECH_80",
        "log-mel picture, 80 x 301, 3 s at one spectrum each 10 ms, from 16 kHz",
        stream="audio",
    ),
    "speech_3x80": Entry(
        _FEATURES + "audio.multi_resolution:SPEECH_3X80",
        "three log-mel pictures, windows of 32, 64 and 128 ms, 80 x 301 x 3, from 16 kHz",
        source="after Toledano et al. 2018",
        stream="audio",
    ),
    "yamnet_patches": Entry(
        _FEATURES + "audio.yamnet_patches:YAMNET_PATCHES",
        "YAMNet's log-mel patches, 6 of 0.96 s, from 16 kHz",
        stream="audio",
    ),
    "clip_statistics": Entry(
        _FEATURES + "audio.clip_statistics:CLIP_STATISTICS",
        "276 statistics a clip, from 16 kHz; also as a table",
        "",
        "IEMOCAP fused-features system",
        "audio",
    ),
    "mfcc_chroma_sequence": Entry(
        _FEATURES + "audio.frame_sequences:MFCC_CHROMA_SEQUENCE",
        "40 MFCC and 12 chroma a frame, 3 s from 16 kHz",
        "",
        "TESS and text system",
        "audio",
    ),
    "acoustic_sequence": Entry(
        _FEATURES + "audio.frame_sequences:ACOUSTIC_SEQUENCE",
        "MFCC with deltas, chroma, contrast and spectral shape a frame, 3 s from 16 kHz",
        stream="audio",
    ),
    "spectrogram_image": Entry(
        _FEATURES + "audio.spectrogram_image:SPECTROGRAM_IMAGE",
        "log-mel picture in [0, 255] for image networks, 3 s from 16 kHz",
        "",
        "BERT-ResNet34 system",
        "audio",
    ),
    "word_tokens": Entry(
        _FEATURES + "text.word_tokens:WORD_TOKENS",
        "word ids, vocabulary of the training split",
        stream="text",
    ),
    "wordpieces": Entry(
        _FEATURES + "text.wordpieces:WORD_PIECES",
        "word-piece ids as for BERT; needs TensorFlow Text",
        "",
        "Schuster & Nakajima 2012; Devlin et al. 2019",
        "text",
    ),
    "tfidf": Entry(
        _FEATURES + "text.tfidf:TFIDF",
        "TF-IDF of words and pairs, fitted on the training part; also as a table",
        "",
        "IEMOCAP fused-features system; Salton & Buckley 1988",
        "text",
    ),
    "faces": Entry(
        _FEATURES + "video.faces:FACES", "face crops as pictures in [0, 1]", stream="video"
    ),
    "action_units": Entry(
        _FEATURES + "video.action_units:ACTION_UNITS",
        "action units or blendshapes as they are, frame by frame",
        stream="video",
    ),
}

ENCODERS: dict[str, Entry] = {
    "alexnet": Entry(
        _ENCODERS + "audio.alexnet:alexnet",
        "AlexNet with batch norm and narrow dense layers",
        "",
        "BERT-ResNet34 system; Krizhevsky et al. 2012",
        "audio",
    ),
    "resnet34": Entry(
        _ENCODERS + "audio.resnet34:resnet34",
        "basic blocks 3-4-6-3",
        "",
        "BERT-ResNet34 system; He et al. 2016",
        "audio",
    ),
    "resnet_asp": Entry(
        _ENCODERS + "audio.resnet_asp:resnet_asp",
        "residual CNN, attentive statistics over time",
        "",
        "He et al. 2016; Okabe et al. 2018",
        "audio",
    ),
    "vgg19": Entry(
        _ENCODERS + "audio.vgg19:vgg19",
        "ImageNet transfer, pictures in [0, 255]",
        "weights: see keras.applications",
        "ConvLSTM transfer system; Simonyan & Zisserman 2015",
        "audio",
    ),
    "yamnet": Entry(
        _ENCODERS + "audio.yamnet:yamnet",
        "AudioSet transfer, features yamnet_patches",
        "Apache-2.0",
        "ConvLSTM transfer system; Plakal & Ellis",
        "audio",
    ),
    "resnet1d": Entry(
        _ENCODERS + "audio.resnet1d:resnet1d",
        "residual 1-D CNN over one vector",
        "",
        "IEMOCAP fused-features system",
        "audio",
    ),
    "conv1d": Entry(
        _ENCODERS + "audio.conv1d:conv1d",
        "1-D CNN over a sequence",
        "",
        "TESS and text system",
        "audio",
    ),
    "lstm": Entry(
        _ENCODERS + "audio.lstm:lstm",
        "LSTM over a sequence",
        "",
        "TESS and text system",
        "audio",
    ),
    "action_units": Entry(
        _ENCODERS + "video.action_units:action_units",
        "action units over time, two dense layers",
        "",
        "",
        "video",
    ),
    "convlstm": Entry(
        _ENCODERS + "video.convlstm:convlstm",
        "ConvLSTM2D over the faces of a clip",
        "",
        "ConvLSTM transfer system; Shi et al. 2015",
        "video",
    ),
    "text_cnn": Entry(
        _ENCODERS + "text.text_cnn:text_cnn",
        "word vectors and convolutions of four widths",
        "",
        "Kim 2014",
        "text",
    ),
    "text_transformer": Entry(
        _ENCODERS + "text.text_transformer:text_transformer",
        "a small transformer over words",
        "",
        "Vaswani et al. 2017",
        "text",
    ),
    "bert": Entry(
        _ENCODERS + "text.bert:bert",
        "BERT, pretrained or from scratch",
        "Apache-2.0 (published weights)",
        "BERT-ResNet34 system; Devlin et al. 2019",
        "text",
    ),
    "tinybert": Entry(
        _ENCODERS + "text.bert:tinybert",
        "BERT of 4 layers, 312 wide",
        "Apache-2.0 (published weights)",
        "TESS and text system; Jiao et al. 2020",
        "text",
    ),
    "distilbert": Entry(
        _ENCODERS + "text.bert:distilbert",
        "DistilBERT, pretrained or from scratch",
        "Apache-2.0 (published weights)",
        "TESS and text system; Sanh et al. 2019",
        "text",
    ),
    "linear": Entry(
        _ENCODERS + "linear:linear",
        "logistic regression on features as they are",
    ),
    "relu_cnn": Entry(
        _ENCODERS + "audio.relu_cnn:relu_cnn",
        "ReLU CNN over a spectrogram",
        "",
        "RAVDESS two-stream system",
        "audio",
    ),
    "resnet_face": Entry(
        _ENCODERS + "video.resnet_face:resnet_face",
        "residual CNN over each face, averaged over time",
        "",
        "He et al. 2016",
        "video",
    ),
    "elu_cnn": Entry(
        _ENCODERS + "video.elu_cnn:elu_cnn",
        "ELU CNN over each face, averaged over time",
        "",
        "RAVDESS two-stream system",
        "video",
    ),
}

FUSIONS: dict[str, Entry] = {
    "sum": Entry(
        _FUSIONS + "softmax_sum:softmax_sum",
        "mean of the streams' softmaxes",
        "",
        "RAVDESS two-stream system",
    ),
    "calibrated_late": Entry(
        _FUSIONS + "calibrated_late:calibrated_late",
        "temperature a stream, weighted log-probabilities, fitted on validation",
        "",
        "Guo et al. 2017; Hinton 2002 (product of experts)",
    ),
    "dense": Entry(
        _FUSIONS + "dense:dense_fusion",
        "dense layers over the concatenated embeddings, trained with modality dropout",
        "",
        "Neverova et al. 2016 (ModDrop)",
    ),
    "max_rule": Entry(
        _FUSIONS + "max_rule:max_rule",
        "the class with the highest probability over the streams",
        "",
        "TESS and text system; Kittler et al. 1998 (maximum rule)",
    ),
    "gated": Entry(
        _FUSIONS + "gated:gated",
        "gated multimodal unit over the embeddings, trained with modality dropout",
        "",
        "Arevalo et al. 2017",
    ),
    "cross_attention": Entry(
        _FUSIONS + "cross_attention:cross_attention",
        "attention between tokens of the streams, trained with modality dropout",
        "",
        "Tsai et al. 2019; Vaswani et al. 2017",
    ),
    "concat_resnet1d": Entry(
        _FUSIONS + "concat_resnet1d:concat_resnet1d",
        "residual 1-D network over the concatenated embeddings",
        "",
        "IEMOCAP fused-features system",
    ),
    "best_stream": Entry(
        _FUSIONS + "best_stream:best_stream",
        "no fusion: of the present streams, the one with the highest validation UAR",
    ),
}


def _recipes(stream: str, *names: str) -> dict[str, Entry]:
    """Rows of recipes, which say themselves what they are."""
    constants = {name: name.upper().replace("-", "_") for name in names}
    return {
        name: Entry(f"{_RECIPES}{stream}:{constants[name]}", "", stream=stream) for name in names
    }


RECIPES: dict[str, Entry] = {
    **_recipes(
        "audio",
        "relu-cnn-audio",
        "alexnet-audio",
        "resnet34-audio",
        "statistics-resnet1d",
        "statistics-linear",
        "conv1d-audio",
        "lstm-audio",
        "vgg19-audio",
        "yamnet-audio",
        "resnet-asp-audio",
        "resnet-asp-3x80-audio",
    ),
    **_recipes("video", "elu-cnn-video", "resnet-face", "convlstm-video", "action-units"),
    **_recipes(
        "text",
        "text-cnn",
        "text-transformer",
        "tfidf-text",
        "bert-text",
        "tinybert-text",
        "distilbert-text",
    ),
    **_recipes(
        "fusion",
        "late-fusion",
        "dense-fusion",
        "auto",
        "two-stream-sum",
        "three-stream",
        "convlstm-yamnet",
        "bert-resnet34",
        "bert-alexnet",
        "tfidf-statistics-resnet1d",
        "tinybert-conv1d",
        "distilbert-lstm-max",
    ),
}
