"""The training loop: the same seed the same weights, stopped and resumed as if undisturbed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, UserError
from affectstream.modeling.data import record_dataset
from affectstream.modeling.data.record_dataset import RecordDataset
from affectstream.modeling.recipes.audio import RELU_CNN_AUDIO
from affectstream.modeling.recipes.recipe import Recipe
from affectstream.modeling.recipes.video import ELU_CNN_VIDEO
from affectstream.modeling.runs import checkpoints
from affectstream.modeling.runs.checkpoints import History, load_checkpoint, load_model
from affectstream.modeling.training import trainer as training
from affectstream.modeling.training.trainer import Trainer, fit, make_optimizer
from tests import ROOT
from tests.support.models import error_line, history, run, train, weights
from tests.support.processes import sigint_handler

# All that chance has a hand in: order, augmentation, mixup, dropout; and Adam's own memory.
CHANCE = {
    "video": (
        *("--set", "transforms=flip,brightness,cutout,mixup"),
        *("--batch-size", 6, "--epochs", 4),
    ),
    "audio": (
        *("--set", "transforms=noise,time_shift,spec_augment"),
        *("--batch-size", 7, "--epochs", 2),
    ),
}


def assert_same_run(one: Path, other: Path) -> None:
    """Same history, and the same weights to the last bit, the optimizer's too."""
    assert history(one) == history(other)
    for name in ("best.keras", "last.keras"):
        theirs = weights(other / name)
        for path, value in weights(one / name).items():
            np.testing.assert_array_equal(value, theirs[path], err_msg=f"{name} {path}")
    infos = [json.loads((run_folder / "run.json").read_text()) for run_folder in (one, other)]
    for key in (
        "recipe",
        "scores",
        "calibration",
        "labels",
        "input",
        "train_footprint",
        "finished",
    ):
        assert infos[0][key] == infos[1][key]


def interrupt_after(monkeypatch: pytest.MonkeyPatch, epoch: int, num_batches: int) -> None:
    """Ctrl-C in the middle of an epoch (from 0) of training."""
    whole = RecordDataset.__call__

    def some(self: RecordDataset, which: int = 0) -> Iterator[Any]:
        for number, batch in enumerate(whole(self, which)):
            if which == epoch and number == num_batches:
                raise KeyboardInterrupt
            yield batch

    monkeypatch.setattr(RecordDataset, "__call__", some)


# === Deterministic, interrupted, resumed ===


@pytest.fixture(scope="module")
def undisturbed(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Stream -> a run that nothing ever stopped."""
    runs = {}
    for stream, words in CHANCE.items():
        runs[stream] = tmp_path_factory.mktemp("undisturbed") / stream
        assert train(runs[stream], *words, stream=stream, data=toy_data) == EXIT_OK
    return runs


def test_resumed_after_ctrl_c_within_an_epoch(
    undisturbed: dict[str, Path],
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Also with data too large for memory."""
    monkeypatch.setattr(record_dataset, "RECORD_CACHE_BYTES", 0)
    out = tmp_path / "run"
    with monkeypatch.context() as patch:
        interrupt_after(patch, epoch=1, num_batches=1)
        assert train(out, *CHANCE["audio"], stream="audio", data=toy_data) == EXIT_INTERRUPTED
    assert error_line(capfd.readouterr().err).startswith("Error: interrupted; what was finished")
    assert len(history(out)) == 1
    assert not json.loads((out / "run.json").read_text())["finished"]
    assert train(out, *CHANCE["audio"], "--resume", stream="audio", data=toy_data) == EXIT_OK
    assert_same_run(out, undisturbed["audio"])
    assert not list(out.glob("cache*"))


def test_resumed_after_a_real_ctrl_c(
    undisturbed: dict[str, Path], toy_data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    words = ["--stream", "video", "--data", toy_data, "--out", out, *CHANCE["video"]]
    with sigint_handler(signal.SIG_DFL):
        child = subprocess.Popen(
            [sys.executable, "cli.py", "train", *map(str, words)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    while not (out / "history.csv").is_file():
        assert child.poll() is None, child.communicate()[1]
        time.sleep(0.02)
    child.send_signal(signal.SIGINT)
    _, said = child.communicate()
    assert child.returncode == EXIT_INTERRUPTED, said
    assert error_line(said).startswith("Error: interrupted; what was finished")
    assert 1 <= len(history(out)) < 4
    assert not list(out.glob("*.part-*"))
    assert train(out, *CHANCE["video"], "--resume", data=toy_data) == EXIT_OK
    assert_same_run(out, undisturbed["video"])


def test_resuming_what_is_finished_changes_nothing(
    undisturbed: dict[str, Path], toy_data: Path
) -> None:
    out = undisturbed["video"]
    before = {name: (out / name).read_bytes() for name in ("best.keras", "last.keras")}
    assert train(out, *CHANCE["video"], "--resume", data=toy_data) == EXIT_OK
    assert {name: (out / name).read_bytes() for name in before} == before


def test_a_dense_fusion_is_resumed_too(
    audio_run: Path,
    video_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    outs = [tmp_path / "touched", tmp_path / "untouched"]
    runs = ("--audio-run", audio_run, "--video-run", video_run)
    words = ("train", "--recipe", "dense-fusion", *runs, "--epochs", 2, "--batch-size", 4)
    assert run(*words, "--out", outs[1]) == EXIT_OK
    whole = Trainer.train_epoch

    def interrupted(self: Trainer, batches: Any, epoch: int, num_epochs: int) -> dict[str, Any]:
        if epoch == 1:
            raise KeyboardInterrupt
        return whole(self, batches, epoch, num_epochs)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", interrupted)
        assert run(*words, "--out", outs[0]) == EXIT_INTERRUPTED
    assert run(*words, "--out", outs[0], "--resume") == EXIT_OK
    assert history(outs[0]) == history(outs[1])
    theirs = weights(outs[1] / "best.keras")
    for path, value in weights(outs[0] / "best.keras").items():
        np.testing.assert_array_equal(value, theirs[path])


def test_a_finished_fusion_goes_on_as_a_stream_does(
    audio_run: Path, video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Two epochs and then two more are four, to the last bit."""
    runs = ("--audio-run", audio_run, "--video-run", video_run)
    words = ("train", "--recipe", "dense-fusion", *runs, "--batch-size", 4)
    once, twice = tmp_path / "once", tmp_path / "twice"
    assert run(*words, "--out", once, "--epochs", 4) == EXIT_OK
    assert run(*words, "--out", twice, "--epochs", 2) == EXIT_OK
    assert run(*words, "--out", twice, "--epochs", 4, "--resume") == EXIT_OK
    assert len(history(twice)) == 4
    assert_same_run(once, twice)
    before = (twice / "best.keras").read_bytes()
    assert run(*words, "--out", twice, "--epochs", 4, "--resume") == EXIT_OK
    assert (twice / "best.keras").read_bytes() == before


def test_a_finished_fusion_that_is_stopped_while_it_goes_on_is_unfinished(
    audio_run: Path, video_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = ("--audio-run", audio_run, "--video-run", video_run)
    words = ("train", "--recipe", "dense-fusion", *runs, "--batch-size", 4, "--out", tmp_path / "f")
    assert run(*words, "--epochs", 1) == EXIT_OK

    def never(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", never)
        assert run(*words, "--epochs", 3, "--resume") == EXIT_INTERRUPTED
    assert not json.loads((tmp_path / "f" / "run.json").read_text())["finished"]
    assert run(*words, "--epochs", 3, "--resume") == EXIT_OK
    assert len(history(tmp_path / "f")) == 3


@pytest.mark.parametrize("more", [(), ("--unpaired",)])
def test_a_fusion_without_epochs_says_that_it_has_none(
    more: tuple[str, ...],
    audio_run: Path,
    video_run: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    runs = ("--audio-run", audio_run, "--video-run", video_run)
    words = ("train", "--stream", "fusion", *runs, *more, "--out", tmp_path / "late")
    assert run(*words) == EXIT_OK
    said = capfd.readouterr().err
    assert "late-fusion (audio+video), fusion calibrated_late, calibrated, no epochs" in said
    before = (tmp_path / "late" / "run.json").read_bytes()
    assert run(*words, "--resume", "--epochs", 200) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert "finished, and fusion calibrated_late is calibrated, not trained by epochs" in line
    assert (tmp_path / "late" / "run.json").read_bytes() == before


# === The loop itself ===


class Points:
    """Two clouds in a plane, as the loop reads them."""

    num_batches = 4

    def __init__(self, classes: int = 2) -> None:
        rng = np.random.default_rng(0)
        self.truth = np.arange(32) % classes
        self.points = (np.eye(2)[self.truth % 2] * 2 + rng.normal(0, 0.3, (32, 2))).astype("f")
        self.labels = np.eye(classes, dtype="f")[self.truth]

    def __call__(self, epoch: int = 0) -> tf.data.Dataset:
        order = np.random.default_rng(epoch).permutation(32)
        slices = ({"x": self.points[order]}, self.labels[order], order)
        return tf.data.Dataset.from_tensor_slices(slices).batch(8)


def small(classes: int = 2) -> keras.Model:
    keras.utils.set_random_seed(1)
    x = keras.Input((2,), name="x")
    hidden = keras.layers.Dropout(0.2)(keras.layers.Dense(8, activation="relu")(x))
    return keras.Model({"x": x}, {"logits": keras.layers.Dense(classes)(hidden)})


def recipe(**changes: Any) -> Recipe:
    return ELU_CNN_VIDEO.with_training(**{"epochs": 3, "learning_rate": 0.02, **changes})


def run_fit(
    folder: Path, chosen: Recipe, watched: Any = None, seed: int = 0
) -> tuple[Trainer, History]:
    trainer = Trainer(small(), chosen, np.ones(2, np.float32), 4 * chosen.training.epochs, seed)
    points = Points()
    told: list[dict[str, Any]] = []
    paths = (folder / "last.keras", folder / "best.keras")
    found = fit(trainer, points, watched or points, *paths, History(), told.append)
    assert told == found.rows
    return trainer, found


def test_a_training_learns_what_is_easy(tmp_path: Path) -> None:
    _, found = run_fit(tmp_path, recipe(epochs=12))
    assert found.rows[-1]["val_wa"] == 1.0
    assert found.rows[-1]["loss"] < 0.5 * found.rows[0]["loss"]
    assert [row["epoch"] for row in found.rows] == list(range(1, 13))
    assert all(set(row) == set(training.HISTORY_COLUMNS) for row in found.rows)
    assert all(0 <= row["input_wait_share"] < 1 for row in found.rows)


def test_the_same_seed_the_same_history(tmp_path: Path) -> None:
    def losses(name: str, seed: int) -> list[float]:
        return [row["loss"] for row in run_fit(tmp_path / name, recipe(), seed=seed)[1].rows]

    first = losses("a", 3)
    assert losses("b", 3) == first
    assert losses("c", 4) != first  # dropout is of the seed


class Worsening(Points):
    """Validation that agrees with training first and with its opposite later."""

    def __init__(self, good_epochs: int) -> None:
        super().__init__()
        self._calls = 0
        self._good_epochs = good_epochs

    def __call__(self, epoch: int = 0) -> tf.data.Dataset:
        self._calls += 1
        flip = self._calls > self._good_epochs
        labels = self.labels[:, ::-1] if flip else self.labels
        slices = ({"x": self.points}, labels, np.arange(32))
        return tf.data.Dataset.from_tensor_slices(slices).batch(8)


def test_early_stopping_and_the_best_epoch(tmp_path: Path) -> None:
    chosen = recipe(epochs=30, early_stopping_patience=3, learning_rate=0.05)
    trainer, found = run_fit(tmp_path, chosen, Worsening(4))
    assert found.best_epoch is not None
    assert found.best_epoch <= 4
    assert len(found.rows) == found.best_epoch + 3
    assert found.rows[found.best_epoch - 1]["best"]
    # `best` holds the weights of that epoch, `last` those of the last one.
    points = Points()
    best, _ = load_model(tmp_path / "best.keras"), trainer
    scores = Trainer(best, chosen, np.ones(2, np.float32), 1).evaluate(points)
    expected = found.rows[found.best_epoch - 1]
    assert scores["val_loss"] == pytest.approx(expected["val_loss"], rel=1e-5)
    last, restored = load_checkpoint(tmp_path / "last.keras")
    assert restored.rows == found.rows
    for own, read in zip(trainer.model.weights, last.weights, strict=True):
        np.testing.assert_array_equal(np.asarray(own), np.asarray(read))
    assert int(last.optimizer.iterations) == 4 * len(found.rows)


def test_ties_go_to_the_lower_loss() -> None:
    rows = [
        {"epoch": 1, "val_uar": 0.5, "val_loss": 1.0},
        {"epoch": 2, "val_uar": 0.6, "val_loss": 2.0},
        {"epoch": 3, "val_uar": 0.6, "val_loss": 1.5},
        {"epoch": 4, "val_uar": 0.6, "val_loss": 1.5},
    ]
    assert History(rows).best_epoch == 3
    assert History(rows).epochs_since_best == 1
    assert History().best_epoch is None


def test_class_weights_move_the_answer() -> None:
    """With the same clouds on top of each other the heavier class wins."""

    class Alike(Points):
        def __init__(self) -> None:
            super().__init__()
            self.points = np.zeros((32, 2), np.float32)

    for weights_of, winner in (([1.0, 4.0], 1), ([4.0, 1.0], 0)):
        chosen = recipe(epochs=1, learning_rate=0.05)
        trainer = Trainer(small(), chosen, np.array(weights_of, np.float32), 20)
        for epoch in range(5):
            trainer.train_epoch(Alike(), epoch, 5)
        logits = np.asarray(trainer.model({"x": np.zeros((1, 2), "f")})["logits"])
        assert logits.argmax() == winner


def test_a_loss_that_is_no_number_says_what_to_do() -> None:
    class Broken(Points):
        def __init__(self) -> None:
            super().__init__()
            self.points[3] = np.nan

    trainer = Trainer(small(), recipe(), np.ones(2, np.float32), 12)
    with pytest.raises(UserError, match=r"weights no longer a number .*--set learning_rate=0\.002"):
        trainer.train_epoch(Broken(), 0, 3)


def test_optimizer_and_schedule() -> None:
    constant = make_optimizer(recipe(), 100)
    assert isinstance(constant, keras.optimizers.Adam)
    assert float(constant.learning_rate) == pytest.approx(0.02)
    cosine = make_optimizer(recipe(schedule="cosine", optimizer="adamw", weight_decay=0.1), 100)
    assert isinstance(cosine, keras.optimizers.AdamW)
    rates = [float(cosine._learning_rate(step)) for step in (0, 5, 50, 100)]
    assert rates[0] == 0.0
    assert rates[1] == pytest.approx(0.02)
    assert rates[1] > rates[2] > rates[3]
    assert rates[3] == pytest.approx(0.0, abs=1e-6)
    assert RELU_CNN_AUDIO.training.learning_rate == 1e-3


# === Files ===


@pytest.mark.parametrize(("steps", "reach"), [(1, 0.0), (40, 0.75), (3000, 0.99)])
def test_averaged_weights_forget_where_a_short_training_began(steps: int, reach: float) -> None:
    """A user's few recordings are one batch: forty epochs are forty steps."""
    optimizer = make_optimizer(recipe(ema_momentum=0.99), steps)
    assert optimizer.ema_momentum == pytest.approx(reach)
    assert reach**steps < 1e-4


@pytest.mark.parametrize("steps", [1, 2])
def test_a_schedule_of_few_steps_reaches_its_rate(steps: int) -> None:
    """A handful of clips in one batch, one epoch: a user's first try."""
    cosine = make_optimizer(recipe(schedule="cosine"), steps)
    rates = [float(cosine.learning_rate)]
    for _ in range(steps):
        cosine.iterations.assign_add(1)
        rates.append(float(cosine.learning_rate))
    assert max(rates) == pytest.approx(recipe().training.learning_rate)


def test_a_checkpoint_is_whole_or_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.keras"
    checkpoints.save_model(small(), path, {"rows": []})
    before = path.read_bytes()

    def fails(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(checkpoints.zipfile.ZipFile, "writestr", fails)
        with pytest.raises(UserError, match=r"last\.keras: disk full; free some space"):
            checkpoints.save_model(small(), path, {"rows": []})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["last.keras"]


def test_damaged_and_absent_models_say_so(tmp_path: Path) -> None:
    path = tmp_path / "best.keras"
    with pytest.raises(UserError, match="no such model; train it first"):
        load_model(path)
    checkpoints.save_model(small(), path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(UserError) as raised:
        load_model(path)
    assert str(raised.value).startswith(f"{path}: model cannot be read")
    assert "\n" not in str(raised.value)
