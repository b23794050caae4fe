"""Several networks of one recipe, trained apart and averaged into one model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core import registry
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from affectstream.modeling.evaluation.inference import client_config, inference_model
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import MEMBER_PREFIX, NETWORK
from affectstream.modeling.models.stream_model import build_stream_model
from affectstream.modeling.runs.checkpoints import load_model
from affectstream.modeling.runs.run_folder import BEST, LAST, read_run, write_run
from affectstream.modeling.training import train_stream as module
from affectstream.serving.export.model_card import CARD_OF_VERSION, model_card
from tests.support import models

RECIPE = ("--recipe", "resnet-asp-audio", "--epochs", 1, "--batch-size", 7)
SETTINGS = models.settings("width=4", "cached_augmentations=1", "transforms=spec_augment")
WORDS = (*RECIPE, *SETTINGS)


def train(out: Path, data: Path, *words: object) -> int:
    return models.run("train", *WORDS, "--data", data, "--out", out, *words)


@pytest.fixture(scope="module")
def seeds(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two single networks that differ in their seed."""
    home = tmp_path_factory.mktemp("seeds")
    runs = [home / f"seed-{seed}" for seed in (2, 3)]
    for seed, run in zip((2, 3), runs, strict=True):
        assert train(run, toy_data, "--seed", seed) == EXIT_OK
    return runs


@pytest.fixture(scope="module")
def averaged(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("averaged") / "run"
    assert train(out, toy_data, "--set", "ensemble_size=2", "--seed", 1) == EXIT_OK
    return out


def given_to(model: keras.Model) -> dict[str, np.ndarray]:
    sound = np.random.default_rng(0).normal(0, 0.1, (3, 40_000)).astype(np.float32)
    return {"audio": sound, "audio_length": np.array([40_000, 30_000, 9_000], np.int32)}


def counted(monkeypatch: pytest.MonkeyPatch, killed_at: int | None = None) -> list[str]:
    """Names of the networks as they are trained from now on."""
    whole = module.train_network
    trained: list[str] = []

    def noted(recipe: Any, folders: Any, options: Any) -> Any:
        trained.append(options.out.name)
        if len(trained) == killed_at:
            raise KeyboardInterrupt
        return whole(recipe, folders, options)

    monkeypatch.setattr(module, "train_network", noted)
    return trained


def logits(run: Path) -> np.ndarray:
    model = load_model(run / BEST)
    return np.asarray(model(given_to(model), training=False)["logits"])


def test_its_logits_are_the_mean_of_those_of_its_members(averaged: Path) -> None:
    members = [logits(averaged / f"{MEMBER_PREFIX}{number}") for number in (0, 1)]
    assert np.abs(members[0] - members[1]).max() > 1e-3  # not one network twice
    np.testing.assert_allclose(logits(averaged), np.mean(members, axis=0), atol=1e-5)
    network = load_model(averaged / BEST).get_layer(NETWORK)
    single = load_model(averaged / f"{MEMBER_PREFIX}0" / BEST).get_layer(NETWORK)
    assert network.count_params() == 2 * single.count_params()
    assert network.output["embedding"].shape[1] == 2 * single.output["embedding"].shape[1]


def test_each_member_is_what_its_seed_alone_gives(averaged: Path, seeds: list[Path]) -> None:
    for number, alone in enumerate(seeds):  # seed 1 of two members: seeds 2 and 3
        member = averaged / f"{MEMBER_PREFIX}{number}"
        assert read_run(member).seed == read_run(alone).seed
        # Adam's first steps enlarge what sums in another order leave.
        assert np.abs(logits(member) - logits(alone)).max() < 0.2
        assert np.abs(logits(member) - logits(seeds[1 - number])).max() > 2


def test_finished_runs_are_taken_and_nothing_is_trained(
    averaged: Path,
    seeds: list[Path],
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a network was trained")

    monkeypatch.setattr(module, "train_network", never)
    words = [word for run in seeds for word in ("--ensemble-run", run)]
    assert train(tmp_path / "run", toy_data, "--set", "ensemble_size=2", *words) == EXIT_OK
    mean = np.mean([logits(run) for run in seeds], axis=0)
    np.testing.assert_allclose(logits(tmp_path / "run"), mean, atol=1e-5)
    assert {path.name for path in (tmp_path / "run").iterdir()}.isdisjoint({f"{MEMBER_PREFIX}0"})


def test_a_killed_training_goes_on_behind_its_last_member(
    averaged: Path, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained = counted(monkeypatch, killed_at=2)
    out = tmp_path / "run"
    words = ("--set", "ensemble_size=2", "--seed", 1)
    assert train(out, toy_data, *words) == 130
    assert not read_run(out).finished and read_run(out / f"{MEMBER_PREFIX}0").finished
    assert train(out, toy_data, *words, "--resume") == EXIT_OK
    assert trained == ["member-0", "member-1", "member-1"]
    members = [logits(out / f"{MEMBER_PREFIX}{number}") for number in (0, 1)]
    np.testing.assert_allclose(logits(out), np.mean(members, axis=0), atol=1e-5)
    assert np.abs(logits(out) - logits(averaged)).max() < 0.5


def test_members_that_do_not_belong_together_are_refused(
    seeds: list[Path], toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: object, code: int = EXIT_FAILURE) -> str:
        capfd.readouterr()
        assert train(tmp_path / "run", toy_data, *words) == code
        assert not (tmp_path / "run").exists()
        return capfd.readouterr().err

    first, second = seeds
    two = ("--set", "ensemble_size=2", "--ensemble-run", first, "--ensemble-run")
    assert "goes with --set ensemble_size=N" in refused("--ensemble-run", first, code=EXIT_USAGE)
    assert "--ensemble-run: 1 for ensemble_size=2" in refused(*two[:-1])
    assert "has seed 2 like another" in refused(*two, first)
    assert "another recipe than this model" in refused(*two, second, "--set", "dropout=0.1")
    assert "not a run folder" in refused(*two, tmp_path)
    assert "are trained already" in refused(*two, second, "--init-from", first)
    other = models.write_data(tmp_path / "other", models.records(num_takes=1))
    assert "another data than" in refused(*two, second, "--data", other)
    begun = tmp_path / "begun"
    shutil.copytree(second, begun)
    write_run(begun, replace(read_run(second), leak_allowed=True))
    assert "another training than" in refused(*two, begun)
    write_run(begun, replace(read_run(second), finished=False))
    assert "unfinished run" in refused(*two, begun)
    assert "must be 1 to 20" in refused("--set", "ensemble_size=0")


def test_what_is_damaged_of_it_is_made_anew(
    averaged: Path, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A member's checkpoint is not needed any more; its model is trained again, alone."""
    out = tmp_path / "run"
    shutil.copytree(averaged, out)
    (out / BEST).write_bytes(b"damaged")
    (out / f"{MEMBER_PREFIX}0" / LAST).write_bytes(b"damaged")
    (out / f"{MEMBER_PREFIX}1" / BEST).write_bytes(b"damaged")
    trained = counted(monkeypatch)
    assert train(out, toy_data, "--set", "ensemble_size=2", "--seed", 1, "--resume") == EXIT_OK
    assert trained == [f"{MEMBER_PREFIX}1"]
    assert np.abs(logits(out) - logits(averaged)).max() < 0.5


def test_a_damaged_checkpoint_of_an_unfinished_member_is_begun_anew(
    averaged: Path, toy_data: Path, tmp_path: Path
) -> None:
    """Its model is whole, but there is nothing to go on from."""
    out = tmp_path / "run"
    shutil.copytree(averaged, out)
    member = out / f"{MEMBER_PREFIX}1"
    write_run(member, replace(read_run(member), finished=False))
    (member / LAST).write_bytes(b"damaged")
    assert train(out, toy_data, "--set", "ensemble_size=2", "--seed", 1, "--resume") == EXIT_OK
    assert read_run(member).finished


def test_more_epochs_reach_every_member(toy_data: Path, tmp_path: Path) -> None:
    words = ("--set", "ensemble_size=2", "--set", "schedule=constant")
    assert train(tmp_path / "run", toy_data, *words) == EXIT_OK
    assert train(tmp_path / "run", toy_data, *words, "--resume", "--epochs", 2) == EXIT_OK
    for number in (0, 1):
        member = read_run(tmp_path / "run" / f"{MEMBER_PREFIX}{number}")
        assert member.recipe.training.epochs == member.scores["epoch"] == 2


def test_its_outputs_stay_in_single_precision() -> None:
    recipe = registry.load("recipes", "resnet-asp-audio").with_settings(
        ["ensemble_size=2", "width=4"]
    )
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        network = build_stream_model(recipe, 7, InputSpec(16_000)).network
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert {one.dtype for one in network.output.values()} == {"float32"}


def test_each_member_starts_from_its_own(
    averaged: Path, toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--set", "ensemble_size=2", "--init-from", averaged, "--set", "learning_rate=1e-9")
    assert train(tmp_path / "run", toy_data, *words) == EXIT_OK
    assert "tensors copied" in capfd.readouterr().err
    for number in (0, 1):
        ours, theirs = (
            load_model(run / f"{MEMBER_PREFIX}{number}" / BEST).get_layer(NETWORK)
            for run in (tmp_path / "run", averaged)
        )
        for our, their in zip(ours.trainable_variables, theirs.trainable_variables, strict=True):
            np.testing.assert_allclose(our.numpy(), their.numpy(), atol=1e-5)


def test_it_is_evaluated_fused_and_exported_like_any_other(
    averaged: Path, video_run: Path, toy_data: Path, tmp_path: Path
) -> None:
    assert models.run("evaluate", "--run", averaged, "--data", toy_data) == EXIT_OK
    streams = ("--audio-run", averaged, "--video-run", video_run)
    fused = tmp_path / "fused"
    assert models.train(fused, *streams, stream="fusion", data=toy_data) == EXIT_OK
    assert "recipe resnet-asp-audio, 2 networks averaged" in model_card(
        client_config(read_run(fused))
    )
    out = tmp_path / "export"
    assert models.run("export", "--run", averaged, "--out", out) == EXIT_OK
    card = (out / "1" / CARD_OF_VERSION).read_text()
    assert "the average of 2 networks, trained apart with the seeds 2, 3" in card
    model = load_model(averaged / BEST)
    given = given_to(model)
    alone = inference_model(model, read_run(averaged))(given)["probabilities"]
    signature = tf.saved_model.load(str(out / "1")).signatures["serving_default"]
    answered = signature(**{name: tf.constant(value) for name, value in given.items()})
    np.testing.assert_allclose(answered["probabilities"], alone, atol=1e-5)
