"""The text files of IEMOCAP: evaluations and transcriptions, one file per dialogue."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from pathlib import Path

from affectstream.core.errors import UserError, from_os_error
from affectstream.preprocessing.clip import Rejection
from affectstream.preprocessing.corpora.csv_table import require_no_pointer, split_lines
from affectstream.preprocessing.corpora.media_files import printable
from affectstream.preprocessing.corpora.meld import decode
from affectstream.preprocessing.labels import parse_codes, to_canonical_label

EVALUATIONS = Path("dialog/EmoEvaluation")
TRANSCRIPTIONS = Path("dialog/transcriptions")

# Ses01F_script01_1_M003: session 1, the woman wears the markers, the third turn of the man.
TURN_PATTERN = re.compile(
    r"(?P<dialogue>Ses(?P<session>\d\d)(?P<marked>[FM])_(?P<acting>impro|script)\w*?)"
    r"_(?P<sex>[FM])[A-Z]*\d+"
)
_TURN_LINE = re.compile(
    r"\[\s*(?P<start>\S+)\s*-\s*(?P<end>[^\s\]]+)\s*\]\s+(?P<turn>\S+)\s+(?P<emotion>\S+)"
    r"\s+\[(?P<values>[^\]]*)\]"
)
_EVALUATOR_LINE = re.compile(r"C-(?P<who>[A-Z]+\d*)\s*:\s*(?P<emotions>[^()\[\]]*?)\s*(?:\(.*)?")
_TRANSCRIPT_LINE = re.compile(r"(?P<turn>\S+)\s+\[[^\]]*\]\s*:?\s*(?P<text>.*)")
_TURN_FORM = "[start - end] TURN emotion [valence, arousal, dominance]"

# Code of the consensus -> canonical label.
LABELS = parse_codes(
    "ang angry hap happy exc excited sad sad fru frustrated fea fearful sur surprised neu neutral"
    " dis disgust"
)
# Codes without a label, and their meaning.
NO_LABEL = {
    "xxx": "xxx: the evaluators did not agree",
    "oth": "oth: an emotion that has no label here",
}


@dataclass(frozen=True)
class Turn:
    """One evaluated turn of a dialogue.

    Attributes:
      line: its line number in the evaluation file.
      start_s, end_s: within the dialogue.
      emotion: code of the consensus, a key of `LABELS` or `NO_LABEL`.
      valence, arousal, dominance: mean over the evaluators, 1 to 5.
      evaluations: canonical labels of each evaluator; the actors' own are not counted.
    """

    name: str
    line: int
    start_s: float
    end_s: float
    emotion: str
    valence: float
    arousal: float
    dominance: float
    evaluations: tuple[frozenset[str], ...] = ()

    @property
    def agreement(self) -> float | None:
        """Share of the evaluators who chose the consensus; None without evaluators or label."""
        label = LABELS.get(self.emotion)
        if label is None or not self.evaluations:
            return None
        return sum(label in named for named in self.evaluations) / len(self.evaluations)


def sessions_below(source: Path, rejected: list[Rejection]) -> list[Path]:
    """Session folders: `source` itself, or those directly in it.

    Args:
      rejected: receives those that cannot be entered.
    Raises:
      UserError: `source` cannot be read.
    """
    try:
        if (source / EVALUATIONS).is_dir():
            return [source] if text_files(source / EVALUATIONS) else []
        folders = sorted(source.iterdir())
    except OSError as error:
        raise from_os_error(error, source) from error
    sessions = []
    for folder in folders:
        try:
            if (folder / EVALUATIONS).is_dir() and text_files(folder / EVALUATIONS):
                sessions.append(folder)
        except OSError as error:
            reason = str(from_os_error(error, folder))
            rejected.append(Rejection(printable(folder.name), reason))
    return sessions


def text_files(folder: Path) -> list[Path]:
    """The `.txt` files directly in a folder, without hidden ones (`._Ses01F_impro01.txt`).

    Raises:
      OSError: the folder cannot be read.
    """
    found = [path for path in folder.iterdir() if path.suffix == ".txt"]
    return sorted(path for path in found if not path.name.startswith("."))


def read_evaluation(path: Path, shown: str) -> tuple[list[Turn], list[Rejection]]:
    """Turns of one evaluation file, and its unusable lines.

    Args:
      path: such as `Session1/dialog/EmoEvaluation/Ses01F_impro01.txt`.
      shown: name of the file in messages.
    Raises:
      UserError: the file cannot be read.
    """
    turns: list[Turn] = []
    rejected: list[Rejection] = []
    evaluations: list[frozenset[str]] | None = None

    def finish() -> None:
        if evaluations:
            turns[-1] = replace(turns[-1], evaluations=tuple(evaluations))

    under_a_turn = False
    for number, line in _lines(path):
        try:
            if line.startswith("["):
                finish()
                # Evaluator lines after an invalid turn line are ignored without an error.
                evaluations, under_a_turn = None, True
                turns.append(_turn(line, number, path.stem))
                evaluations = []
            elif line.startswith(("C-", "A-")):
                if not under_a_turn:
                    raise UserError("an evaluator above the first turn; mend the file")
                named = _named(line)
                if evaluations is not None and named is not None:
                    evaluations.append(named)
            elif line and not line.startswith("%"):
                raise UserError(f"neither a turn ({_TURN_FORM}) nor an evaluator; mend the line")
        except UserError as error:
            rejected.append(Rejection(f"{shown}:{number}", str(error)))
    finish()
    return turns, rejected


def _turn(line: str, number: int, dialogue: str) -> Turn:
    match = _TURN_LINE.fullmatch(line)
    if match is None:
        raise UserError(f"not of the form {_TURN_FORM}; mend the line")
    name = TURN_PATTERN.fullmatch(match["turn"])
    if name is None:
        example = "Ses01F_impro01_F000"
        raise UserError(f"turn {printable(match['turn'])!r} is not named like {example}")
    if name["dialogue"] != dialogue:
        raise UserError(f"{match['turn']} is no turn of {printable(dialogue)}; mend the line")
    times = _numbers(f"{match['start']},{match['end']}")
    if len(times) != 2 or not 0 <= times[0] < times[1]:
        raise UserError(
            f"{match['turn']}: from {match['start']} to {match['end']} s is no stretch of time"
        )
    if match["emotion"] not in LABELS and match["emotion"] not in NO_LABEL:
        known = " ".join([*LABELS, *NO_LABEL])
        raise UserError(f"{match['turn']}: unknown emotion {match['emotion']!r}; one of {known}")
    values = _numbers(match["values"])
    if len(values) != 3:
        raise UserError(f"{match['turn']}: [{match['values']}] is not three numbers")
    valence, arousal, dominance = values
    return Turn(
        match["turn"], number, times[0], times[1], match["emotion"], valence, arousal, dominance
    )


def _numbers(text: str) -> list[float]:
    """Comma-separated numbers; [] if any is invalid."""
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        return []
    return values if all(map(math.isfinite, values)) else []


def _named(line: str) -> frozenset[str] | None:
    """Canonical labels of an evaluator; None for scores, and for the actors themselves.

    The publisher's means exclude the actors' evaluations of themselves (C-F1, C-M1), so the
    agreement excludes them as well.
    """
    if line.startswith("A-"):
        return None
    match = _EVALUATOR_LINE.fullmatch(line)
    if match is None:
        raise UserError("an evaluator's line not of the form C-E1: Emotion; (comment); mend it")
    if not match["who"].startswith("E"):
        return None
    words = (word.strip().lower().removesuffix(" state") for word in match["emotions"].split(";"))
    return frozenset(label for word in words if (label := to_canonical_label(word)) is not None)


def read_transcription(path: Path, shown: str) -> tuple[dict[str, str], list[Rejection], int]:
    """(turn -> transcript, unusable lines, number of lines without a turn name).

    The release itself has lines without a turn name, such as "M: [LAUGHTER]".

    Raises:
      UserError: the file cannot be read.
    """
    said: dict[str, str] = {}
    rejected: list[Rejection] = []
    num_unnamed = 0
    for number, line in _lines(path):
        if not line.startswith("Ses"):
            num_unnamed += bool(line)
            continue
        match = _TRANSCRIPT_LINE.fullmatch(line)
        if match is None:
            reason = "not of the form TURN [start-end]: text; mend the line"
            rejected.append(Rejection(f"{shown}:{number}", reason))
        elif match["turn"] in said:
            reason = f"{printable(match['turn'])} has a line already; keep one of them"
            rejected.append(Rejection(f"{shown}:{number}", reason))
        else:
            said[match["turn"]] = match["text"].strip()
    return said, rejected, num_unnamed


def _lines(path: Path) -> list[tuple[int, str]]:
    """(number from 1, stripped line)."""
    try:
        text = decode(path.read_bytes())
    except OSError as error:
        raise from_os_error(error, path) from error
    require_no_pointer(path, text)
    return [(number, line.strip()) for number, line in enumerate(split_lines(text), start=1)]
