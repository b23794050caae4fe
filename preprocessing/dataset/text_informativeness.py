"""Measures whether the text of a corpus predicts its labels."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from affectstream.preprocessing.corpora.text_table import text_comparison_key
from affectstream.preprocessing.dataset.data_folder import ClipRow

MAX_ITEMS = 5000
MIN_ITEMS = 100
MIN_ITEMS_A_CLASS = 5
NUM_FOLDS = 5
MAX_TERMS = 10_000
SEED = 0
# One-sided 97.5 % of a normal distribution.
_Z = 1.96
# Below this adjusted mutual information, sentences and labels count as independent.
_NO_AGREEMENT = 0.1
# A term is a word, a letter of a script without word spaces, or any other sign (emoji, "!").
_UNPARTED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_TERM = rf"[{_UNPARTED}]|[^\W{_UNPARTED}]+|[^\w\s]"

TextItem = tuple[str, str, str]


@dataclass(frozen=True)
class TextInformativeness:
    """Accuracy of a text-only classifier, compared with chance.

    Attributes:
      num_records: records with text.
      num_sentences: distinct texts, ignoring case and white space.
      uar: cross-validated UAR; None if there are too few data to measure it.
      chance: 1 / classes.
      chance_limit: upper bound of chance, see `measure_texts`; `chance` if not measured.
      adjusted_mutual_info: of sentence and label, if accuracy was not measured.
    """

    num_records: int
    num_sentences: int
    uar: float | None
    chance: float
    chance_limit: float
    adjusted_mutual_info: float | None = None

    @property
    def has_repeated_texts(self) -> bool:
        """Whether there are at most half as many sentences as records."""
        return 2 * self.num_sentences <= self.num_records

    @property
    def is_informative(self) -> bool:
        """Whether the text carries information about the label.

        If UAR was measured, it must exceed `chance_limit`. Otherwise the text counts as
        informative, unless sentences repeat and are independent of the label
        (`adjusted_mutual_info` below 0.1).
        """
        if self.uar is not None:
            return self.uar > self.chance_limit
        none = self.adjusted_mutual_info is not None and self.adjusted_mutual_info < _NO_AGREEMENT
        return not (self.has_repeated_texts and none)

    def explain(self) -> str:
        """The result as a readable line."""
        over = f"{_count(self.num_sentences, 'sentence')} over {_count(self.num_records, 'record')}"
        verdict = (
            "they say something about the label"
            if self.is_informative
            else "they say nothing about the label"
        )
        if self.uar is not None:
            return (
                f"{over}; the words alone give UAR {self.uar:.3f} where chance gives"
                f" {self.chance:.3f} (up to {self.chance_limit:.3f}): {verdict}"
            )
        if self.is_informative:
            return f"{over}; too few to measure what the words say about the label"
        return f"{over}; the sentences repeat and none goes with a label: {verdict}"


def measure_rows(
    rows: Iterable[ClipRow], labels: Mapping[str, str] | None = None
) -> TextInformativeness:
    """Measures the text of a corpus from the rows of its records.

    Args:
      rows: records; those without text and augmented copies are ignored.
      labels: record id -> label, for a label set that merges or excludes labels; other records are
        ignored. None uses the canonical labels.
    """
    used = [
        (row, row.label if labels is None else labels[row.id])
        for row in rows
        if row.transcript.strip() and not row.copy_of and (labels is None or row.id in labels)
    ]
    groups = [row.speaker or row.recording for row, _ in used]
    if len(set(groups)) < 2:
        groups = [row.recording for row, _ in used]
    return measure_texts([row.transcript for row, _ in used], [label for _, label in used], groups)


def measure_texts(
    texts: Sequence[str], labels: Sequence[str], groups: Sequence[str]
) -> TextInformativeness:
    """Compares a cross-validated TF-IDF classifier with logistic regression against chance.

    The unit is an item: repetitions of one sentence in one group with one label count once. How
    often a script repeats a sentence carries no information about text (CREMA-D repeats one
    sentence at three intensities, except in neutral), and repetitions are not independent. At most
    5,000 items are used, drawn with a fixed seed. No group is both in training and in testing,
    unless a class would then be missing in training.

    If text and labels are independent, the recall of a class with n items is the share q of items
    predicted as that class, with standard deviation sqrt(q (1 - q) / n), and the shares sum to 1.
    Two items with the same rare words train each other's prediction, so both are right or both are
    wrong; this at most doubles the variance. So `chance_limit` is 1 / classes + 1.96 sqrt(2 sum of
    q (1 - q) / n over the classes) / classes, with the predicted shares or even ones, whichever
    give the larger limit. Chance exceeds it in about one case of 40 or fewer (0 to 3 of 100 tables
    simulated with text drawn independently of the label).

    With fewer than 100 items, fewer than two groups or classes, or a class of fewer than five
    items, nothing is measured; then see `TextInformativeness.is_informative`.

    Args:
      texts: transcripts; blank ones are ignored.
      labels: one per text.
      groups: one per text: speaker or recording, never on both sides.
    Raises:
      ValueError: the three differ in length.
    """
    records = [
        (group, text_comparison_key(text), label)
        for text, label, group in zip(texts, labels, groups, strict=True)
        if text.strip()
    ]
    num_sentences = len({text for _, text, _ in records})
    chance = 1 / max(len({label for _, _, label in records}), 1)
    items = _some(sorted(set(records)))
    if not _enough(items):
        agreement = _agreement(items)
        return TextInformativeness(len(records), num_sentences, None, chance, chance, agreement)
    uar, limit = _score(items)
    return TextInformativeness(len(records), num_sentences, uar, chance, limit)


def _some(items: list[TextItem]) -> list[TextItem]:
    """At most `MAX_ITEMS` items, in order, with a fixed seed."""
    if len(items) <= MAX_ITEMS:
        return items
    chosen = np.random.default_rng(SEED).choice(len(items), MAX_ITEMS, replace=False)
    return [items[i] for i in np.sort(chosen)]


def _enough(items: Sequence[TextItem]) -> bool:
    groups, _, labels = zip(*items, strict=True) if items else ((), (), ())
    counts = [labels.count(label) for label in set(labels)]
    is_large_enough = len(items) >= MIN_ITEMS and len(set(groups)) >= 2
    return is_large_enough and len(counts) >= 2 and min(counts) >= MIN_ITEMS_A_CLASS


def _agreement(items: Sequence[TextItem]) -> float | None:
    if not items:
        return None
    from sklearn.metrics import adjusted_mutual_info_score

    _, texts, labels = zip(*items, strict=True)
    return float(adjusted_mutual_info_score(labels, texts))


def _score(items: Sequence[TextItem]) -> tuple[float, float]:
    """UAR over all folds, and the limit of chance."""
    groups, texts, names = zip(*items, strict=True)
    classes, labels = np.unique(names, return_inverse=True)
    num = len(classes)
    words = np.array(texts, object)
    guessed = np.empty(len(labels), np.int64)
    for train, test in _folds(labels, np.array(groups, object)):
        guessed[test] = _fitted(words[train], labels[train]).predict(words[test])
    sizes = np.bincount(labels, minlength=num)
    recalls = np.bincount(labels[guessed == labels], minlength=num) / sizes
    shares = np.bincount(guessed, minlength=num) / len(labels)
    variances = [np.sum(q * (1 - q) / sizes) for q in (shares, np.full(num, 1 / num))]
    return float(recalls.mean()), 1 / num + _Z * math.sqrt(2 * float(max(variances))) / num


def _fitted(words: np.ndarray, labels: np.ndarray) -> Any:
    """Fitted with a loose tolerance, which takes a tenth of the time and gives the same score."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    terms = TfidfVectorizer(
        lowercase=False,
        token_pattern=_TERM,
        ngram_range=(1, 2),
        max_features=MAX_TERMS,
        sublinear_tf=True,
    )
    model = LogisticRegression(
        class_weight="balanced", solver="sag", tol=1e-2, max_iter=200, random_state=SEED
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return make_pipeline(terms, model).fit(words, labels)


def _folds(labels: np.ndarray, groups: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Training and test items of each fold."""
    from sklearn.model_selection import GroupKFold, StratifiedKFold

    num_groups = len(set(groups))
    if num_groups < len(groups):
        by_group = GroupKFold(min(NUM_FOLDS, num_groups)).split(labels, labels, groups)
        folds = list(by_group)
        if all(len(set(labels[train])) == len(set(labels)) for train, _ in folds):
            return folds
    stratified = StratifiedKFold(NUM_FOLDS, shuffle=True, random_state=SEED)
    return list(stratified.split(labels, labels))


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
