"""Fuses streams that were trained on different recordings, without paired data."""

from __future__ import annotations

import dataclasses

import keras

from affectstream.core.errors import UserError
from affectstream.modeling.models.fused_model import fused_model
from affectstream.modeling.recipes.recipe import FusionRecipe
from affectstream.modeling.runs import checkpoints, run_folder
from affectstream.modeling.runs.run_folder import Calibration, RunInfo
from affectstream.modeling.training.fit_fusion import build_fusion, require_same_epochs
from affectstream.modeling.training.fusion_parts import merged_input_spec, with_stream_info
from affectstream.modeling.training.introduction import (
    format_parameter_counts,
    print_unpaired_summary,
)
from affectstream.modeling.training.training_steps import TrainOptions

UNPAIRED_NOTE = "fused without paired data"


def fuse_unpaired(
    recipe: FusionRecipe,
    infos: dict[str, RunInfo],
    models: dict[str, keras.Model],
    options: TrainOptions,
) -> RunInfo:
    """Writes the run folder of a fusion that treats the streams as independent.

    Args:
      infos, models: run and model of each stream.
    Raises:
      UserError: a fusion with trainable weights, or an occupied `options.out`.
    """
    first = next(iter(infos.values()))
    dims = {s: int(model.output["embedding"].shape[-1]) for s, model in models.items()}
    fusion = build_fusion(recipe, len(first.labels), dims)
    if fusion.trainable_variables:
        raise UserError(
            f"fusion {recipe.fusion!r} learns from recordings that have all streams; name --data"
            " that has, or use late-fusion or two-stream-sum"
        )
    for layer in fusion.layers:
        if hasattr(layer, "assume_independent"):
            layer.assume_independent(
                [info.calibration.temperature for info in infos.values()],
                [info.calibration.log_prior for info in infos.values()],
            )
    info = _info(recipe, infos, options)
    if options.resume:
        require_same_epochs(options.out, recipe)
    run_folder.prepare_run_folder(options.out, info, options.resume, options.overwrite)
    if options.prints_summary:
        parameters = format_parameter_counts(*models.values(), fusion, trained=fusion)
        print_unpaired_summary(recipe, infos, parameters, options.out)
    whole = fused_model(models, fusion)
    checkpoints.save_model(whole, options.out / run_folder.BEST)
    checkpoints.save_model(
        whole, options.out / run_folder.LAST, dataclasses.asdict(checkpoints.History())
    )
    done = dataclasses.replace(info, finished=True)
    run_folder.write_run(options.out, done)
    return done


def _info(recipe: FusionRecipe, infos: dict[str, RunInfo], options: TrainOptions) -> RunInfo:
    first = next(iter(infos.values()))
    info = dataclasses.replace(
        first,
        recipe=recipe,
        streams=tuple(infos),
        seed=options.seed,
        input=merged_input_spec(infos),
        data=[data for each in infos.values() for data in each.data],
        notes=(UNPAIRED_NOTE,),
        scores={},
        calibration=Calibration(1.0, first.calibration.log_prior),
        versions=run_folder.versions(),
        git_revision=run_folder.git_revision(),
        command=run_folder.command_line(),
        finished=False,
    )
    return with_stream_info(info, infos, leaked=False)
