"""What each part of the sound recipe is worth on RAVDESS: one change at a time, the same folds.

Trains what is not trained yet: a quarter of an hour a row with the default 40 epochs on two cores,
an hour where the net is wider. Stopped, it goes on. Writes a section of docs/results.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.commands.options.engine_options import make_engine
from affectstream.core import registry
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from benchmarks import report
from benchmarks.accuracy import scores

RECIPE, LABELS = "resnet-asp-audio", "ravdess8"
BASE = "as it is"
NUM_VALIDATION_SPEAKERS = 2
COLUMNS = (
    "recipe",
    "parameters",
    "UAR",
    "95 %",
    "to the first",
    "95 %",
    "validation",
    "ECE",
)


@dataclass(frozen=True)
class Variant:
    """One change.

    Attributes:
      settings: KEY=VALUE, after those of all.
      is_with_other: the other corpus trains as well.
      share_of_epochs: of those of all.
    """

    settings: tuple[str, ...] = ()
    is_with_other: bool = False
    share_of_epochs: float = 1.0


def _transforms(*, without: str = "", also: str = "") -> str:
    """The recipe's own, but for one, or with another behind them."""
    own = registry.load("recipes", RECIPE).transforms.split(",")
    kept = [one for one in own if not without or not one.startswith(without)]
    return "transforms=" + ",".join([*kept, *([also] if also else [])])


def variants() -> dict[str, Variant]:
    """Name in the table and of the folder -> what is changed."""
    return {
        BASE: Variant(),
        "half the epochs": Variant(share_of_epochs=0.5),
        "without speed": Variant((_transforms(without="speed"),)),
        "without noise": Variant((_transforms(without="noise"),)),
        "without SpecAugment": Variant((_transforms(without="spec_augment"),)),
        "without mixup": Variant((_transforms(without="mixup"),)),
        "one copy of each clip": Variant(("cached_augmentations=1",)),
        "without averaged weights": Variant(("ema_momentum=0",)),
        "batches of 16": Variant(("batch_size=16",)),
        "three spectrograms": Variant(("features=speech_3x80",)),
        "bands joined": Variant(("bands=joined",)),
        "bands joined, more channels": Variant(("bands=joined", "channels=32,48,64,96")),
        "plain mean over time": Variant(("pooling=mean",)),
        "twice as wide": Variant(("width=32",)),
        "with wide speed": Variant(
            (_transforms().replace("speed:", "speed:min_speed=0.8:max_speed=1.25:"),)
        ),
        "with VTLP": Variant((_transforms(also="vtlp"),)),
        "with MixStyle": Variant((_transforms(also="mix_style"),)),
        "with VTLP and MixStyle, twice as wide": Variant(
            (_transforms(also="vtlp,mix_style"), "width=32")
        ),
        "with TESS": Variant(is_with_other=True),
    }


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.crossval_parser(__doc__, "runs/ravdess-ablation", "ablation")
    known = variants()
    parser.add_argument("--data", type=Path, required=True, help="prepared RAVDESS")
    parser.add_argument("--also", type=Path, help="prepared TESS, for the row that has it")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=40, help="of each training")
    parser.add_argument("--variants", nargs="+", choices=list(known)[1:], help="[default: all]")
    chosen = parser.parse_args(words)
    names = [BASE, *(chosen.variants or list(known)[1:])]
    if chosen.also is None:
        if needing := [name for name in chosen.variants or () if known[name].is_with_other]:
            parser.error(f"--variants {needing[0]!r} needs --also")
        names = [name for name in names if not known[name].is_with_other]
    machine = report.machine()
    with report.user_errors():
        done = {name: _crossval(chosen, name, known[name]) for name in names}
    base = done[BASE]
    parts = [_note(chosen, base[1]), report.table(COLUMNS, _rows(done))]
    where = report.destination(chosen)
    report.publish(
        "Ablation of the sound recipe", "ravdess_ablation", words, machine, parts, *where
    )
    return 0


def _crossval(chosen: Any, name: str, variant: Variant) -> tuple[Any, list[dict[str, str]]]:
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.modeling.crossval.config import plan_crossval
    from affectstream.modeling.crossval.run import run_crossval

    epochs = max(1, round(chosen.epochs * variant.share_of_epochs))
    settings = [f"labels={LABELS}", f"epochs={epochs}", *variant.settings]
    recipe = registry.load("recipes", RECIPE).with_settings(settings)
    also = [open_data_folder(chosen.also)] if variant.is_with_other else []
    planned = plan_crossval(
        recipe,
        [],
        open_data_folder(chosen.data),
        chosen.folds,
        chosen.seeds,
        chosen.runs / name.replace(" ", "-"),
        NUM_VALIDATION_SPEAKERS,
        extra_train_data=also,
    )
    engine = make_engine("local", None, chosen.workers)
    return planned, run_crossval(planned, engine=engine)


def _rows(done: dict[str, tuple[Any, list[dict[str, str]]]]) -> list[tuple[str, ...]]:
    from affectstream.modeling.crossval.scores import pooled_scores, uar_difference
    from affectstream.modeling.models.stream_model import NETWORK
    from affectstream.modeling.runs.checkpoints import load_model
    from affectstream.modeling.runs.run_folder import BEST

    base = done[BASE][1]
    rows: list[tuple[str, ...]] = []
    for name, (planned, predictions) in done.items():
        labels = planned.labels.labels
        found = pooled_scores(predictions, labels)
        run = planned.fold_run(planned.folds[0], 0)
        count = load_model(run / BEST).get_layer(NETWORK).count_params()
        mean, told = found["mean"], ("", "")
        if name != BASE:
            difference, ends = uar_difference(predictions, base, labels)
            told = (f"{difference:+.3f}", scores.interval(ends, "+"))
        spread, inner = scores.interval(found["uar_ci95"]), _validation_uar(planned)
        shares = (f"{share:.3f}" for share in (inner, mean["ece"]))
        rows.append((name, f"{count:,}", f"{mean['uar']:.3f}", spread, *told, *shares))
    return rows


def _validation_uar(planned: Any) -> float:
    """Mean over the trainings, each on the inner speakers of its fold."""
    from affectstream.modeling.runs.run_folder import read_run

    pairs = [planned.fold_run(f, seed) for f in planned.folds for seed in range(planned.num_seeds)]
    return float(np.mean([read_run(pair).scores["val_uar"] for pair in pairs]))


def _note(chosen: Any, predictions: Sequence[dict[str, str]]) -> str:
    speakers = len({row["speaker"] for row in predictions})
    return (
        f"`{RECIPE}` with {chosen.epochs} epochs in place of its own, {LABELS}, {speakers}"
        f" speakers, folds: {chosen.folds}, seeds: {chosen.seeds}. Of a difference, both are asked"
        " about the same clips and whole speakers are resampled 2,000 times. The intervals know"
        " nothing of other seeds and are not corrected for the number of rows: one that holds 0"
        " tells nothing, one that just misses it little. `validation`: UAR on the"
        f" {NUM_VALIDATION_SPEAKERS}"
        " inner speakers of each fold, which is what a recipe may be chosen by."
    )


if __name__ == "__main__":
    raise SystemExit(main())
