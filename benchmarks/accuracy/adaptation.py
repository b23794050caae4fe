"""What `train --init-from pretrained` gains on a few recordings of one's own.

Each speaker whom the bundled model has not met is a user with a few labelled recordings: the
model as it comes, a network trained on these recordings alone, and the model adapted to them are
asked about the user's other recordings. Writes the section `adaptation` of docs/results.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.preprocessing.clip import SPLITS
from affectstream.preprocessing.dataset.data_folder import (
    ClipRow,
    DataFolder,
    Splits,
    open_data_folder,
)
from affectstream.preprocessing.dataset.leakage import DataFootprint, overlaps
from affectstream.preprocessing.dataset.splits import NOT_DISJOINT, natural_key
from affectstream.preprocessing.labels import LabelSet
from benchmarks import report
from benchmarks.accuracy import scores
from benchmarks.robustness import training_runs

RECIPE, LABELS, STREAM = "resnet-asp-3x80-audio", "basic7", "audio"
# A small rate, so that little is forgotten; as docs/models.md advises.
ADAPTING = ("learning_rate=2e-4", "epochs=40")
NOT_ADAPTED, FROM_SCRATCH, ADAPTED = "as it comes", "trained on these alone", "adapted to these"
COLUMNS = (
    *("recordings a class", "users", "model", "clips asked"),
    *scores.COLUMNS,
    *("to the first", "95 %"),
)


def unseen_speakers(folder: DataFolder, model: Path) -> list[str]:
    """Speakers whom nothing in the model's training or validation knows, in natural order."""
    from affectstream.modeling.runs.run_folder import read_run

    known = set(read_run(model).footprint.speakers)
    found = {row.speaker for row in folder.subset("all") if row.speaker}
    return sorted(found - known, key=natural_key)


def split_recordings(rows: Sequence[ClipRow], labels: LabelSet, count: int) -> Splits:
    """`count` recordings of each class train, one more validates, all others are for testing.

    They are taken evenly over the recordings in the order of their names.
    """
    parts: dict[str, list[str]] = {split: [] for split in SPLITS}
    for number in range(len(labels.labels)):
        own = [row.id for row in rows if labels.index(row.label) == number]
        places = set(np.linspace(0, len(own) - 1, min(count + 1, len(own))).round().astype(int))
        chosen = sorted(places)
        for place, name in enumerate(own):
            split = "test" if place not in places else "train"
            parts["validation" if chosen and place == chosen[-1] else split].append(name)
    given = {split: tuple(names) for split, names in parts.items()}
    return Splits(given, {"kind": "user", "recordings": count}, (NOT_DISJOINT,))


def require_disjoint_recordings(user: DataFolder) -> None:
    """Requires that training and test share no recording and no content.

    Raises:
      UserError: naming it.
    """
    learnt = DataFootprint.of([*user.subset("train"), *user.subset("validation")])
    if found := overlaps(learnt, user.subset("test"), compare_speakers=False):
        raise UserError(f"{user.path}: {'; '.join(found)} would train and be asked about")


def single_user_folder(folder: DataFolder, speaker: str, count: int) -> DataFolder:
    """The folder as if it held one user's recordings only."""
    labels = registry.load("label-sets", LABELS)
    rows = [
        r
        for r in folder.subset("all")
        if r.speaker == speaker and labels.index(r.label) is not None
    ]
    rows.sort(key=lambda row: natural_key(row.id))
    return dataclasses.replace(
        folder, rows=tuple(rows), splits=split_recordings(rows, labels, count)
    )


def predict_user(run: Path, user: DataFolder, out: Path) -> list[dict[str, str]]:
    """Predictions of the user's other recordings, unless the model gave them before.

    The user is known to an adapted model, which is the point; the recordings are not.
    """
    from affectstream.modeling.evaluation.evaluate import PREDICTIONS, evaluate
    from affectstream.modeling.runs.run_folder import BEST

    held = out / PREDICTIONS
    if not held.is_file() or held.stat().st_mtime < (run / BEST).stat().st_mtime:
        evaluate(run, [user], "test", out, allow_leak=True, only_stream=_only(run))
    return scores.read_predictions(out / PREDICTIONS)


def _only(run: Path) -> str:
    """The only stream given to a fusion."""
    from affectstream.modeling.runs.run_folder import read_run

    return STREAM if len(read_run(run).streams) > 1 else ""


def train_on_user(user: DataFolder, run: Path, start: Path | None, settings: Sequence[str]) -> Path:
    """The recipe on the user's recordings, from `start` where there is one."""
    words = [f"labels={LABELS}", *(ADAPTING if start else ()), *settings]
    recipe = registry.load("recipes", RECIPE).with_settings(words)
    # What is asked is kept apart by `require_disjoint_recordings`; the speaker is the same on
    # purpose.
    parts = {**user.splits.parts, "test": ()}
    blind = dataclasses.replace(user, splits=dataclasses.replace(user.splits, parts=parts))
    return training_runs.train_stream_once(recipe, blind, run, init_from=start)


def rows_for_count(
    users: list[tuple[DataFolder, str]],
    model: Path,
    version: str,
    count: int,
    chosen: argparse.Namespace,
) -> list[tuple[str, ...]]:
    """Rows of the three models for a number of recordings per class, corpus by corpus.

    A model that knows the corpus gains less than one that meets its sentences for the first time.

    Args:
      version: of `model`, see `weights_digest`.
    """
    from affectstream.modeling.crossval.scores import pooled_scores, uar_difference

    labels = registry.load("label-sets", LABELS).labels
    found: dict[tuple[str, str], list[dict[str, str]]] = {}
    for folder, speaker in users:
        user = single_user_folder(folder, speaker, count)
        require_disjoint_recordings(user)
        home = chosen.runs / f"{speaker.replace('/', '-')}-{count}-{version}"
        alone = train_on_user(user, home / "alone", None, chosen.settings)
        adapted = train_on_user(user, home / "adapted", model, chosen.settings)
        for name, run in ((NOT_ADAPTED, model), (FROM_SCRATCH, alone), (ADAPTED, adapted)):
            predictions = predict_user(run, user, home / name.replace(" ", "-"))
            found.setdefault((folder.settings["corpus"], name), []).extend(predictions)
    rows: list[tuple[str, ...]] = []
    for (corpus, name), predictions in found.items():
        told = pooled_scores(predictions, labels)
        users_told = f"{told['num_speakers']} of {corpus}"
        above = ("", "")
        if name != NOT_ADAPTED:
            difference, ends = uar_difference(predictions, found[corpus, NOT_ADAPTED], labels)
            above = (f"{difference:+.3f}", scores.interval(ends, "+"))
        cells = (str(count), users_told, name, str(told["num_clips"]), *scores.cells(told))
        rows.append((*cells, *above))
    return rows


def weights_digest(model: Path) -> str:
    """Tells apart the networks that are adapted: a digest of the weights that know the stream."""
    from affectstream.modeling.training.training_steps import source_model

    digest = hashlib.sha256()
    for value in source_model(model, STREAM).get_weights():
        digest.update(np.ascontiguousarray(value).tobytes())
    return digest.hexdigest()[:8]


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.training_parser(__doc__, "runs/adaptation", "adaptation")
    parser.add_argument("--data", type=Path, nargs="+", required=True, help="prepared corpora")
    parser.add_argument("--model", type=Path, help="[default: pretrained/emotion]")
    parser.add_argument("--recordings", type=int, nargs="+", default=[1, 3], help="of each class")
    parser.add_argument("--set", action="append", default=[], dest="settings", metavar="KEY=VALUE")
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.serving.bundled.bundled_models import EMOTION, bundled_model_path

    machine = report.machine()
    model = chosen.model or bundled_model_path(EMOTION)
    with report.user_errors():
        users = [
            (folder, speaker)
            for folder in map(open_data_folder, chosen.data)
            for speaker in unseen_speakers(folder, model)
        ]
        if not users:
            raise UserError(f"{model}: knows every speaker of these data; give others with --data")
        known = (users, model, weights_digest(model))
        rows = [
            line for count in chosen.recordings for line in rows_for_count(*known, count, chosen)
        ]
    note = (
        f"Sound, {LABELS}; each of {', '.join(speaker for _, speaker in users)} is a user whom the"
        " model has not met. So many recordings of each class train, one more fits the temperature,"
        " all others of the same person are asked about. 95 %: whole speakers resampled. Adapting:"
        f" `--init-from pretrained {' '.join(f'--set {word}' for word in ADAPTING)}`."
    )
    parts = [note, report.table(COLUMNS, rows)]
    report.publish("A few recordings of one's own", "adaptation", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
