"""Scores: UAR, WA, macro-F1, ECE, and an interval over speakers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

NUM_BINS = 15
NUM_RESAMPLES = 2000
MIN_SPEAKERS = 3


# Entries of a report that are one number or one interval.
SUMMARY_KEYS = (
    *("uar", "uar_ci95", "uar_ci95_note", "wa", "macro_f1", "weighted_f1", "ece"),
    *("num_clips", "num_speakers", "num_clips_of_unknown_speakers"),
)


def accuracies(truth: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """WA (plain accuracy) and UAR (mean recall over the classes that occur).

    Args:
      truth, predicted: (clips,) int class numbers, at least one.
    """
    recalls = [np.mean(predicted[truth == label] == label) for label in np.unique(truth)]
    return {"wa": float(np.mean(truth == predicted)), "uar": float(np.mean(recalls))}


def expected_calibration_error(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean distance of confidence from accuracy over 15 bins of equal width, weighted by clips.

    Args:
      truth: (clips,) int.
      probabilities: (clips, classes) float.
    Source: Guo et al. 2017, On Calibration of Modern Neural Networks.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    error = 0.0
    for inside in _bins(confidence):
        if inside.any():
            error += inside.mean() * abs(correct[inside].mean() - confidence[inside].mean())
    return float(error)


def reliability(truth: np.ndarray, probabilities: np.ndarray) -> list[tuple[float, float, int]]:
    """(mean confidence, accuracy, clips) of each bin that is not empty."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == truth
    return [
        (float(confidence[inside].mean()), float(correct[inside].mean()), int(inside.sum()))
        for inside in _bins(confidence)
        if inside.any()
    ]


def _bins(confidence: np.ndarray) -> list[np.ndarray]:
    edges = np.linspace(0.0, 1.0, NUM_BINS + 1)
    number = np.clip(np.digitize(confidence, edges[1:-1], right=True), 0, NUM_BINS - 1)
    return [number == index for index in range(NUM_BINS)]


def uar_confidence_interval(
    truth: np.ndarray, predicted: np.ndarray, speakers: Sequence[str], seed: int = 0
) -> list[float] | None:
    """95 % interval of UAR from resampling whole clusters, see `clusters`.

    Returns:
      [low, high], or None with fewer than three clusters, which give no meaningful interval.
    """
    uars = bootstrap_uars(truth, predicted, speakers, seed)
    return None if uars is None else [float(value) for value in np.percentile(uars, [2.5, 97.5])]


def bootstrap_uars(
    truth: np.ndarray, predicted: np.ndarray, speakers: Sequence[str], seed: int = 0
) -> np.ndarray | None:
    """(2000,) UARs of resampled clusters, see `clusters`.

    The same speakers and seed draw the same clusters for any predictions, so two models can be
    compared draw by draw.


    Args:
      truth, predicted: (clips,) int.
      speakers: (clips,) speaker of each clip, or its cluster; "" if unknown, which makes the clip
        its own cluster.
    Returns:
      None with fewer than three clusters.
    """
    groups = np.array(clusters(speakers))
    names = np.unique(groups)
    if len(names) < MIN_SPEAKERS:
        return None
    counts = _recall_counts(truth, predicted, groups, names)
    rng = np.random.default_rng(seed)
    uars = []
    for _ in range(NUM_RESAMPLES):
        hits, clips = counts[rng.integers(len(names), size=len(names))].sum(axis=0)
        present = clips > 0
        uars.append(np.mean(hits[present] / clips[present]))
    return np.array(uars)


def clusters(speakers: Sequence[str], recordings: Sequence[str] = ()) -> list[str]:
    """Resampling clusters: all clips of a speaker, or each recording of an unknown speaker.

    Unknown speakers are not one person, so each of their recordings is a cluster.


    Args:
      speakers: (clips,) "" if unknown.
      recordings: (clips,) shared by clips of one recording; empty if each clip is a recording.
    """
    groups = recordings or [str(index) for index in range(len(speakers))]
    return [
        speaker or f"recording {recording}"
        for speaker, recording in zip(speakers, groups, strict=True)
    ]


def interval_note(speakers: Sequence[str], recordings: Sequence[str] = ()) -> str:
    """What the interval was resampled over ("over speakers"), or why there is none.

    Args:
      speakers, recordings: see `clusters`.
    """
    named = clusters(speakers, recordings)
    known_speakers = {speaker for speaker in speakers if speaker}
    unknown = [name for name, speaker in zip(named, speakers, strict=True) if not speaker]
    num_unknown = len({*unknown})
    unit = "clip" if num_unknown == len(unknown) else "recording"
    if len(known_speakers) + num_unknown < MIN_SPEAKERS:
        counts = [_counted(len(known_speakers), "speaker")] if known_speakers else []
        counts += [f"{_counted(num_unknown, unit)} of unknown speakers"] if unknown else []
        return f"no interval: {' and '.join(counts)}, at least {MIN_SPEAKERS} are needed"
    if not known_speakers:
        return f"over {unit}s"
    return f"over speakers, and {unit}s of unknown speakers" if unknown else "over speakers"


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _recall_counts(
    truth: np.ndarray, predicted: np.ndarray, groups: np.ndarray, names: np.ndarray
) -> np.ndarray:
    """(groups, 2, classes): correct clips, and clips, of each class in each group."""
    num_classes = int(max(truth.max(), predicted.max())) + 1
    counts = np.zeros((len(names), 2, num_classes))
    group = np.searchsorted(names, groups)
    hit = truth == predicted
    for row, label, right in zip(group, truth, hit, strict=True):
        counts[row, 1, label] += 1
        counts[row, 0, label] += right
    return counts


def report(
    truth: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    speakers: Sequence[str],
    recordings: Sequence[str] = (),
) -> dict[str, Any]:
    """All scores of `metrics.json` that derive from predictions.

    Args:
      truth: (clips,) int.
      probabilities: (clips, classes) float.
      labels: classes in output order.
      speakers: speaker of each clip, "" if unknown.
      recordings: see `clusters`.
    """
    predicted = probabilities.argmax(axis=1)
    every = range(len(labels))
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=list(every), zero_division=0
    )
    present = support > 0
    scores = accuracies(truth, predicted)
    return {
        "uar": scores["uar"],
        "wa": scores["wa"],
        "macro_f1": float(np.mean(f1[present])),
        "weighted_f1": float(np.average(f1, weights=support)),
        "ece": expected_calibration_error(truth, probabilities),
        "uar_ci95": uar_confidence_interval(truth, predicted, clusters(speakers, recordings)),
        "uar_ci95_note": interval_note(speakers, recordings),
        "num_clips": len(truth),
        "num_speakers": len({speaker for speaker in speakers if speaker}) or None,
        "num_clips_of_unknown_speakers": sum(not speaker for speaker in speakers),
        "per_class": {
            label: {
                "recall": float(recall[i]) if present[i] else None,
                "precision": float(precision[i]),
                "f1": float(f1[i]),
                "num_clips": int(support[i]),
            }
            for i, label in enumerate(labels)
        },
        "per_speaker": _per_speaker(truth, predicted, np.array(speakers)),
        "confusion_matrix": confusion_matrix(truth, predicted, labels=list(every)).tolist(),
        "labels": list(labels),
    }


def _per_speaker(
    truth: np.ndarray, predicted: np.ndarray, speakers: np.ndarray
) -> dict[str, dict[str, Any]]:
    scores = {}
    for speaker in sorted({str(speaker) for speaker in speakers if speaker}):
        of_speaker = speakers == speaker
        scores[speaker] = {
            **accuracies(truth[of_speaker], predicted[of_speaker]),
            "num_clips": int(of_speaker.sum()),
        }
    return scores
