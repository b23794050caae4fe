"""Scores of single networks on one split each: the systems, faces of FER2013, English words.

Trains what is not trained yet, evaluates it, and writes a section of docs/results.md for each part
that is named.
"""

from __future__ import annotations

import csv
import dataclasses
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from affectstream.modeling.recipes.recipe import ensemble_label
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from benchmarks import report
from benchmarks.accuracy import scores
from benchmarks.robustness import training_runs
from benchmarks.robustness.training_runs import Part


@dataclass(frozen=True)
class Section:
    """One table.

    Attributes:
      parts: name of the run -> what is trained; the first `--seeds` seeds of each.
      note: what a reader must know.
      remarks: name of a run -> what is to be known of it, where it is in the table.
      by_speaker: the clips that are scored have speakers.
    """

    title: str
    parts: dict[str, Part]
    note: str
    remarks: Mapping[str, str] = field(default_factory=dict)
    by_speaker: bool = False


_FACES, _TEXTS, _VOICES = ("data/fer2013",), ("data/emotion",), ("data/ravdess",)
# Short of their recipes' epochs where two cores take minutes for one.
_SYSTEMS: dict[str, tuple[int | None, tuple[str, ...]]] = {
    "alexnet-audio": (8, ()),
    "resnet34-audio": (3, ()),
    "relu-cnn-audio": (None, ()),
    "conv1d-audio": (None, ()),
    "lstm-audio": (None, ()),
    "resnet-asp-audio": (None, ()),
}
_NARROW = (
    *("weights=none", "num_layers=2", "hidden_dim=128", "num_heads=2", "intermediate_dim=512"),
    "vocabulary_size=6000",
)
_TEXT_NETS: dict[str, tuple[str, int | None, tuple[str, ...]]] = {
    "text-cnn": ("text-cnn", training_runs.WORDS_EPOCHS, training_runs.WORDS_LAST),
    "text-cnn-half-dropout": (
        "text-cnn",
        training_runs.WORDS_EPOCHS,
        training_runs.WORDS_HALF_DROPOUT,
    ),
    "tfidf-text": ("tfidf-text", None, ()),
    "text-transformer": ("text-transformer", 4, ()),
    "bert-text": ("bert-text", 5, (*_NARROW, "learning_rate=5e-4")),
}
SECTIONS = {
    "systems": Section(
        "Sound: RAVDESS, single networks",
        {
            name: Part("audio", name, "ravdess8", _VOICES, epochs, settings)
            for name, (epochs, settings) in _SYSTEMS.items()
        },
        "Trained on actors 1-14, chosen on 15 and 16, tested on 17-20 (`split --test-speakers 17-20"
        " --val-speakers 15,16`): four speakers are few, see the folds above.",
        {
            name: f"`{name}` is stopped long before it converges."
            for name in ("alexnet-audio", "resnet34-audio")
        },
        by_speaker=True,
    ),
    "face": Section(
        "Face: FER2013, one network",
        {
            "resnet-face": Part("video", "resnet-face", "basic7", _FACES),
            "resnet-face-wide": Part(
                "video", "resnet-face", "basic7", _FACES, settings=("width=48",)
            ),
            "resnet-face-rough": Part(
                "video",
                "resnet-face",
                "basic7",
                _FACES,
                training_runs.FACE_EPOCHS,
                training_runs.FACE_ROUGH,
            ),
            "elu-cnn-video": Part(
                "video", "elu-cnn-video", "basic7", _FACES, 8, ("class_weights=false",)
            ),
        },
        "PublicTest is the test part; no label of it was used to choose: `resnet-face`, and the"
        " same 1.5 times as wide (`-rough`: and from reduced and squeezed pictures, too), keep the"
        " last epoch, `elu-cnn-video` the best on a tenth of Training, where the temperatures are"
        " fitted, too. Training pictures that equal one of PublicTest are left out.",
    ),
    "words": Section(
        "Words: the six classes of `emotion`",
        {
            name: Part("text", recipe, "emotion6", _TEXTS, epochs, settings, "validation")
            for name, (recipe, epochs, settings) in _TEXT_NETS.items()
        },
        "Scored on the corpus's validation part, from scratch. `text-cnn` (`-half-dropout`: 0.25 in"
        " place of 0.5) keeps the last epoch, so that only its temperature is fitted on the part"
        " that is scored; the others have their epoch chosen there.",
        {"bert-text": "`bert-text` is narrow: 2 layers of 128, 6,000 pieces."},
    ),
}
COLUMNS = ("network", "parameters", "epochs", "s an epoch", "clips", *scores.COLUMNS)


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__, has_quick=False, section="the name of the table")
    parser.set_defaults(section=None)
    parser.add_argument("table", choices=SECTIONS)
    parser.add_argument("--data", help="prepared data [default: data/ravdess, fer2013, emotion]")
    parser.add_argument("--runs", type=Path, help="[default: runs/TABLE]")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", help="these networks")
    chosen = parser.parse_args(words)
    section = SECTIONS[chosen.table]
    if unknown := sorted(set(chosen.only or ()) - set(section.parts)):
        parser.error(f"--only {' '.join(unknown)}: choose from {', '.join(section.parts)}")
    machine = report.machine()
    runs, rows, facts = chosen.runs or Path("runs") / chosen.table, [], set()
    parts = {n: part for n, part in section.parts.items() if not chosen.only or n in chosen.only}
    with report.user_errors():
        for name, part in parts.items():
            if chosen.data:
                part = dataclasses.replace(part, data=(chosen.data,))
            rows += scored(name, part, runs, chosen.seeds)
            facts.add(_data_told(part))
    unit = "whole speakers" if section.by_speaker else "single clips, for none has a speaker,"
    told = f"{'; '.join(sorted(facts))}; seeds: {chosen.seeds}; 95 %: {unit} resampled."
    remarks = [text for name, text in section.remarks.items() if name in parts]
    note = " ".join((told, section.note, *remarks))
    if chosen.seeds > 1:
        note += scores.AVERAGED
    chosen.section = chosen.section or chosen.table
    blocks = [note, report.table(COLUMNS, rows)]
    report.publish(section.title, "run_scores", words, machine, blocks, chosen)
    return 0


def scored(name: str, part: Part, runs: Path, num_seeds: int) -> list[tuple[str, ...]]:
    """Rows of a network: its seeds, trained where they are not yet, and the average of these."""
    trained = [runs / f"{name}-seed-{seed}" for seed in range(num_seeds)]
    for seed, run in enumerate(trained):
        training_runs.train_part(part, run, seed)
    rows = [_row(f"`{name}`", trained, part.scored_on)]
    if num_seeds > 1:
        run, settings = (
            runs / f"{name}-of-{num_seeds}",
            (*part.settings, f"ensemble_size={num_seeds}"),
        )
        average = dataclasses.replace(part, settings=settings, ensemble_runs=tuple(trained))
        training_runs.train_part(average, run, 0)
        rows.append(_row(f"`{name}`{ensemble_label(num_seeds)}", [run], part.scored_on))
    return rows


def _row(told: str, runs: Sequence[Path], split: str) -> tuple[str, ...]:
    """One row: runs of one network, one per seed, scored on a split; an ensemble shows no epoch."""
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    from affectstream.modeling.crossval.scores import pooled_scores
    from affectstream.modeling.layer_names import NETWORK
    from affectstream.modeling.runs import checkpoints, run_folder
    from affectstream.modeling.runs.score_store import read_scores

    predictions: list[dict[str, str]] = []
    seconds: list[float] = []
    for seed, run in enumerate(runs):
        (scored_in, *_) = read_scores(run, split)
        predictions += scores.read_predictions(scored_in / "predictions.csv", seed)
        with open(run / run_folder.HISTORY, newline="", encoding="utf-8") as file:
            seconds += [float(epoch["seconds"]) for epoch in csv.DictReader(file)]
    info = run_folder.read_run(runs[0])
    network = checkpoints.load_model(runs[0] / run_folder.BEST).get_layer(NETWORK)
    found = pooled_scores(predictions, info.labels)
    epochs = (str(len(seconds) // len(runs)), f"{report.median(seconds):.0f}")
    return (
        told,
        f"{network.count_params():,}",
        *(("", "") if info.ensemble_members else epochs),
        str(found["num_clips"]),
        *scores.cells(found),
    )


def _data_told(part: Part) -> str:
    folder = open_data_folder(Path(part.data[0]))
    count = {split: len(folder.subset(split)) for split in ("train", part.scored_on)}
    return (
        f"{folder.settings['corpus']} ({folder.settings['licence']}): {count['train']:,} train,"
        f" {count[part.scored_on]:,} are scored"
    )


if __name__ == "__main__":
    raise SystemExit(main())
