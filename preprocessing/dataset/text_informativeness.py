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
# A term is a word, a letter of a script that parts no words, or any other sign (emoji, "!").
_UNPARTED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_TERM = rf"[{_UNPARTED}]|[^\W{_UNPARTED}]+|[^\w\s]"

TextItem = tuple[str, str, str]


@dataclass(frozen=True)
class TextInformativeness:
    """Accuracy of a text-only classifier, compared with chance.

    Attributes:
      num_records: records with words.
      num_sentences: different texts among them, without regard to case and white space.
      uar: mean recall of the classes, cross-validated; None where there is too little to measure.
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
        """Whether the words say something about the label.

        Measured: they reach more than chance does. Too little to measure: yes, unless the
        sentences repeat and none of them goes with a label (`adjusted_mutual_info` below 0.1).
        """
        if self.uar is not None:
            return self.uar > self.chance_limit
        none = self.adjusted_mutual_info is not None and self.adjusted_mutual_info < _NO_AGREEMENT
        return not (self.has_repeated_texts and none)

    def explain(self) -> str:
        """One line for a person."""
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
      rows: records; those without words and transformed copies take no part.
      labels: record id -> label, where a label set merges or leaves out; other records take no
        part. The canonical labels where left out.
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
    """Cross-validated TF-IDF of words and pairs with a logistic regression, against chance.

    What is measured are items: takes of one sentence in one group with one label count once, since
    how often a script asks for a take says nothing about words (CREMA-D asks for one sentence at
    three intensities, except in neutral), and since takes are not independent of each other. No
    more than 5,000 items, drawn with a fixed seed, are looked at. No group both trains and is
    tested, unless a class would then be missing from what trains.

    Where words and labels are independent, the recall of a class with n items is the share q of
    items for which that class is guessed, give or take sqrt(q (1 - q) / n), and the shares sum to
    1. Two items with the same rare words train for each other, hence are guessed right together or
    wrong together; that at most doubles the variance. So `chance_limit` is
    1 / classes + 1.96 sqrt(2 sum of q (1 - q) / n over the classes) / classes, with the shares as
    guessed or even ones, whichever reach further; chance passes it in about one case of 40 or less
    (0 to 3 of 100 tables simulated with words drawn without regard to the label).

    Fewer than 100 items, fewer than two groups or classes, or a class of fewer than five items is
    too little to measure; then see `TextInformativeness.is_informative`.

    Args:
      texts: as transcribed; blank ones are left out.
      labels: one a text.
      groups: what must not stand on both sides, one a text: speaker, or recording.
    Raises:
      ValueError: the three differ in length.
    """
    told = [
        (group, text_comparison_key(text), label)
        for text, label, group in zip(texts, labels, groups, strict=True)
        if text.strip()
    ]
    num_sentences = len({text for _, text, _ in told})
    chance = 1 / max(len({label for _, _, label in told}), 1)
    items = _some(sorted(set(told)))
    if not _enough(items):
        agreement = _agreement(items)
        return TextInformativeness(len(told), num_sentences, None, chance, chance, agreement)
    uar, limit = _score(items)
    return TextInformativeness(len(told), num_sentences, uar, chance, limit)


def _some(items: list[TextItem]) -> list[TextItem]:
    """At most `MAX_ITEMS` of them, in order, the same every time."""
    if len(items) <= MAX_ITEMS:
        return items
    chosen = np.random.default_rng(SEED).choice(len(items), MAX_ITEMS, replace=False)
    return [items[i] for i in np.sort(chosen)]


def _enough(items: Sequence[TextItem]) -> bool:
    groups, _, labels = zip(*items, strict=True) if items else ((), (), ())
    counts = [labels.count(label) for label in set(labels)]
    many = len(items) >= MIN_ITEMS and len(set(groups)) >= 2
    return many and len(counts) >= 2 and min(counts) >= MIN_ITEMS_A_CLASS


def _agreement(items: Sequence[TextItem]) -> float | None:
    if not items:
        return None
    from sklearn.metrics import adjusted_mutual_info_score

    _, texts, labels = zip(*items, strict=True)
    return float(adjusted_mutual_info_score(labels, texts))


def _score(items: Sequence[TextItem]) -> tuple[float, float]:
    """Mean recall of the classes over all folds, and what chance reaches."""
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
    """Fitted roughly, which takes a tenth of the time and scores the same."""
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
    """Items that train and items that are tested, fold by fold."""
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
