"""What finished runs are and score, as one table: size, speed, UAR with its interval, exported."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from affectstream.core.errors import UserError
from affectstream.modeling.runs.score_store import EVALUATION, read_scores
from benchmarks import report

COLUMNS = (
    "recipe",
    "data",
    "classes",
    "parameters",
    "epochs (best)",
    "s an epoch",
    "UAR [95 %]",
    "WA",
    "weighted F1",
    "exported, read again",
)


def scores(run: Path) -> dict[str, Any]:
    """What `evaluate` wrote of a run on its test part; where there is none, on validation.

    Raises:
      UserError: it was evaluated on neither, or on several data.
    """
    found = read_scores(run, "test") or read_scores(run, "validation")
    if len(found) != 1:
        raise UserError(
            f"{run}: {len(found) or 'no'} scores on a test part; run `evaluate --run {run}` first,"
            f" and leave one in {run / EVALUATION}"
        )
    return next(iter(found.values()))


def exported(exports: Path, run: Path) -> str:
    """Whether a version stands in `exports`; `export` checks each against the model read again."""
    for config in sorted(exports.glob("*/*/assets/config.json")):
        if json.loads(config.read_text()).get("run") == str(run):
            return "yes"
    return "no"


def row(run: Path, exports: Path) -> tuple[str, ...]:
    """One row of the table."""
    from affectstream.modeling.models.stream_model import NETWORK
    from affectstream.modeling.runs import checkpoints, run_folder

    info = run_folder.read_run(run)
    model = checkpoints.load_model(run / run_folder.BEST)
    network = model.get_layer(NETWORK) if len(info.streams) == 1 else model
    with open(run / run_folder.HISTORY, newline="") as file:
        history = list(csv.DictReader(file))
    seconds = report.median([float(epoch["seconds"]) for epoch in history])
    found = scores(run)
    low, high = found["uar_ci95"] or (float("nan"), float("nan"))
    data = "+".join(dict.fromkeys(data["corpus"] for data in info.data))
    best = int(info.scores["epoch"]) if info.scores else 0
    return (
        info.recipe.name,
        f"{data}{' (SYNTHETIC)' if info.synthetic else ''}, {found['split']}",
        str(len(info.labels)),
        f"{network.count_params():,}",
        f"{len(history)} ({best})",
        f"{seconds:.1f}",
        f"{found['uar']:.3f} [{low:.3f}, {high:.3f}]",
        f"{found['wa']:.3f}",
        f"{found['weighted_f1']:.3f}" if "weighted_f1" in found else "-",
        exported(exports, run),
    )


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("--exports", type=Path, required=True, help="folder of exports")
    parser.add_argument("runs", nargs="+", type=Path, help="evaluated runs")
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    rows = [row(run, chosen.exports) for run in chosen.runs]
    text = report.table(COLUMNS, rows)
    report.publish("Recipes", "recipe_table", words, report.machine(), [text], chosen.out)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
