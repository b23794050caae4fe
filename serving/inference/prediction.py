"""The prediction for one recording, in the format of `predict --json`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from affectstream.preprocessing.windowing import pool

Probabilities = dict[str, float]


@dataclass(frozen=True)
class WindowPrediction:
    """The prediction for one window.

    Attributes:
      label: the most probable label.
      streams: prediction from each valid stream, as if it were the only one.
      face_coverage: share of the analysed frames that show the followed face; None without video.
      sound_coverage: share of the window with audio, 0 for a silent one; None if the recording or
        the model has no audio.
      speech_share: share of the audio that is speech; None like `sound_coverage`.
      min_speech_share: speech share below which a prediction from audio abstains; None: never.
      known_word_share: share of the words that are in the model's vocabulary; None without words or
        without the vocabulary.
      min_known_word_share: known-word share below which a prediction from text abstains; None:
        never.
      transcript: output of speech-to-text; None if it was not used.
      abstain_below: smallest probability at which `label` is reported; None always reports it.
    """

    start_s: float
    end_s: float
    label: str
    probabilities: Probabilities
    streams: dict[str, Probabilities]
    face_coverage: float | None
    abstain_below: float | None = None
    sound_coverage: float | None = None
    speech_share: float | None = None
    min_speech_share: float | None = None
    transcript: str | None = None
    known_word_share: float | None = None
    min_known_word_share: float | None = None

    @property
    def abstained(self) -> bool:
        """Whether no label is reported: its probability or a share is below its limit."""
        return has_weak_evidence(self)

    def as_json(self) -> dict[str, Any]:
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            **_answer(self),
            "probabilities": rounded(self.probabilities),
            "streams": {name: rounded(p) for name, p in self.streams.items()},
            "face_coverage": _share(self.face_coverage),
            "sound_coverage": _share(self.sound_coverage),
            "speech_share": _share(self.speech_share),
            "known_word_share": _share(self.known_word_share),
            **_transcript(self),
        }


@dataclass(frozen=True)
class Prediction:
    """The prediction for one recording; its probabilities are pooled over the windows.

    Attributes:
      label: the most probable label.
      streams: as for a window, pooled over the windows with the stream.
      face_coverage, sound_coverage, speech_share: as for a window, over the whole recording.
      transcript: transcripts of windows that do not overlap, joined.
      known_word_share: share of the words that are in the model's vocabulary; None without words or
        without the vocabulary.
      warnings: reasons for lower confidence in the prediction.
      faces: with `face="all"`, the prediction from each person's face alone.
      abstain_below: as for a window; see `with_abstention`.
      smooth_s: length of the moving average over windows in seconds; None without smoothing.
    """

    path: str
    duration_s: float
    label: str
    probabilities: Probabilities
    streams: dict[str, Probabilities]
    face_coverage: float | None
    windows: tuple[WindowPrediction, ...]
    warnings: tuple[str, ...] = ()
    faces: tuple[dict[str, Any], ...] = ()
    boxes: tuple[tuple[float, tuple[float, float, float, float]], ...] = field(
        default=(), repr=False
    )
    abstain_below: float | None = None
    smooth_s: float | None = None
    sound_coverage: float | None = None
    speech_share: float | None = None
    min_speech_share: float | None = None
    transcript: str | None = None
    known_word_share: float | None = None
    min_known_word_share: float | None = None

    @property
    def abstained(self) -> bool:
        """Whether no label is reported: its probability or a share is below its limit."""
        return has_weak_evidence(self)

    @property
    def abstained_streams(self) -> tuple[str, ...]:
        """The streams that would abstain if they predicted alone for the whole recording."""
        return tuple(
            name
            for name, p in self.streams.items()
            if is_below(p, self.abstain_below)
            or (name == "audio" and lacks_speech(self))
            or (name == "text" and lacks_known_words(self))
        )

    def as_json(self) -> dict[str, Any]:
        value = {
            "path": self.path,
            "duration_s": round(self.duration_s, 3),
            **_answer(self),
            "probabilities": rounded(self.probabilities),
            "streams": {name: rounded(p) for name, p in self.streams.items()},
            "face_coverage": _share(self.face_coverage),
            "sound_coverage": _share(self.sound_coverage),
            "speech_share": _share(self.speech_share),
            "known_word_share": _share(self.known_word_share),
            **_transcript(self),
            "windows": [window.as_json() for window in self.windows],
            "warnings": list(self.warnings),
        }
        if may_abstain(self):
            value["abstained_streams"] = list(self.abstained_streams)
        if self.smooth_s is not None:
            value["smooth_s"] = self.smooth_s
        return value | ({"faces": list(self.faces)} if self.faces else {})


def with_abstention(
    prediction: Prediction,
    below: float | None = None,
    min_speech_share: float | None = None,
    min_known_word_share: float | None = None,
) -> Prediction:
    """Returns the prediction with abstention applied if the evidence is too weak.

    Applies to the recording, each window, each stream of the whole recording and each face;
    probabilities do not change.

    Args:
      below: in (0, 1): smallest highest probability that is reported.
      min_speech_share: in (0, 1]: smallest share of speech for predictions that use audio, alone or
        with other streams; predictions from faces alone are not affected.
      min_known_word_share: in (0, 1]: the same of known words, for predictions that use text.
    Raises:
      ValueError: a value out of range.
    """
    if below is not None and not 0 < below < 1:
        raise ValueError(f"below must be in (0, 1), received {below}")
    least = {"min_speech_share": min_speech_share, "min_known_word_share": min_known_word_share}
    for name, share in least.items():
        if share is not None and not 0 < share <= 1:
            raise ValueError(f"{name} must be in (0, 1], received {share}")
    limits: dict[str, Any] = {"abstain_below": below, **least}
    faces = []
    for face in prediction.faces:
        abstained = is_below(face["probabilities"], below)
        label = None if abstained else face["label"]
        # Beside the label, as for recordings and windows.
        rest = {key: value for key, value in face.items() if key not in ("face", "label")}
        faces.append({"face": face["face"], "label": label, "abstained": abstained, **rest})
    return replace(
        prediction,
        windows=tuple(replace(window, **limits) for window in prediction.windows),
        faces=tuple(faces),
        **limits,
    )


def may_abstain(of: WindowPrediction | Prediction) -> bool:
    """Whether abstaining was requested."""
    limits = (of.abstain_below, of.min_speech_share, of.min_known_word_share)
    return any(limit is not None for limit in limits)


def has_weak_evidence(of: WindowPrediction | Prediction) -> bool:
    """Whether one of the limits requires abstention."""
    return is_below(of.probabilities, of.abstain_below) or lacks_speech(of) or lacks_known_words(of)


def lacks_speech(of: WindowPrediction | Prediction) -> bool:
    """Whether a prediction uses audio whose speech share is below the limit."""
    if of.min_speech_share is None or of.speech_share is None or "audio" not in of.streams:
        return False
    return of.speech_share < of.min_speech_share


def lacks_known_words(of: WindowPrediction | Prediction) -> bool:
    """Whether a prediction uses text whose share of known words is below the limit."""
    if of.min_known_word_share is None or of.known_word_share is None or "text" not in of.streams:
        return False
    return of.known_word_share < of.min_known_word_share


def abstention_reason(of: WindowPrediction | Prediction) -> str:
    """Text after the word "abstained": the limit that is not reached."""
    if is_below(of.probabilities, of.abstain_below):
        return f"below {of.abstain_below:g}"
    if lacks_speech(of):
        return (
            f"with speech in {percent(of.speech_share or 0)}, less than {of.min_speech_share:.0%}"
        )
    known, least = percent(of.known_word_share or 0), of.min_known_word_share
    return f"with {known} of the words known, less than {least:.0%}"


def is_below(probabilities: Probabilities, threshold: float | None) -> bool:
    """Whether the highest probability is below a threshold, if there is one."""
    return threshold is not None and max(probabilities.values()) < threshold


def _answer(of: WindowPrediction | Prediction) -> dict[str, Any]:
    """The label, and whether it is withheld if abstaining was requested."""
    if not may_abstain(of):
        return {"label": of.label}
    return {"label": None if of.abstained else of.label, "abstained": of.abstained}


def _transcript(of: WindowPrediction | Prediction) -> dict[str, str]:
    return {} if of.transcript is None else {"transcript": of.transcript}


def rounded(probabilities: Probabilities) -> Probabilities:
    return {label: round(p, 6) for label, p in probabilities.items()}


def _share(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def percent(share: float) -> str:
    """A share in whole percent; one above 0 is never said to be 0."""
    text = f"{share:.0%}"
    return "less than 1%" if share > 0 and text == "0%" else text


def low_percent(share: float) -> str:
    """A share in a warning: "only 12%", or "less than 1%"."""
    text = percent(share)
    return text if text.startswith("less") else f"only {text}"


def mean_probabilities(per_window: list[Probabilities]) -> Probabilities:
    """Mean probability of each label."""
    return {label: float(np.mean([p[label] for p in per_window])) for label in per_window[0]}


def pooled(per_window: list[Probabilities], pooling: str) -> Probabilities:
    """Pools the probabilities of windows into those of a recording; see `windowing.pool`."""
    rows = pool([list(one.values()) for one in per_window], pooling)
    return dict(zip(per_window[0], map(float, rows), strict=True))


def top_label(probabilities: Probabilities) -> str:
    """The label with the highest probability."""
    return max(probabilities, key=lambda label: probabilities[label])
