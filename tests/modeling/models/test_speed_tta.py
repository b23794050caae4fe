"""A clip heard at several speeds: the resampling in the graph, and the model that averages."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from scipy.signal import freqz

from affectstream.core import registry
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK
from affectstream.data_augmentation.audio.speed import resample_to_length
from affectstream.modeling.evaluation.evaluate import PREDICTIONS, evaluate
from affectstream.modeling.evaluation.inference import client_config
from affectstream.modeling.features.audio.window import FitWindow
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import MEMBER_PREFIX, NETWORK
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.models.speed_tta import SpeedTTA, polyphase_filters, samples_for_speeds
from affectstream.modeling.models.stream_model import StreamModel, build_stream_model
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.runs.checkpoints import load_model
from affectstream.modeling.runs.run_folder import BEST, read_run
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.serving.export.model_card import model_card
from affectstream.serving.inference.litert_model import LitertModel
from tests import ROOT
from tests.support import models

pytestmark = pytest.mark.slow

RATE_HZ = 16_000
SPEEDS = (0.9, 1.0, 1.12)
RECIPE = ("--recipe", "resnet-asp-audio", "--epochs", 1, "--batch-size", 7)
SETTINGS = ("width=8", "cached_augmentations=1", "transforms=spec_augment")
WORDS = (*RECIPE, *models.settings(*SETTINGS))
HEARD = models.settings("tta_speeds=0.9,1,1.12")


def chirp(num_samples: int, to_hz: float = 5000.0) -> np.ndarray:
    """A tone that rises from 100 Hz, fading in and out."""
    time_s = np.arange(num_samples) / RATE_HZ
    slope = (to_hz - 100) / (num_samples / RATE_HZ)
    tone = np.sin(2 * np.pi * (100 * time_s + slope / 2 * time_s**2))
    return (tone * np.hanning(num_samples)).astype(np.float32)


def heard(sound: np.ndarray, lengths: list[int], num_samples: int) -> tuple[np.ndarray, ...]:
    """Sound of a batch at `SPEEDS`, as the model has it."""
    length = tf.constant(lengths, tf.int32)
    window = FitWindow(samples_for_speeds(SPEEDS, num_samples))(tf.constant(sound), length)
    made, after = SpeedTTA(SPEEDS, num_samples)(window, length)
    return made.numpy(), after.numpy()


# === Resampling ===


@pytest.mark.parametrize("place", range(3))
def test_it_is_what_augmentation_plays(place: int) -> None:
    num_samples, speed = 20_000, SPEEDS[place]
    made, lengths = heard(chirp(num_samples)[None], [num_samples], 24_000)
    played = resample_to_length(chirp(num_samples), speed, round(num_samples / speed))
    assert lengths[place] == played.size
    np.testing.assert_allclose(made[place, : played.size], played, atol=2e-3)
    assert not made[place, played.size + 100 :].any()


def test_a_tone_above_half_the_rate_is_filtered_away() -> None:
    """7.6 kHz at 1.12 times the speed would be 8.5 kHz, heard as 7.5 kHz."""
    time_s = np.arange(20_000) / RATE_HZ
    tone = np.sin(2 * np.pi * 7600 * time_s).astype(np.float32)
    made, _ = heard(tone[None], [20_000], 17_000)
    assert np.abs(made[2, 1000:-1000]).max() < 2e-3


@pytest.mark.parametrize("speed", ["0.5", "0.9", "1.1", "2"])
def test_the_filters_pass_what_is_heard_and_stop_what_is_not(speed: str) -> None:
    """All phases, one behind the other, are the one filter that they were taken from."""
    ratio = Fraction(speed)
    kernels, half = polyphase_filters(ratio)
    phases, step = ratio.denominator, ratio.numerator
    places = (np.arange(len(kernels))[:, None] - half) * phases - np.arange(phases) * step
    whole = np.zeros(int(places.max() - places.min()) + 1)
    whole[places - places.min()] = kernels
    frequency, gain = freqz(whole, worN=1 << 16)
    levels = np.abs(gain) / phases
    nyquist = np.pi / phases * min(1.0, 1 / float(ratio))
    np.testing.assert_allclose(levels[frequency < 0.88 * nyquist], 1, atol=1e-3)
    assert (frequency > 1.02 * nyquist).any()
    assert levels[frequency > 1.02 * nyquist].max() < 10 ** (-70 / 20)


def test_a_clip_alone_is_as_in_a_filled_batch() -> None:
    clip, lengths = chirp(9_000), [9_000, 15_000]
    batch = np.full((2, 15_000), 0.7, np.float32)
    batch[0, :9_000] = clip
    alone, _ = heard(clip[None], [9_000], 12_000)
    among, after = heard(batch, lengths, 12_000)
    np.testing.assert_allclose(alone, among[:3], atol=1e-6)
    assert after.tolist() == [10_000, 9_000, 8_036, 12_000, 12_000, 12_000]


def test_nothing_stays_nothing() -> None:
    made, lengths = heard(np.zeros((1, 0), np.float32), [0], 8_000)
    assert made.shape == (3, 8_000) and not made.any() and lengths.tolist() == [0, 0, 0]


# === Model ===


def built(*settings: str) -> StreamModel:
    recipe = registry.load("recipes", "resnet-asp-audio").with_settings(["width=4", *settings])
    return build_stream_model(recipe, 3, InputSpec(sample_rate_hz=RATE_HZ))


def test_the_model_averages_what_its_network_says_at_each_speed() -> None:
    model = built("tta_speeds=0.9,1,1.12")
    sound, lengths = np.stack([chirp(60_000), chirp(60_000, 900)]), [60_000, 30_000]
    given = {"audio": tf.constant(sound), "audio_length": tf.constant(lengths, tf.int32)}
    whole = model.whole(given, training=False)
    said = []
    for speed in SPEEDS:
        after = [round(length / speed) for length in lengths]
        heard_rows = zip(sound, lengths, after, strict=True)
        rows = [resample_to_length(row[:length], speed, size) for row, length, size in heard_rows]
        padded = np.zeros((2, max(after)), np.float32)
        for row, one in zip(padded, rows, strict=True):
            row[: len(one)] = one
        played = {"audio": tf.constant(padded), "audio_length": tf.constant(after, tf.int32)}
        said.append(model.network(model.front(played), training=False))
    assert np.abs(said[0]["logits"] - said[2]["logits"]).max() > 1e-3
    for name in ("logits", "embedding"):
        mean = np.mean([one[name] for one in said], axis=0)
        np.testing.assert_allclose(whole[name], mean, rtol=2e-3, atol=2e-3)


def test_it_costs_no_parameters() -> None:
    assert built("tta_speeds=0.9,1,1.12").whole.count_params() == built().whole.count_params()


# === Training ===


@pytest.fixture(scope="module")
def single(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("single") / "run"
    assert models.run("train", *WORDS, "--data", toy_data, "--out", out) == EXIT_OK
    return out


@pytest.fixture(scope="module")
def at_speeds(toy_data: Path, single: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network, asked at several speeds."""
    out = tmp_path_factory.mktemp("speeds") / "run"
    words = ("--data", toy_data, "--out", out, "--ensemble-run", single)
    assert models.run("train", *WORDS, *HEARD, *words) == EXIT_OK
    return out


def test_a_trained_network_is_taken_as_it_is(single: Path, at_speeds: Path) -> None:
    assert not (at_speeds / f"{MEMBER_PREFIX}0").exists()  # nothing was trained
    ours = load_model(at_speeds / BEST).get_layer(NETWORK).get_layer(f"{MEMBER_PREFIX}0")
    theirs = load_model(single / BEST).get_layer(NETWORK)
    for a, b in zip(ours.weights, theirs.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    info = read_run(at_speeds)
    assert isinstance(info.recipe, StreamRecipe)
    assert info.recipe.tta_speeds == "0.9,1,1.12"
    assert info.ensemble_members == [{"run": str(single), "seed": 0}]
    alone = read_run(single).scores["val_loss"]
    assert info.scores["val_loss"] != pytest.approx(alone, rel=1e-4)


def test_it_trains_its_network_first(toy_data: Path, single: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    words = ("--data", toy_data, "--out", out)
    assert models.run("train", *WORDS, *HEARD, *words) == EXIT_OK
    own = read_run(out / f"{MEMBER_PREFIX}0")
    assert own.recipe == read_run(single).recipe and own.seed == 0
    first, again = (read_run(run).scores["loss"] for run in (out / f"{MEMBER_PREFIX}0", single))
    assert first == pytest.approx(again, rel=0.02)  # the same start; sums in another order


def test_what_is_fitted_and_scored_is_heard_at_all_speeds(
    toy_data: Path, single: Path, at_speeds: Path, tmp_path: Path
) -> None:
    """Validation's loss in the run is that of the whole model on recordings."""
    losses = []
    for run in (at_speeds, single):
        evaluate(run, [open_data_folder(toy_data)], "validation", tmp_path / run.parent.name)
        with open(tmp_path / run.parent.name / PREDICTIONS, newline="", encoding="utf-8") as file:
            losses.append(np.mean([-np.log(float(r[r["label"]])) for r in csv.DictReader(file)]))
    assert read_run(at_speeds).calibration.temperature == 1
    assert read_run(at_speeds).scores["val_loss"] == pytest.approx(losses[0], abs=1e-4)
    assert abs(losses[0] - losses[1]) > 1e-3


def test_a_run_it_is_made_of_is_never_overwritten(
    toy_data: Path, single: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "run"
    shutil.copytree(single, own)
    for out, option in (
        (own, "--ensemble-run"),
        (tmp_path, "--ensemble-run"),
        (own, "--init-from"),
    ):
        words = ("--data", toy_data, "--out", out, "--overwrite", option, own)
        assert models.run("train", *WORDS, *HEARD, *words) == EXIT_FAILURE
        assert f"{option} {own}: lies in --out {out}" in capsys.readouterr().err
    assert read_run(own) == read_run(single) and (own / BEST).is_file()


@pytest.mark.usefixtures("no_training")
def test_feature_tables_are_refused(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """They hold what was heard once; the answers would be of another model."""
    table, run = tmp_path / "table.csv", tmp_path / "run"
    words = ("--data", toy_data, "--features", "clip_statistics", "--out", table)
    assert models.run("features", *words) == EXIT_OK
    given = ("--recipe", "statistics-resnet1d", "--epochs", 1, *HEARD, "--out", run)
    assert models.run("train", *given, "--data", table) == EXIT_FAILURE
    assert "holds no sound" in capsys.readouterr().err
    assert models.run("train", *given, "--data", toy_data) == EXIT_OK
    asked = ("--run", run, "--data", table, "--split", "validation")
    assert models.run("evaluate", *asked) == EXIT_FAILURE
    assert "holds no sound" in capsys.readouterr().err


def test_the_card_tells_them(at_speeds: Path) -> None:
    card = model_card(client_config(read_run(at_speeds)))
    assert "\n- hears each clip at the speeds 0.9,1,1.12 and averages the answers\n" in card
    assert "networks" not in card.partition("## Use")[0]  # one alone


def test_a_process_that_never_built_one_reads_it(at_speeds: Path) -> None:
    words = (sys.executable, "cli.py", "describe", str(at_speeds))
    told = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=False)
    assert (told.returncode, told.stderr) == (EXIT_OK, "")
    assert "0.9,1,1.12" in told.stdout


def test_exported_it_answers_the_same(at_speeds: Path, tmp_path: Path) -> None:
    saved, lite = tmp_path / "saved", tmp_path / "model.tflite"
    assert models.run("export", "--run", at_speeds, "--out", saved) == EXIT_OK
    words = ("--format", "litert", "--out", lite)
    assert models.run("export", "--run", at_speeds, *words) == EXIT_OK
    sound, lengths = chirp(90_000)[None], np.array([90_000], np.int32)
    inputs = {"audio": sound, "audio_length": lengths}
    (version,) = (path for path in saved.iterdir() if path.is_dir())
    served = tf.saved_model.load(str(version)).signatures["serving_default"]
    right = served(**{name: tf.constant(value) for name, value in inputs.items()})
    small = LitertModel.open(lite)(inputs)
    probabilities = np.asarray(right["probabilities"])
    np.testing.assert_allclose(np.asarray(small["probabilities"]), probabilities, atol=1e-4)
    window = [x for x in all_layers(load_model(at_speeds / BEST)) if isinstance(x, FitWindow)]
    cut = max(layer.window_samples for layer in window)
    assert cut < 90_000  # no sound behind it has an effect
    inputs["audio"] = np.where(np.arange(90_000) < cut, sound, 0.5).astype(np.float32)
    again = served(**{name: tf.constant(value) for name, value in inputs.items()})
    np.testing.assert_allclose(again["probabilities"], probabilities, atol=1e-6)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("tta_speeds=0.9,fast", "tta_speeds=0.9,fast: must be 9 different numbers at most"),
        ("tta_speeds=0.9,0.9", "different numbers"),
        ("tta_speeds=0.333,1", "two decimals"),
        ("tta_speeds=0.1,1", "of 0.5 to 2.0"),
        ("tta_speeds=nan,1", "different numbers"),
        ("tta_speeds=" + ",".join(str(0.5 + n / 10) for n in range(10)), "9 different"),
    ],
)
def test_wrong_speeds_are_refused(
    words: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--data", tmp_path, "--out", tmp_path / "run", "--set", words)
    assert models.run("train", *WORDS, *given) == EXIT_FAILURE
    assert told in capsys.readouterr().err


def test_speeds_are_of_sound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ("--recipe", "text-cnn", "--stream", "text", "--data", tmp_path)
    assert models.run("train", *given, "--set", "tta_speeds=0.9,1") == EXIT_FAILURE
    assert "of audio only" in capsys.readouterr().err


@pytest.mark.usefixtures("no_training")
def test_folds_take_the_networks_of_others(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (*RECIPE, *models.settings(*SETTINGS), "--data", toy_data, "--folds", 3, "--seeds", 1)
    plain, asked = tmp_path / "plain", tmp_path / "asked"
    assert models.run("crossval", *words, "--out", plain) == EXIT_OK
    taken = ("--reuse-ensemble", plain, "--out", asked)
    assert models.run("crossval", *words, *taken) == EXIT_FAILURE
    assert "nothing is averaged" in capsys.readouterr().err
    assert models.run("crossval", *words, *HEARD, *taken) == EXIT_OK
    for fold in ("fold-1-seed-0", "fold-3-seed-0"):
        assert [Path(one["run"]) for one in read_run(asked / fold).ensemble_members] == [
            plain / fold
        ]
        assert not (asked / fold / f"{MEMBER_PREFIX}0").exists()
