"""One training on two devices or by two processes is that of one, and goes on when one is lost."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from tests.conftest import ROOT
from tests.support import models
from tests.support.models import error_line, settings

# Nothing random in the network; with it, the rows of each replica draw alike.
PLAIN = settings("transforms=", "cached_augmentations=0", "dropout=0", "width=4")
RECIPE = ("--recipe", "resnet-asp-audio", "--labels", "basic7", "--batch-size", 7, *PLAIN)
# So many that a worker can be lost between the first and the last.
EPOCHS = 40
OF_WORDS = ("--recipe", "tfidf-text", "--batch-size", 14, "--epochs", EPOCHS, *settings("min_df=1"))
# Sums in another order; Adam divides by what is nearly 0 at first and makes more of it.
LOSS_TOLERANCE = 0.02
# Trains on two logical devices, which stand in for two GPUs.
TWO_DEVICES = """
import sys
import tensorflow as tf
cpu, = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from affectstream import cli
from affectstream.modeling.training import distribution
with distribution.mirrored_scope(["CPU:0", "CPU:1"]):
    sys.exit(cli.main(sys.argv[1:]))
"""


def words(data: Path, out: Path) -> list[str]:
    return [str(word) for word in ("train", *RECIPE, "--epochs", 3, "--data", data, "--out", out)]


@pytest.fixture(scope="module")
def alone(toy_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What one process makes."""
    out = tmp_path_factory.mktemp("alone") / "run"
    assert models.run(*words(toy_data, out)) == EXIT_OK
    return out


def losses(run: Path) -> np.ndarray:
    """(epochs, 2): of training and of validation."""
    return np.array([[float(r["loss"]), float(r["val_loss"])] for r in models.history(run)])


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def start_workers(given: list[str]) -> list[subprocess.Popen[str]]:
    """Two processes that train together over loopback."""
    cluster = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    workers = []
    for rank in range(2):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": rank}})
        workers.append(
            subprocess.Popen(
                [sys.executable, "cli.py", *given, "--distribute", "multi-worker"],
                cwd=ROOT,
                env={**os.environ, "TF_CONFIG": config},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
    return workers


def test_two_devices_train_as_one_does(toy_data: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    child = [sys.executable, "-c", TWO_DEVICES, *words(toy_data, out)]
    subprocess.run(child, cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert np.abs(losses(out) - losses(alone)).max() < LOSS_TOLERANCE


def test_two_workers_of_which_one_is_lost(tmp_path: Path) -> None:
    data = models.write_data(tmp_path / "data", models.records(4, streams=("text",)))
    whole, out = tmp_path / "whole", tmp_path / "run"
    given = ["train", *map(str, OF_WORDS), "--data", str(data)]
    assert models.run(*given, "--out", whole) == EXIT_OK
    given += ["--out", str(out)]
    chief, other = start_workers(given)
    while not (out / "last.keras").is_file() and chief.poll() is None:
        time.sleep(0.05)
    other.send_signal(signal.SIGKILL)
    other.communicate()
    _, told = chief.communicate()
    assert chief.returncode == EXIT_FAILURE, told
    line = error_line(told)
    assert line.startswith("Error: worker 1 was lost (")
    assert line.endswith("; start all workers again with --resume")
    assert 0 < len(models.history(out)) < EPOCHS
    chief, other = start_workers([*given, "--resume"])
    for worker in (chief, other):
        answer, told = worker.communicate()
        assert worker.returncode == EXIT_OK, told
        assert bool(answer) == (worker is chief)  # one of them tells
    assert np.abs(losses(out) - losses(whole)).max() < LOSS_TOLERANCE


def test_no_gpu_is_one_line(
    toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [*words(toy_data, tmp_path / "run"), "--distribute", "mirrored"]
    assert models.run(*given) == EXIT_FAILURE
    assert "TensorFlow finds no GPU on this machine" in error_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("", "no TF_CONFIG"),
        ("{", "JSONDecodeError"),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}', "worker 1 of"),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "anything but workers",
        ),
    ],
)
def test_a_wrong_cluster_is_one_line(
    config: str,
    said: str,
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TF_CONFIG", config)
    given = [*words(toy_data, tmp_path / "run"), "--distribute", "multi-worker"]
    assert models.run(*given) == EXIT_FAILURE
    line = error_line(capsys.readouterr().err)
    assert said in line and "set it for each worker" in line


def test_parts_are_trained_before(tmp_path: Path) -> None:
    given = ("--recipe", "two-stream-sum", "--distribute", "mirrored", "--out", tmp_path / "run")
    assert models.run("train", *given) == EXIT_USAGE
