"""The canonical emotion labels, and the label sets that select and merge them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# === Canonical list ===

CANONICAL_LABELS = (
    "neutral",
    "calm",
    "happy",
    "sad",
    "angry",
    "fearful",
    "disgust",
    "surprised",
    "excited",
    "frustrated",
    "love",
)

# Words in users' own tables, each with its canonical label.
SYNONYMS: Mapping[str, str] = MappingProxyType(
    {
        "anger": "angry",
        "disgusted": "disgust",
        "excitement": "excited",
        "fear": "fearful",
        "frustration": "frustrated",
        "happiness": "happy",
        "joy": "happy",
        "pleasant surprise": "surprised",
        "sadness": "sad",
        "surprise": "surprised",
    }
)


def to_canonical_label(word: str) -> str | None:
    """The canonical label of `word`, or None if there is none."""
    word = word.strip().lower()
    word = SYNONYMS.get(word, word)
    return word if word in CANONICAL_LABELS else None


def parse_codes(text: str) -> dict[str, str]:
    """Code -> meaning, from alternating codes and words: `"ANG angry DIS disgust"`."""
    words = text.split()
    return dict(zip(words[::2], words[1::2], strict=True))


# === Label sets ===


@dataclass(frozen=True)
class LabelSet:
    """Classes of a model, in output order.

    Attributes:
      labels: the classes; the index of a class is its output number.
      merges: canonical labels that count as one of the classes.
    """

    labels: tuple[str, ...]
    merges: Mapping[str, str] = field(default_factory=dict)

    def index(self, label: str) -> int | None:
        """Output number of a canonical label, or None if the set excludes it."""
        label = self.merges.get(label, label)
        return self.labels.index(label) if label in self.labels else None


RAVDESS8 = LabelSet(CANONICAL_LABELS[:8])
RAVDESS7 = LabelSet(CANONICAL_LABELS[1:8])
BASIC7 = LabelSet(("neutral", *CANONICAL_LABELS[2:8]), MappingProxyType({"calm": "neutral"}))

# === IEMOCAP ===

_EXCITED_IS_HAPPY = MappingProxyType({"excited": "happy"})
# The usual four classes, 5,531 turns (1,103 angry, 1,636 happy, 1,084 sad, 1,708 neutral); merging
# and count as in Yang et al. 2021, SUPERB, task ER.
IEMOCAP4 = LabelSet(("angry", "happy", "sad", "neutral"), _EXCITED_IS_HAPPY)
# These and the 1,849 frustrated turns.
IEMOCAP5 = LabelSet((*IEMOCAP4.labels, "frustrated"), _EXCITED_IS_HAPPY)
# Nothing merged, as in emotion recognition in conversations (Majumder et al. 2019, DialogueRNN).
IEMOCAP6 = LabelSet((*IEMOCAP4.labels, "excited", "frustrated"))
# Source: IEMOCAP fused-features system, docs/reproduced_systems.md.
IEMOCAP6_MERGED = LabelSet(
    ("angry", "happy", "sad", "fearful", "surprised", "neutral"),
    MappingProxyType({"excited": "happy", "frustrated": "sad"}),
)

# === Texts ===

# The six classes of the text set `emotion`, in its own order (Saravia et al. 2018, CARER).
EMOTION6 = LabelSet(("sad", "happy", "love", "angry", "fearful", "surprised"))
# The common classes of TESS and that text set. Source: TESS and text system,
# docs/reproduced_systems.md.
TESS_EMOTION5 = LabelSet(("happy", "sad", "angry", "fearful", "surprised"))
