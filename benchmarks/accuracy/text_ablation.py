"""What each part of the recipe of words is worth: one change at a time, on half of `emotion`.

Half of its training part trains, the other half is scored; its other parts are never opened.
Trains what is not trained yet: a minute or two a row. Stopped, it goes on. Writes a section of
docs/results.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.accuracy import half_ablation
from benchmarks.accuracy.half_ablation import BASE, Study, Variant
from benchmarks.robustness import training_runs

STUDY = Study(
    recipe="text-cnn",
    labels="emotion6",
    settings=training_runs.WORDS_LAST,
    data=Path("data/emotion"),
    epochs=training_runs.WORDS_EPOCHS,
    splits=("train",),
    title="Ablation of the recipe of words",
    name="words_ablation",
    examples="messages of the training part of `emotion`",
    closed="its validation and test parts",
)
VARIANTS = {
    BASE: Variant(),
    "without words left out": Variant(("transforms=",)),
    "without dropout of word vectors": Variant(("token_dropout=0",)),
    "half the dropout": Variant(("dropout=0.25",)),
    "without label smoothing": Variant(("label_smoothing=0",)),
    "without averaged weights": Variant(("ema_momentum=0",)),
    "steps of one size": Variant(("schedule=constant",)),
    "words met once, too": Variant(("min_count=1",)),
    "twice as many filters": Variant(("filters=256",)),
    "half the epochs": Variant(share_of_epochs=0.5),
    "twice the epochs": Variant(share_of_epochs=2.0),
    "a transformer instead": Variant(("encoder=text_transformer",)),
    "half the dropout, twice the epochs": Variant(("dropout=0.25",), 2.0),
    "half the dropout, also of word vectors": Variant(("dropout=0.25", "token_dropout=0.2")),
    "half the dropout, twice as many filters": Variant(("dropout=0.25", "filters=256")),
}


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    return half_ablation.measure(STUDY, VARIANTS, words, __doc__)


if __name__ == "__main__":
    raise SystemExit(main())
