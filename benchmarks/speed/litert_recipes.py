"""Which recipes LiteRT can run with its built-in operations, and how far off their answers are."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import registry
from affectstream.core.errors import UserError
from benchmarks import report

NUM_CLASSES, NUM_FRAMES = 7, 16
RATE_HZ, FACE_PX, QUICK_FACE_PX = 16_000, 112, 32
# Streams of a fusion whose recipe names none.
PARTS = ("relu-cnn-audio", "elu-cnn-video")
TEXTS = ("what a lovely day thank you", "nothing but rain and dark clouds again") * 8
COLUMNS = (
    "recipe",
    "converts",
    "runs",
    "largest difference",
    "MiB",
    "ms a row",
    "s to convert",
    "why not",
)


@dataclass(frozen=True)
class ConversionCandidate:
    """A model to convert.

    Attributes:
      inference: of `inference_model`, without strings.
      config: of the export, or what of it the conversion reads.
    """

    name: str
    inference: Any
    config: dict[str, Any]


# === Untrained ===


def untrained(name: str, face_px: int) -> ConversionCandidate:
    """A recipe with random weights.

    Raises:
      UserError: it cannot be built, or has no form without strings.
    """
    from affectstream.modeling.models.fused_model import fused_model
    from affectstream.modeling.training.fit_fusion import build_fusion
    from affectstream.serving.export.litert_export import numeric_model

    recipe = registry.load("recipes", name)
    if recipe.stream != "fusion":
        model, streams, parts = _stream(recipe, face_px), (recipe.stream,), {}
    else:
        if recipe.fusion == "auto":
            raise UserError("takes one of the other fusions")
        models = {}
        for part in recipe.stream_recipes or PARTS:
            of_part = registry.load("recipes", part)
            models[of_part.stream] = _stream(of_part, face_px)
        dims = {s: m.output["embedding"].shape[-1] for s, m in models.items()}
        fusion = build_fusion(recipe, NUM_CLASSES, dims)
        fusion.name = "fusion"
        model, streams = fused_model(models, fusion), tuple(models)
        parts = {stream: {"temperature": 1.0} for stream in streams}
    info = _info(recipe, streams, parts)
    return ConversionCandidate(
        name, numeric_model(model, info, name), {"preparation": info.preparation}
    )


def _stream(recipe: Any, face_px: int) -> Any:
    from affectstream.modeling.input_spec import InputSpec
    from affectstream.modeling.models.stream_model import build_stream_model

    if recipe.pretrained != "none":
        settings = recipe.encoder_settings | {"weights": "none"}
        recipe = dataclasses.replace(recipe, encoder_settings=settings)
    spec = InputSpec(RATE_HZ, face_px, 1)
    if recipe.features == "action_units":
        spec = InputSpec(action_units=[f"unit{number}" for number in range(35)])
    if recipe.stream == "text":
        spec = InputSpec()
    return build_stream_model(recipe, NUM_CLASSES, spec, TEXTS).whole


def _info(recipe: Any, streams: tuple[str, ...], parts: dict[str, Any]) -> Any:
    from affectstream.modeling.runs.run_folder import DataFootprint, RunInfo

    return RunInfo(
        recipe=recipe,
        streams=streams,
        label_set="basic7",
        labels=tuple(map(str, range(NUM_CLASSES))),
        seed=0,
        input={},
        preparation={"sampling": {"mode": "time", "num_frames": NUM_FRAMES}},
        data=[],
        train_footprint=DataFootprint(),
        validation_footprint=DataFootprint(),
        stream_info=parts,
    )


def trained(run: Path) -> ConversionCandidate:
    """A finished run.

    Raises:
      UserError: it is none, or has no form without strings.
    """
    from affectstream.modeling.evaluation.inference import load_run
    from affectstream.serving.export.litert_export import numeric_model
    from affectstream.serving.export.savedmodel_export import export_config

    model, info = load_run(run)
    name = f"{info.recipe.name} ({run.name})"
    return ConversionCandidate(name, numeric_model(model, info, name), export_config(run, info))


# === Measuring ===


def measure_conversion(tried: ConversionCandidate) -> tuple[str, ...]:
    """One row of the table."""
    from affectstream.serving.export import litert_export
    from affectstream.serving.inference.litert_model import LitertModel

    expected = litert_export.reference_examples(tried.inference, tried.config)
    began_s = time.perf_counter()
    try:
        content, config = litert_export.convert(tried.inference, tried.config, tried.name)
    except litert_export.ConversionError as error:
        return (tried.name, "no", "", "", "", "", "", _short(error, tried.name))
    except UserError as error:
        return (tried.name, "yes", "no", "", "", "", "", _short(error, tried.name))
    took_s = time.perf_counter() - began_s
    model = LitertModel(content, config)
    worst, rows = 0.0, 0
    began_s = time.perf_counter()
    answers = [model(given) for given, _ in expected]
    ran_s = time.perf_counter() - began_s
    for (given, wanted), answer in zip(expected, answers, strict=True):
        rows += len(next(iter(given.values())))
        off = [litert_export.difference(answer[k], np.asarray(v)) for k, v in wanted.items()]
        worst = max(worst, *off)
    sizes = (f"{len(content) / 2**20:.1f}", f"{ran_s / rows * 1000:.0f}", f"{took_s:.0f}")
    return (tried.name, "yes", "yes", f"{worst:.1g}", *sizes, "")


def _short(error: UserError, name: str) -> str:
    return str(error).removeprefix(f"{name}: ").removesuffix("; not exported")


def runs_below(paths: Sequence[Path]) -> list[Path]:
    """The paths, each folder of runs in their place."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(file.parent for file in path.glob("*/run.json"))
        found += [path] if (path / "run.json").is_file() or not inside else inside
    return found


def table_rows(names: Sequence[str], runs: Sequence[Path], face_px: int) -> Iterator[Any]:
    import keras

    makers: list[tuple[str, Any]] = [(n, lambda n=n: untrained(n, face_px)) for n in names]
    makers += [(str(run), lambda run=run: trained(run)) for run in runs]
    for name, make in makers:
        keras.backend.clear_session()
        try:
            row = measure_conversion(make())
        except UserError as error:
            row = (name, "no", "", "", "", "", "", _short(error, name))
        print(*row, sep="\t", file=sys.stderr, flush=True)
        yield row


def main(words: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if words is None else words)
    parser = report.parser(__doc__)
    parser.add_argument("names", nargs="*", help="recipes; all, untrained, if nothing is named")
    parser.add_argument(
        "--runs", type=Path, nargs="*", default=[], help="finished runs, or folders of such"
    )
    chosen = parser.parse_args(words)
    from affectstream.core import tf_setup

    tf_setup.import_tensorflow()
    machine = report.machine()
    names = chosen.names or ([] if chosen.runs else list(registry.names("recipes")))
    face_px = QUICK_FACE_PX if chosen.quick else FACE_PX
    rows = list(table_rows(names, runs_below(chosen.runs), face_px))
    note = (
        "Built-in operations only, one row at a time, against the Keras model on noise of several"
        " lengths with streams missing in turn; the difference is of the largest of all outputs,"
        " a recipe without a run is untrained."
    )
    parts = [note, report.table(COLUMNS, rows)]
    report.publish("LiteRT, recipe by recipe", "litert_recipes", words, machine, parts, chosen)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
