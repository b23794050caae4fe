"""What reads and prepares data: corpora, label sets, detectors, transcribers, translators."""

from __future__ import annotations

from affectstream.core.catalogue.entry import Entry

_CORPORA = "affectstream.preprocessing.corpora."
_DETECTORS = "affectstream.opencv_model.detectors."
_LABELS = "affectstream.preprocessing.labels:"
_TRANSCRIBERS = "affectstream.preprocessing.speech_to_text."
_TRANSLATORS = "affectstream.data_augmentation.offline.translators."

CORPORA: dict[str, Entry] = {
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
}

LABEL_SETS: dict[str, Entry] = {
    "ravdess8": Entry(_LABELS + "RAVDESS8", "neutral and calm apart, and the six of basic7"),
    "ravdess7": Entry(
        _LABELS + "RAVDESS7", "ravdess8 without neutral", source="RAVDESS two-stream system"
    ),
    "basic7": Entry(_LABELS + "BASIC7", "calm merged into neutral; the six of Ekman and neutral"),
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
}

DETECTORS: dict[str, Entry] = {
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
}

TRANSCRIBERS: dict[str, Entry] = {
    "sphinx": Entry(
        _TRANSCRIBERS + "sphinx:SphinxTranscriber",
        "CMU PocketSphinx, offline; its US English model comes along",
        "BSD-2-Clause",
        "Huggins-Daines et al. 2006, ICASSP",
        "audio",
    ),
    "google": Entry(
        _TRANSCRIBERS + "google:GoogleTranscriber",
        "Google Web Speech; needs the network and sends every sound to Google",
        "Google's terms",
        "TESS and text system",
        "audio",
    ),
    "whisper": Entry(
        _TRANSCRIBERS + "whisper:WhisperTranscriber",
        "Whisper base, on this machine; needs the package openai-whisper",
        "MIT",
        "Radford et al. 2022, arXiv:2212.04356",
        "audio",
    ),
}

TRANSLATORS: dict[str, Entry] = {
    "google": Entry(
        _TRANSLATORS + "google:GoogleTranslator",
        "Google Translate's public page; the texts are sent there",
        source="deep-translator 1.11.4",
        stream="text",
    ),
}
