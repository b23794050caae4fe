"""Trains the models that come with the program, and packs them into `pretrained/`."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from affectstream.serving.bundled import bundled_models, packing
from benchmarks import report
from benchmarks.robustness import training_runs
from benchmarks.robustness.training_runs import (
    FACE_EPOCHS,
    FACE_ROUGH,
    WORDS_EPOCHS,
    WORDS_HALF_DROPOUT,
    Part,
)

LIMIT_BYTES = 15_000_000
FUSION = "late-fusion"
MODELS = (bundled_models.EMOTION, bundled_models.TEXT)

# As the recipe has it, and telephones: users' recordings come from anywhere.
_HARDENED = (
    "transforms=speed:probability=0.8,noise:probability=0.5,bandwidth:probability=0.3,time_shift,"
    "spec_augment,mixup:alpha=0.3"
)
DEFAULTS = (
    Part(
        "audio",
        "resnet-asp-3x80-audio",
        "basic7",
        ("data/ravdess", "data/tess"),
        None,
        (_HARDENED,),
    ),
    Part("video", "resnet-face", "basic7", ("data/fer2013",), FACE_EPOCHS, FACE_ROUGH),
    Part("text", "text-cnn", "emotion6", ("data/emotion",), WORDS_EPOCHS, WORDS_HALF_DROPOUT),
)


def fuse(runs: dict[str, Path], out: Path, seed: int) -> None:
    """Fuses the streams without paired data; again if a stream run is newer."""
    newest = max((run / "best.keras").stat().st_mtime for run in runs.values())
    words: list[object] = ["--recipe", FUSION, "--seed", seed, "--out", out]
    there = training_runs.state(out)
    if there == "finished" and (out / "best.keras").stat().st_mtime > newest:
        print(f"{out}: finished already", file=sys.stderr)
        return
    if there != "absent":
        words.append("--overwrite")
    for stream, run in runs.items():
        words += [f"--{stream}-run", run]
    training_runs.run_cli("train", *words)


# === The whole ===


def train_and_pack(
    parts: Sequence[Part],
    models: Sequence[str],
    runs: Path,
    out: Path,
    seed: int,
    pack_command: str,
) -> list[packing.PackResult]:
    """Trains and packs; a finished run is only packed again."""
    trained = {}
    for part in parts:
        if bundled_models.BUNDLED_MODEL_OF[part.stream] in models:
            trained[part.stream] = runs / part.stream
            training_runs.train_part(part, trained[part.stream], seed)
    packed = []
    if bundled_models.EMOTION in models:
        streams = {stream: trained[stream] for stream in ("audio", "video")}
        fuse(streams, runs / "fusion", seed)
        made = packing.pack_run(
            runs / "fusion", out / bundled_models.EMOTION, streams, pack_command, overwrite=True
        )
        packed.append(made)
    if bundled_models.TEXT in models:
        made = packing.pack_run(
            trained["text"], out / bundled_models.TEXT, {}, pack_command, overwrite=True
        )
        packed.append(made)
    return packed


def size_table(packed: Sequence[packing.PackResult], out: Path) -> tuple[str, bool]:
    """Size of each model and of the whole folder, and whether that is within the limit."""
    rows = [
        (
            one.path.name,
            f"{one.num_bytes / 1e6:.2f}",
            f"{one.difference:.2g}",
            bundled_models.run_summary(one.path),
        )
        for one in packed
    ]
    total = packing.folder_size_bytes(out)
    met = total <= LIMIT_BYTES
    verdict = f"limit {LIMIT_BYTES / 1e6:g} MB: {report.verdict(met)}"
    rows.append((f"all of {out.name}/", f"{total / 1e6:.2f}", "", verdict))
    return report.table(("model", "MB", "largest change of a probability", ""), rows), met


def chosen_parts(options: argparse.Namespace) -> list[Part]:
    """The default parts, replaced by the named ones."""
    made = []
    for part in DEFAULTS:
        given = {
            name: getattr(options, f"{part.stream}_{name}")
            for name in ("recipe", "labels", "data", "epochs", "settings")
        }
        values = {name: value for name, value in given.items() if value is not None}
        values |= {name: tuple(values[name]) for name in ("data", "settings") if name in values}
        made.append(Part(**{**vars(part), **values}))
    return made


def _options() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--only", choices=MODELS, help="make one of the two models")
    made.add_argument(
        "--runs", type=Path, default=Path("runs/pretrained"), help="runs of the parts"
    )
    made.add_argument(
        "--out", type=Path, default=bundled_models.BUNDLED_DIR, help="folder of the packed models"
    )
    made.add_argument("--seed", type=int, default=0)
    for part in DEFAULTS:
        name, own = f"--{part.stream}", f"{part.stream}_settings"
        data = " ".join(part.data)
        made.add_argument(f"{name}-recipe", help=f"[default: {part.recipe}]")
        made.add_argument(f"{name}-labels", help=f"[default: {part.labels}]")
        made.add_argument(f"{name}-data", action="append", help=f"repeatable [default: {data}]")
        made.add_argument(f"{name}-epochs", type=int, help=f"[default: {part.epochs or 'recipe'}]")
        made.add_argument(f"{name}-set", action="append", dest=own, metavar="KEY=VALUE")
    return made


def main(words: Sequence[str] | None = None) -> int:
    """Packs the bundled models and prints its table; 1 where it is too large."""
    words = list(sys.argv[1:] if words is None else words)
    options = _options().parse_args(words)
    models = MODELS if options.only is None else (options.only,)
    command = shlex.join(["python", "-m", "benchmarks.accuracy.pretrained", *words])
    machine = report.machine()
    with report.user_errors():
        parts = chosen_parts(options)
        packed = train_and_pack(parts, models, options.runs, options.out, options.seed, command)
    table, met = size_table(packed, options.out)
    report.publish("Weights in the box", "pretrained", words, machine, [table])
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
