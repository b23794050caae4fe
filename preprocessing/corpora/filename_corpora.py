"""Definitions of corpora whose file names contain all labels."""

from __future__ import annotations

import re

from affectstream.preprocessing.corpora.filename_reader import FilenameCorpus, Match
from affectstream.preprocessing.labels import CANONICAL_LABELS, parse_codes

# === RAVDESS and what is named like it ===

RAVDESS_LABELS = {f"{code:02d}": label for code, label in enumerate(CANONICAL_LABELS[:8], 1)}

# Livingstone & Russo 2018, naming convention; sung with the same words.
RAVDESS_STATEMENTS = {
    "01": "Kids are talking by the door",
    "02": "Dogs are sitting by the door",
}

# modality-channel-emotion-intensity-statement-repetition-actor; all but the first identify the
# recording
_RAVDESS_PATTERN = re.compile(
    r"(?P<modality>0[123])-"
    r"(?P<recording>(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])-"
    r"(?P<statement>0[12])-(?P<repetition>0[12])-(?P<speaker>\d\d))"
)


def _ravdess_attributes(match: Match) -> dict[str, str]:
    return {
        "sex": "male" if int(match["speaker"]) % 2 else "female",
        "intensity": {"01": "normal", "02": "strong"}[match["intensity"]],
        "statement": match["statement"],
        "channel": {"01": "speech", "02": "song"}[match["channel"]],
    }


def _ravdess_transcript(match: Match) -> str:
    return RAVDESS_STATEMENTS[match["statement"]]


def _without_song(match: Match) -> str:
    return "song (corpus ravdess_song takes it in)" if match["channel"] == "02" else ""


def _modality_rank(match: Match, suffix: str) -> int:
    return {"01": 0, "03": 1, "02": 2}[match["modality"]]


RAVDESS = FilenameCorpus(
    name="ravdess",
    pattern=_RAVDESS_PATTERN,
    labels=RAVDESS_LABELS,
    example="03-01-05-02-01-01-12.wav",
    citation="Livingstone & Russo 2018, PLoS ONE 13(5) e0196391",
    licence="CC BY-NC-SA 4.0",
    attributes=_ravdess_attributes,
    transcript=_ravdess_transcript,
    skip_reason=_without_song,
    preference=_modality_rank,
)

RAVDESS_SONG = FilenameCorpus(
    name="ravdess",
    pattern=_RAVDESS_PATTERN,
    labels=RAVDESS_LABELS,
    example="03-02-05-02-01-01-12.wav",
    citation=RAVDESS.citation,
    licence=RAVDESS.licence,
    attributes=_ravdess_attributes,
    transcript=_ravdess_transcript,
    preference=_modality_rank,
)

SAMPLE = FilenameCorpus(
    name="sample",
    pattern=_RAVDESS_PATTERN,
    labels=RAVDESS_LABELS,
    example="01-01-05-01-01-01-03.mp4",
    citation="made by `python cli.py synthesize`; SYNTHETIC, supports no claim of accuracy",
    licence="CC0 1.0",
    attributes=_ravdess_attributes,
    preference=_modality_rank,
    synthetic=True,
)

# === TESS ===

# "OA" is the corpus's own misspelling of OAF in OA_bite_neutral.wav.
_TESS_SPEAKERS = {"OAF": "OAF", "OA": "OAF", "YAF": "YAF"}

TESS = FilenameCorpus(
    name="tess",
    pattern=re.compile(
        r"(?P<speaker>OAF?|YAF)_(?P<word>[A-Za-z-]+)_"
        r"(?P<emotion>angry|disgust|fear|happy|neutral|ps|sad)"
    ),
    labels=parse_codes(
        "angry angry disgust disgust fear fearful happy happy neutral neutral ps surprised sad sad"
    ),
    example="OAF_back_angry.wav",
    citation="Pichora-Fuller & Dupuis 2020, Toronto emotional speech set, doi:10.5683/SP2/E8H2MF",
    licence="CC BY-NC-ND 4.0",
    speaker=lambda match: _TESS_SPEAKERS[match["speaker"]],
    recording=lambda match: (
        f"{_TESS_SPEAKERS[match['speaker']]}_{match['word'].lower()}_{match['emotion']}"
    ),
    attributes=lambda match: {
        "sex": "female",
        "age_years": {"OAF": "64", "YAF": "26"}[_TESS_SPEAKERS[match["speaker"]]],
        "word": match["word"].lower(),
    },
    # The carrier phrase of every recording (Pichora-Fuller & Dupuis 2020; NU-6 word lists).
    transcript=lambda match: f"Say the word {match['word'].lower()}",
)

# === CREMA-D ===

# Actresses by the publisher's VideoDemographics.csv; the other 48 of 1001-1091 are men.
_CREMA_D_WOMEN = (
    "1002 1003 1004 1006 1007 1008 1009 1010 1012 1013 1018 1020 1021 1024 1025 1028 1029 1030 "
    "1037 1043 1046 1047 1049 1052 1053 1054 1055 1056 1058 1060 1061 1063 1072 1073 1074 1075 "
    "1076 1078 1079 1082 1084 1089 1091"
)

# Reported to the publisher: CheyneyComputerScience/CREMA-D, issue 8.
_CREMA_D_BAD = {
    "1076_mti_sad_xx.wav": "no sound",
    "1076_mti_sad_xx.mp3": "no sound",
    "1076_mti_sad_xx.flv": "no face",
    "1064_tie_sad_xx.mp3": "no duration",
    "1064_tie_sad_xx.flv": "no duration",
    "1064_ieo_dis_md.mp3": "a minute of several emotions",
    "1064_ieo_dis_md.flv": "a minute of several emotions",
}

# The publisher's README, CheyneyComputerScience/CREMA-D on GitHub.
CREMA_D_SENTENCES = {
    "IEO": "It's eleven o'clock",
    "TIE": "That is exactly what happened",
    "IOM": "I'm on my way to the meeting",
    "IWW": "I wonder what this is about",
    "TAI": "The airplane is almost full",
    "MTI": "Maybe tomorrow it will be cold",
    "IWL": "I would like a new alarm clock",
    "ITH": "I think I have a doctor's appointment",
    "DFA": "Don't forget a jacket",
    "ITS": "I think I've seen this before",
    "TSI": "The surface is slick",
    "WSI": "We'll stop in a couple of minutes",
}

_CREMA_D_LEVELS = parse_codes("LO low MD medium HI high XX unspecified X unspecified")


def _crema_d_recording(match: Match) -> str:
    # One release spells XX as X in 1040_ITH_SAD_X.
    level = "XX" if match["intensity"] == "X" else match["intensity"]
    return f"{match['speaker']}_{match['sentence']}_{match['emotion']}_{level}"


CREMA_D = FilenameCorpus(
    name="crema_d",
    pattern=re.compile(
        r"(?P<speaker>(?!1000)10[0-8]\d|109[01])_"
        r"(?P<sentence>DFA|IEO|IOM|ITH|ITS|IWL|IWW|MTI|TAI|TIE|TSI|WSI)_"
        r"(?P<emotion>ANG|DIS|FEA|HAP|NEU|SAD)_(?P<intensity>LO|MD|HI|XX?)"
    ),
    labels=parse_codes("ANG angry DIS disgust FEA fearful HAP happy NEU neutral SAD sad"),
    example="1001_DFA_ANG_XX.wav",
    citation="Cao et al. 2014, IEEE Trans. Affective Computing 5(4)",
    licence="ODbL 1.0",
    recording=_crema_d_recording,
    attributes=lambda match: {
        "sex": "female" if match["speaker"] in _CREMA_D_WOMEN.split() else "male",
        "intensity": _CREMA_D_LEVELS[match["intensity"]],
        "statement": match["sentence"],
    },
    transcript=lambda match: CREMA_D_SENTENCES[match["sentence"]],
    known_bad=_CREMA_D_BAD,
)

# === EmoDB ===

_EMODB_WOMEN = frozenset(["08", "09", "13", "14", "16"])

# The publisher's list of texts (database of Burkhardt et al. 2005), as in audEERING's data card.
EMODB_SENTENCES = {
    "a01": "Der Lappen liegt auf dem Eisschrank.",
    "a02": "Das will sie am Mittwoch abgeben.",
    "a04": "Heute Abend könnte ich es ihm sagen.",
    "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
    "a07": "In sieben Stunden wird es soweit sein.",
    "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen?",
    "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter.",
    "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht.",
    "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen.",
    "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen.",
}

EMODB = FilenameCorpus(
    name="emodb",
    pattern=re.compile(
        r"(?P<recording>(?P<speaker>03|08|09|1[0-6])(?P<text>[ab]\d\d)(?P<emotion>[AEFLNTW])[a-z])"
    ),
    # Initials of the German words: Wut, Ekel, Angst, Freude, Trauer, neutral, Langeweile.
    labels=parse_codes("W angry E disgust A fearful F happy T sad N neutral"),
    no_label={"L": "boredom"},
    example="03a01Fa.wav",
    citation="Burkhardt et al. 2005, A database of German emotional speech, Interspeech",
    licence="free, no licence stated by the publisher",
    attributes=lambda match: {
        "sex": "female" if match["speaker"] in _EMODB_WOMEN else "male",
        "statement": match["text"],
    },
    transcript=lambda match: EMODB_SENTENCES.get(match["text"], ""),
)

# === SAVEE ===

SAVEE = FilenameCorpus(
    name="savee",
    pattern=re.compile(
        r"(?P<speaker>DC|JE|JK|KL)[/_](?P<item>(?P<emotion>sa|su|a|d|f|h|n)(?P<number>\d\d))"
    ),
    labels=parse_codes("a angry d disgust f fearful h happy n neutral sa sad su surprised"),
    example="DC/a01.wav or DC_a01.wav",
    citation="Haq & Jackson 2010, Machine Audition, chapter 17",
    licence="research use, on registration",
    recording=lambda match: f"{match['speaker']}_{match['item']}",
    attributes=lambda match: {"sex": "male", "statement": match["number"]},
)
