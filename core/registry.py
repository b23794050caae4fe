"""Registry: name -> "module:attribute", so that listing imports nothing heavy.

Adding a corpus, detector, transform, encoder, fusion or recipe is one file and one line here;
the contract tests run over the same table.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

from affectstream.core.errors import UserError


@dataclass(frozen=True)
class Entry:
    """One registered component.

    Attributes:
      target: "module:attribute", imported only when the component is used.
      summary: what it is, one line.
      licence: licence of the data, weights or method's code; "" where none applies.
      source: paper, standard or publisher.
      stream: the stream it belongs to, "" for any.
      parameters: of a recipe's network at 7 classes, standardisation apart; "" where it depends.
      shape: what that network takes in, "" where it depends.
    """

    target: str
    summary: str
    licence: str = ""
    source: str = ""
    stream: str = ""
    parameters: str = ""
    input_shape: str = ""


# === Table ===

_SIGNAL = "log-mel picture, 128 x 282"
_DETECTORS = "affectstream.opencv_model.detectors."
_TRANSFORMS = "affectstream.data_augmentation."
_LABELS = "affectstream.preprocessing.labels:"
_CORPORA = "affectstream.preprocessing.corpora."
_ENCODERS = "affectstream.modeling.encoders."
_FEATURES = "affectstream.modeling.features."

TABLE: dict[str, dict[str, Entry]] = {
    "corpora": {
        "ravdess": Entry(
            _CORPORA + "filename_corpora:RAVDESS",
            "RAVDESS speech by its official file names, sound, video or both, at any folder depth",
            "CC BY-NC-SA 4.0",
            "Livingstone & Russo 2018, PLoS ONE 13(5) e0196391",
        ),
        "ravdess_song": Entry(
            _CORPORA + "filename_corpora:RAVDESS_SONG",
            "RAVDESS speech and song",
            "CC BY-NC-SA 4.0",
            "Livingstone & Russo 2018, PLoS ONE 13(5) e0196391",
        ),
        "iemocap": Entry(
            _CORPORA + "iemocap:IEMOCAP",
            "IEMOCAP turns in the release's layout: sound, words, the speaker's half of the video",
            "signed licence of USC, research use",
            "Busso et al. 2008, Language Resources and Evaluation 42(4)",
        ),
        "emotion": Entry(
            _CORPORA + "emotion:EMOTION",
            "six-class English messages, text;label lines or CSV, with the published split",
            "research and education",
            "Saravia et al. 2018, CARER, EMNLP",
            "text",
        ),
        "goemotions": Entry(
            _CORPORA + "goemotions:GOEMOTIONS",
            "GoEmotions comments mapped to Ekman's six and neutral, with the published split",
            "CC BY 4.0",
            "Demszky et al. 2020, ACL",
            "text",
        ),
        "meld_text": Entry(
            _CORPORA + "meld:MELD_TEXT",
            "MELD's utterances by its tables alone, no clips needed, with its official split",
            "GPL-3.0",
            "Poria et al. 2019, ACL",
            "text",
        ),
        "manifest": Entry(
            _CORPORA + "manifest:MANIFEST",
            "your own, by a CSV: path, label, speaker [start_s, end_s, transcript, split]",
            "your own",
        ),
        "fer2013": Entry(
            _CORPORA + "fer2013:FER2013",
            "FER2013 stills, as folder tree, zip or the official CSV, with its official split",
            "research use",
            "Goodfellow et al. 2013, Challenges in Representation Learning",
        ),
        "tess": Entry(
            _CORPORA + "filename_corpora:TESS",
            "TESS by its file names, sound, two speakers",
            "CC BY-NC-ND 4.0",
            "Pichora-Fuller & Dupuis 2020, doi:10.5683/SP2/E8H2MF",
        ),
        "crema_d": Entry(
            _CORPORA + "filename_corpora:CREMA_D",
            "CREMA-D by its file names, sound or video, 91 speakers",
            "ODbL 1.0",
            "Cao et al. 2014, IEEE Trans. Affective Computing 5(4)",
        ),
        "emodb": Entry(
            _CORPORA + "filename_corpora:EMODB",
            "Berlin EmoDB by its file names, sound, German; boredom is left out",
            "free, no licence stated by the publisher",
            "Burkhardt et al. 2005, Interspeech",
        ),
        "savee": Entry(
            _CORPORA + "filename_corpora:SAVEE",
            "SAVEE by DC/a01 or DC_a01, sound or video, four men",
            "research use, on registration",
            "Haq & Jackson 2010, Machine Audition, chapter 17",
        ),
        "meld": Entry(
            _CORPORA + "meld:MELD",
            "MELD clips by its tables, with transcripts and its official split",
            "GPL-3.0 (tables); clips of a television series, research use",
            "Poria et al. 2019, ACL",
        ),
        "sample": Entry(
            _CORPORA + "filename_corpora:SAMPLE",
            "SYNTHETIC talking faces made by `synthesize`; for trying out, never for accuracy",
            "CC0 1.0",
            "made by this program",
        ),
    },
    "label-sets": {
        "ravdess8": Entry(_LABELS + "RAVDESS8", "neutral and calm apart, and the six of basic7"),
        "ravdess7": Entry(
            _LABELS + "RAVDESS7", "ravdess8 without neutral", source="RAVDESS two-stream system"
        ),
        "basic7": Entry(
            _LABELS + "BASIC7", "calm merged into neutral; the six of Ekman and neutral"
        ),
        "iemocap4": Entry(
            _LABELS + "IEMOCAP4",
            "angry, happy with excited, sad, neutral: 5,531 turns",
            source="Yang et al. 2021, SUPERB",
        ),
        "iemocap5": Entry(_LABELS + "IEMOCAP5", "those of iemocap4 and frustrated"),
        "iemocap6": Entry(
            _LABELS + "IEMOCAP6",
            "angry, happy, sad, neutral, excited, frustrated",
            source="Majumder et al. 2019",
        ),
        "iemocap6_merged": Entry(
            _LABELS + "IEMOCAP6_MERGED",
            "six classes: excited is happy, frustrated is sad",
            source="IEMOCAP fused-features system",
        ),
        "emotion6": Entry(
            _LABELS + "EMOTION6",
            "the six classes of the text set emotion",
            source="Saravia et al. 2018",
        ),
        "tess_emotion5": Entry(
            _LABELS + "TESS_EMOTION5",
            "the five that TESS and emotion both have",
            source="TESS and text system",
        ),
    },
    "detectors": {
        "haar": Entry(
            _DETECTORS + "haar:HaarDetector",
            "boosted cascade, comes with OpenCV 4",
            "Apache-2.0",
            "Viola & Jones 2001; OpenCV",
            "video",
        ),
        "resnet_ssd": Entry(
            _DETECTORS + "resnet_ssd:ResNetSsdDetector",
            "ResNet-10 single-shot detector, OpenCV DNN, TensorFlow or Caffe form",
            "Apache-2.0",
            "OpenCV samples/dnn/face_detector",
            "video",
        ),
        "yunet": Entry(
            _DETECTORS + "yunet:YuNetDetector",
            "small anchor-free network, OpenCV FaceDetectorYN",
            "MIT",
            "Wu et al. 2023; opencv_zoo",
            "video",
        ),
        "blazeface": Entry(
            _DETECTORS + "blazeface:BlazeFaceDetector",
            "MediaPipe Tasks, short range, the fastest; MediaPipe reports its use to Google",
            "Apache-2.0",
            "Bazarevsky et al. 2019",
            "video",
        ),
    },
    "recognisers": {
        "sphinx": Entry(
            "affectstream.preprocessing.speech_to_text.sphinx:SphinxTranscriber",
            "CMU PocketSphinx, offline; its US English model comes along",
            "BSD-2-Clause",
            "Huggins-Daines et al. 2006, ICASSP",
            "audio",
        ),
        "google": Entry(
            "affectstream.preprocessing.speech_to_text.google:GoogleTranscriber",
            "Google Web Speech; needs the network and sends every sound to Google",
            "Google's terms",
            "TESS and text system",
            "audio",
        ),
        "whisper": Entry(
            "affectstream.preprocessing.speech_to_text.whisper:WhisperTranscriber",
            "Whisper base, on this machine; needs the package openai-whisper",
            "MIT",
            "Radford et al. 2022, arXiv:2212.04356",
            "audio",
        ),
    },
    "translators": {
        "google": Entry(
            _TRANSFORMS + "offline.translators.google:GoogleTranslator",
            "Google Translate's public page; the texts are sent there",
            source="deep-translator 1.11.4",
            stream="text",
        ),
    },
    "features": {
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
        "words": Entry(
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
    },
    "encoders": {
        "alexnet": Entry(
            _ENCODERS + "audio.alexnet:alexnet",
            "AlexNet with batch norm and narrow dense layers, 5,368,807 parameters at 7 classes",
            "",
            "BERT-ResNet34 system; Krizhevsky et al. 2012",
            "audio",
        ),
        "resnet34": Entry(
            _ENCODERS + "audio.resnet34:resnet34",
            "basic blocks 3-4-6-3, 21,299,015 parameters at 7 classes",
            "",
            "BERT-ResNet34 system; He et al. 2016",
            "audio",
        ),
        "resnet_asp": Entry(
            _ENCODERS + "audio.resnet_asp:resnet_asp",
            "residual CNN, attentive statistics over time, 257,591 parameters at 7 classes",
            "",
            "He et al. 2016; Okabe et al. 2018",
            "audio",
        ),
        "vgg19": Entry(
            _ENCODERS + "audio.vgg19:vgg19",
            "ImageNet transfer, pictures in [0, 255], 20,157,511 parameters at 7 classes",
            "weights: see keras.applications",
            "ConvLSTM transfer system; Simonyan & Zisserman 2015",
            "audio",
        ),
        "yamnet": Entry(
            _ENCODERS + "audio.yamnet:yamnet",
            "AudioSet transfer, features yamnet_patches, 3,481,543 parameters at 7 classes",
            "Apache-2.0",
            "ConvLSTM transfer system; Plakal & Ellis",
            "audio",
        ),
        "resnet1d": Entry(
            _ENCODERS + "audio.resnet1d:resnet1d",
            "residual 1-D CNN over one vector, 15,415,495 parameters at 7 classes",
            "",
            "IEMOCAP fused-features system",
            "audio",
        ),
        "conv1d": Entry(
            _ENCODERS + "audio.conv1d:conv1d",
            "1-D CNN over a sequence, 190,599 parameters at dim 52 and 7 classes",
            "",
            "TESS and text system",
            "audio",
        ),
        "lstm": Entry(
            _ENCODERS + "audio.lstm:lstm",
            "LSTM over a sequence, 110,087 parameters at dim 52 and 7 classes",
            "",
            "TESS and text system",
            "audio",
        ),
        "action_units": Entry(
            _ENCODERS + "video.action_units:action_units",
            "action units over time, two dense layers, 23,047 parameters at 35 units, 7 classes",
            "",
            "",
            "video",
        ),
        "convlstm": Entry(
            _ENCODERS + "video.convlstm:convlstm",
            "ConvLSTM2D over the faces of a clip, 225,223 parameters at 7 classes",
            "",
            "ConvLSTM transfer system; Shi et al. 2015",
            "video",
        ),
        "text_cnn": Entry(
            _ENCODERS + "text.text_cnn:text_cnn",
            "word vectors and convolutions of four widths, 2,807,303 parameters at 20,000 words",
            "",
            "Kim 2014",
            "text",
        ),
        "text_transformer": Entry(
            _ENCODERS + "text.text_transformer:text_transformer",
            "a small transformer over words, 2,908,167 parameters at 20,000 words and 7 classes",
            "",
            "Vaswani et al. 2017",
            "text",
        ),
        "bert": Entry(
            _ENCODERS + "text.bert:bert",
            "BERT, pretrained or from scratch, 109,487,623 parameters as base, uncased, 7 classes",
            "Apache-2.0 (published weights)",
            "BERT-ResNet34 system; Devlin et al. 2019",
            "text",
        ),
        "tinybert": Entry(
            _ENCODERS + "text.bert:tinybert",
            "BERT of 4 layers, 312 wide, 7,325,575 parameters at 8,000 pieces and 7 classes",
            "Apache-2.0 (published weights)",
            "TESS and text system; Jiao et al. 2020",
            "text",
        ),
        "distilbert": Entry(
            _ENCODERS + "text.bert:distilbert",
            "DistilBERT, pretrained or from scratch, 66,958,855 parameters as base, uncased",
            "Apache-2.0 (published weights)",
            "TESS and text system; Sanh et al. 2019",
            "text",
        ),
        "linear": Entry(
            _ENCODERS + "linear:linear",
            "logistic regression on features as they are, 1,939 parameters at 276 and 7 classes",
        ),
        "relu_cnn": Entry(
            _ENCODERS + "audio.relu_cnn:relu_cnn",
            "ReLU CNN over a spectrogram, 387,335 parameters at 7 classes",
            "",
            "RAVDESS two-stream system",
            "audio",
        ),
        "resnet_face": Entry(
            _ENCODERS + "video.resnet_face:resnet_face",
            "residual CNN over each face, averaged over time, 693,719 parameters at 7 classes",
            "",
            "He et al. 2016",
            "video",
        ),
        "elu_cnn": Entry(
            _ENCODERS + "video.elu_cnn:elu_cnn",
            "ELU CNN over each face, averaged over time, 2,030,215 parameters at 7 classes",
            "",
            "RAVDESS two-stream system",
            "video",
        ),
    },
    "fusions": {
        "sum": Entry(
            "affectstream.modeling.fusions.softmax_sum:softmax_sum",
            "mean of the streams' softmaxes",
            "",
            "RAVDESS two-stream system",
        ),
        "calibrated_late": Entry(
            "affectstream.modeling.fusions.calibrated_late:calibrated_late",
            "temperature a stream, weighted log-probabilities, fitted on validation",
            "",
            "Guo et al. 2017; Hinton 2002 (product of experts)",
        ),
        "dense": Entry(
            "affectstream.modeling.fusions.dense:dense_fusion",
            "dense layers over the concatenated embeddings, trained with modality dropout",
            "",
            "Neverova et al. 2016 (ModDrop)",
        ),
        "highest": Entry(
            "affectstream.modeling.fusions.max_rule:highest",
            "the class with the highest probability over the streams",
            "",
            "TESS and text system; Kittler et al. 1998 (maximum rule)",
        ),
        "gated": Entry(
            "affectstream.modeling.fusions.gated:gated",
            "gated multimodal unit over the embeddings, trained with modality dropout",
            "",
            "Arevalo et al. 2017",
        ),
        "cross_attention": Entry(
            "affectstream.modeling.fusions.cross_attention:cross_attention",
            "attention between tokens of the streams, trained with modality dropout",
            "",
            "Tsai et al. 2019; Vaswani et al. 2017",
        ),
        "concat_resnet1d": Entry(
            "affectstream.modeling.fusions.concat_resnet1d:concat_resnet1d",
            "residual 1-D network over the concatenated embeddings",
            "",
            "IEMOCAP fused-features system",
        ),
        "best_stream": Entry(
            "affectstream.modeling.fusions.best_stream:best_stream",
            "no fusion: of the present streams, the one with the highest validation UAR",
        ),
    },
    "transforms": {
        "noise": Entry(
            _TRANSFORMS + "audio.noise:Noise",
            "white noise at a signal-to-noise ratio",
            stream="audio",
        ),
        "speed": Entry(
            _TRANSFORMS + "audio.speed:Speed",
            "tempo and pitch together",
            source="Ko et al. 2015",
            stream="audio",
        ),
        "time_stretch": Entry(
            _TRANSFORMS + "audio.time_stretch:TimeStretch",
            "tempo at the same pitch; about 2 ms a second of sound",
            source="Verhelst & Roelands 1993",
            stream="audio",
        ),
        "pitch_shift": Entry(
            _TRANSFORMS + "audio.pitch_shift:PitchShift",
            "pitch at the same tempo; about 2 ms a second of sound",
            source="Verhelst & Roelands 1993",
            stream="audio",
        ),
        "time_shift": Entry(
            _TRANSFORMS + "audio.time_shift:TimeShift", "earlier or later", stream="audio"
        ),
        "gain": Entry(_TRANSFORMS + "audio.gain:Gain", "louder or softer", stream="audio"),
        "bandwidth": Entry(
            _TRANSFORMS + "audio.bandwidth:Bandwidth",
            "low-pass at a random cut-off, as on the telephone",
            stream="audio",
        ),
        "spec_augment": Entry(
            _TRANSFORMS + "spectrogram.spec_augment:SpecAugment",
            "masks of frequency and time, in the model",
            source="Park et al. 2019",
            stream="features",
        ),
        "vtlp": Entry(
            _TRANSFORMS + "spectrogram.vtlp:Vtlp",
            "vocal tracts of other lengths, in the model",
            source="Jaitly & Hinton 2013",
            stream="features",
        ),
        "mix_style": Entry(
            _TRANSFORMS + "spectrogram.mix_style:MixStyle",
            "each band's level and spread blended with another clip's, in the model",
            source="Zhou et al. 2021; Kim et al. 2022",
            stream="features",
        ),
        "flip": Entry(_TRANSFORMS + "image.flip:Flip", "horizontal mirror image", stream="video"),
        "crop_jitter": Entry(
            _TRANSFORMS + "image.crop_jitter:CropJitter",
            "zoom and shift of the face crop",
            stream="video",
        ),
        "brightness": Entry(
            _TRANSFORMS + "image.brightness:Brightness", "brightness and contrast", stream="video"
        ),
        "cutout": Entry(
            _TRANSFORMS + "image.cutout:Cutout",
            "a rectangle hidden",
            source="DeVries & Taylor 2017",
            stream="video",
        ),
        "downscale": Entry(
            _TRANSFORMS + "image.downscale:Downscale", "lower image resolution", stream="video"
        ),
        "jpeg": Entry(
            _TRANSFORMS + "image.jpeg:Jpeg",
            "JPEG compression artefacts",
            source="ITU-T T.81",
            stream="video",
        ),
        "word_dropout": Entry(
            _TRANSFORMS + "text.word_dropout:WordDropout",
            "words left out",
            source="Wei & Zou 2019",
            stream="text",
        ),
        "word_swap": Entry(
            _TRANSFORMS + "text.word_swap:WordSwap",
            "two words change places",
            source="Wei & Zou 2019",
            stream="text",
        ),
        "typo": Entry(
            _TRANSFORMS + "text.typo:Typo",
            "slips of the keyboard",
            source="Belinkov & Bisk 2018",
            stream="text",
        ),
        "mixup": Entry(
            _TRANSFORMS + "mixup:Mixup",
            "two clips and their labels blended",
            source="Zhang et al. 2018",
            stream="batch",
        ),
    },
    "recipes": {
        "relu-cnn-audio": Entry(
            "affectstream.modeling.recipes:RELU_CNN_AUDIO",
            "three ReLU convolutions on a spectrogram",
            "",
            "RAVDESS two-stream system",
            "audio",
            parameters="387,335",
            input_shape="128 x 282 x 1",
        ),
        "elu-cnn-video": Entry(
            "affectstream.modeling.recipes:ELU_CNN_VIDEO",
            "four ELU convolutions on single faces",
            "",
            "RAVDESS two-stream system",
            "video",
            parameters="2,030,215",
            input_shape="T x 112 x 112 x 1",
        ),
        "alexnet-audio": Entry(
            "affectstream.modeling.recipes:ALEXNET_AUDIO",
            "AlexNet on spectrogram pictures",
            "",
            "BERT-ResNet34 system",
            "audio",
            parameters="5,368,807",
            input_shape="128 x 282 x 1",
        ),
        "resnet34-audio": Entry(
            "affectstream.modeling.recipes:RESNET34_AUDIO",
            "ResNet34 on spectrogram pictures",
            "",
            "BERT-ResNet34 system",
            "audio",
            parameters="21,299,015",
            input_shape="128 x 282 x 1",
        ),
        "statistics-resnet1d": Entry(
            "affectstream.modeling.recipes:STATISTICS_RESNET1D",
            "276 statistics a clip into a residual 1-D CNN; also from a table",
            "",
            "IEMOCAP fused-features system",
            "audio",
            parameters="15,415,495",
            input_shape="276",
        ),
        "conv1d-audio": Entry(
            "affectstream.modeling.recipes:CONV1D_AUDIO",
            "1-D CNN over MFCC and chroma",
            "",
            "TESS and text system, feature level",
            "audio",
            parameters="190,599",
            input_shape="188 x 52",
        ),
        "lstm-audio": Entry(
            "affectstream.modeling.recipes:LSTM_AUDIO",
            "LSTM over MFCC and chroma",
            "",
            "TESS and text system, probability level",
            "audio",
            parameters="110,087",
            input_shape="188 x 52",
        ),
        "vgg19-audio": Entry(
            "affectstream.modeling.recipes:VGG19_AUDIO",
            "VGG19 on spectrogram pictures, frozen, then fine-tuned",
            "",
            "ConvLSTM transfer system",
            "audio",
            parameters="20,157,511",
            input_shape="128 x 188 x 1",
        ),
        "yamnet-audio": Entry(
            "affectstream.modeling.recipes:YAMNET_AUDIO",
            "YAMNet embeddings over time, frozen, then fine-tuned",
            "",
            "ConvLSTM transfer system",
            "audio",
            parameters="3,481,543",
            input_shape="6 x 96 x 64",
        ),
        "convlstm-video": Entry(
            "affectstream.modeling.recipes:CONVLSTM_VIDEO",
            "ConvLSTM2D over the faces of a clip",
            "",
            "ConvLSTM transfer system",
            "video",
            parameters="225,223",
            input_shape="T x 112 x 112 x 1",
        ),
        "resnet-asp-audio": Entry(
            "affectstream.modeling.recipes:RESNET_ASP_AUDIO",
            "small residual CNN, attentive statistics; noise, speed, SpecAugment, mixup",
            "",
            "He et al. 2016; Okabe et al. 2018",
            "audio",
            parameters="257,591",
            input_shape="80 x 301 x 1",
        ),
        "resnet-asp-3x80-audio": Entry(
            "affectstream.modeling.recipes:RESNET_ASP_3X80_AUDIO",
            "resnet-asp-audio over log-mels of three windows, bands joined, in smaller batches",
            "",
            "He et al. 2016; Okabe et al. 2018",
            "audio",
            parameters="347,895",
            input_shape="80 x 301 x 3",
        ),
        "resnet-face": Entry(
            "affectstream.modeling.recipes:RESNET_FACE",
            "small residual CNN on single faces of 48 px; jitter, cutout, mixup",
            "",
            "He et al. 2016",
            "video",
            parameters="693,719",
            input_shape="T x 48 x 48 x 1",
        ),
        "action-units": Entry(
            "affectstream.modeling.recipes:ACTION_UNITS",
            "facial action units or blendshapes as the video stream",
            "",
            "",
            "video",
            parameters="23,047",
            input_shape="T x 35",
        ),
        "convlstm-yamnet": Entry(
            "affectstream.modeling.recipes:CONVLSTM_YAMNET",
            "yamnet-audio and convlstm-video joined by dense layers",
            "",
            "ConvLSTM transfer system",
            "fusion",
        ),
        "text-cnn": Entry(
            "affectstream.modeling.recipes:TEXT_CNN",
            "word vectors and convolutions, from scratch",
            "",
            "Kim 2014",
            "text",
            parameters="2,807,303",
            input_shape="up to 64 of 20,000 tokens",
        ),
        "text-transformer": Entry(
            "affectstream.modeling.recipes:TEXT_TRANSFORMER",
            "a small transformer, from scratch",
            "",
            "Vaswani et al. 2017",
            "text",
            parameters="2,908,167",
            input_shape="up to 64 of 20,000 tokens",
        ),
        "tfidf-text": Entry(
            "affectstream.modeling.recipes:TFIDF_TEXT",
            "TF-IDF and a linear layer; also from a table",
            "",
            "IEMOCAP fused-features system",
            "text",
            input_shape="terms",
        ),
        "bert-text": Entry(
            "affectstream.modeling.recipes:BERT_TEXT",
            "BERT, fine-tuned",
            "",
            "BERT-ResNet34 system",
            "text",
            parameters="109,487,623",
            input_shape="up to 128 of 30,522 tokens",
        ),
        "tinybert-text": Entry(
            "affectstream.modeling.recipes:TINYBERT_TEXT",
            "TinyBERT's build, from scratch unless weights are named",
            "",
            "TESS and text system, feature level",
            "text",
            parameters="7,325,575",
            input_shape="up to 128 of 8,000 tokens",
        ),
        "distilbert-text": Entry(
            "affectstream.modeling.recipes:DISTILBERT_TEXT",
            "DistilBERT, fine-tuned",
            "",
            "TESS and text system, probability level",
            "text",
            parameters="66,958,855",
            input_shape="up to 128 of 30,522 tokens",
        ),
        "statistics-linear": Entry(
            "affectstream.modeling.recipes:STATISTICS_LINEAR",
            "276 statistics a clip and a linear layer; also from a table",
            "",
            "IEMOCAP fused-features system",
            "audio",
            parameters="1,939",
            input_shape="276",
        ),
        "bert-resnet34": Entry(
            "affectstream.modeling.recipes:BERT_RESNET34",
            "bert-text and resnet34-audio joined by dense layers",
            "",
            "BERT-ResNet34 system",
            "fusion",
        ),
        "bert-alexnet": Entry(
            "affectstream.modeling.recipes:BERT_ALEXNET",
            "bert-text and alexnet-audio joined by dense layers",
            "",
            "BERT-ResNet34 system",
            "fusion",
        ),
        "tfidf-statistics-resnet1d": Entry(
            "affectstream.modeling.recipes:TFIDF_STATISTICS_RESNET1D",
            "statistics and TF-IDF into a residual 1-D CNN; also from two tables",
            "",
            "IEMOCAP fused-features system",
            "fusion",
        ),
        "tinybert-conv1d": Entry(
            "affectstream.modeling.recipes:TINYBERT_CONV1D",
            "tinybert-text and conv1d-audio joined by dense layers",
            "",
            "TESS and text system, feature level",
            "fusion",
        ),
        "distilbert-lstm-max": Entry(
            "affectstream.modeling.recipes:DISTILBERT_LSTM_MAX",
            "the highest probability of distilbert-text and lstm-audio, each on its own corpus",
            "",
            "TESS and text system, probability level",
            "fusion",
        ),
        "three-stream": Entry(
            "affectstream.modeling.recipes:THREE_STREAM",
            "relu-cnn-audio, elu-cnn-video and text-cnn, calibrated late fusion",
            "",
            "",
            "fusion",
        ),
        "two-stream-sum": Entry(
            "affectstream.modeling.recipes:TWO_STREAM_SUM",
            "relu-cnn-audio and elu-cnn-video, sum of softmaxes",
            "",
            "RAVDESS two-stream system",
            "fusion",
        ),
        "auto": Entry(
            "affectstream.modeling.recipes:AUTO",
            "every fusion tried, the best on validation kept, never below its best stream",
            "",
            "",
            "fusion",
        ),
        "late-fusion": Entry(
            "affectstream.modeling.recipes:LATE_FUSION",
            "calibrated late fusion, the default",
            "",
            "",
            "fusion",
        ),
        "dense-fusion": Entry(
            "affectstream.modeling.recipes:DENSE_FUSION",
            "feature-level fusion",
            "",
            "",
            "fusion",
        ),
    },
}

# === Access ===


def entry(kind: str, name: str) -> Entry:
    """The table row of `name`.

    Raises:
      UserError: no such kind or name; the message lists those that exist.
    """
    rows = TABLE.get(kind)
    if rows is None:
        raise UserError(f"no list {kind!r}; known: {', '.join(TABLE)}")
    if name not in rows:
        raise UserError(f"no {kind} named {name!r}; known: {', '.join(rows)}")
    return rows[name]


def load(kind: str, name: str) -> Any:
    """Imports and returns what the row of `name` points to."""
    module, attribute = entry(kind, name).target.split(":")
    return getattr(importlib.import_module(module), attribute)


def names(kind: str) -> tuple[str, ...]:
    """The names of one kind, in the order of the table."""
    return tuple(TABLE[kind])
