"""Distributed training: splits each batch over the replicas and combines their gradients.

The batch size is the recipe's, divided over all replicas. Every worker reads and transforms the
whole batch, so that random numbers equal those of training on one device. Source: TensorFlow's
guide to distributed training with custom loops; Keras's own `fit` does not run over several workers
(keras issue 20585).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from affectstream.core import progress, storage_paths
from affectstream.core.errors import UserError
from affectstream.modeling.layer_tree import all_layers
from affectstream.modeling.runs import run_folder

STRATEGIES = ("mirrored", "multi-worker")
TF_CONFIG_VARIABLE = "TF_CONFIG"


@dataclass(frozen=True)
class Worker:
    """One worker process of a distributed training.

    Attributes:
      rank: worker 0 writes the run.
    """

    rank: int = 0

    @contextlib.contextmanager
    def private_run_folder(self, out: Path, resume: bool) -> Iterator[Path]:
        """Run folder of this process: `out` for worker 0, a temporary folder for others.

        All workers continue from the same checkpoint, so each must be able to read `out`.
        """
        if self.rank == 0:
            yield out
            return
        with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
            own = Path(folder) / "run"
            if resume and run_folder.is_run(out):
                with storage_paths.local_copy(out) as there:
                    shutil.copytree(there, own)
            yield own


@contextlib.contextmanager
def distribution_scope(kind: str | None) -> Iterator[Worker]:
    """Context manager: models within it are built and trained on all devices.

    Several workers must enter it before any other TensorFlow operation.

    Args:
      kind: one of `STRATEGIES`; None uses one device.
    Raises:
      UserError: no GPU, or a missing or wrong `TF_CONFIG`; inside the context, another worker was
        lost.
    """
    if kind is None:
        yield Worker()
        return
    if kind == "mirrored":
        with mirrored_scope([device.name for device in tf.config.list_logical_devices("GPU")]):
            yield Worker()
        return
    rank, num_workers = _task()
    strategy = tf.distribute.MultiWorkerMirroredStrategy()
    if rank:
        progress.disable()
    progress.print_message(
        f"worker {rank} of {num_workers}, {strategy.num_replicas_in_sync} replicas in all"
    )
    with strategy.scope(), _told_of_losses():
        yield Worker(rank)
        _wait_for_all(strategy)


@contextlib.contextmanager
def mirrored_scope(devices: list[str]) -> Iterator[None]:
    """Context manager that trains on several devices of this machine.

    Raises:
      UserError: the machine has no such devices.
    """
    if not devices:
        raise UserError(
            "--distribute mirrored: TensorFlow finds no GPU on this machine; leave it out, or see"
            " `doctor`"
        )
    strategy = tf.distribute.MirroredStrategy(devices)
    progress.print_message(f"{strategy.num_replicas_in_sync} replicas: {', '.join(devices)}")
    with strategy.scope():
        yield


def _task() -> tuple[int, int]:
    """Rank of this worker and number of workers."""
    text = os.environ.get(TF_CONFIG_VARIABLE, "")
    try:
        told = json.loads(text)
        workers, task = told["cluster"]["worker"], told["task"]
        rank = int(task["index"])
        if set(told["cluster"]) != {"worker"} or task["type"] != "worker":
            raise ValueError("a cluster of anything but workers")
        if not 0 <= rank < len(workers):
            raise ValueError(f"worker {rank} of {len(workers)}")
    except (ValueError, KeyError, TypeError) as error:
        told_of = (
            f"{TF_CONFIG_VARIABLE}={text!r} ({type(error).__name__}: {error})"
            if text
            else f"no {TF_CONFIG_VARIABLE}"
        )
        raise UserError(
            f"--distribute multi-worker: {told_of}; set it for each worker, as in"
            """ '{"cluster": {"worker": ["host1:2222", "host2:2222"]}, "task": {"type": "worker","""
            """ "index": 0}}'"""
        ) from error
    return rank, len(workers)


@contextlib.contextmanager
def _told_of_losses() -> Iterator[None]:
    lost = (tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.DeadlineExceededError)
    try:
        yield
    except (*lost, tf.errors.InternalError, tf.errors.CancelledError) as error:
        named = re.search(r"/task:(\d+)", str(error))
        raise UserError(
            f"worker {named[1] if named else 'unknown'} was lost ({type(error).__name__}); start"
            " all workers again with --resume"
        ) from error


def _wait_for_all(strategy: tf.distribute.Strategy) -> None:
    """Barrier: no worker ends while another one still needs it."""

    @tf.function
    def count() -> Any:
        return strategy.reduce("SUM", strategy.run(lambda: tf.constant(1.0)), axis=None)

    count()


# === Steps ===


class ReplicatedStep:
    """Training step over all replicas of the current strategy; each takes a share of the rows.

    Args:
      step: takes (inputs, labels) of one replica; returns its share of the loss, a sum over its
        rows, and its logits (rows, classes).
    """

    def __init__(self, step: Callable[[Any, Any], tuple[Any, Any]]) -> None:
        self._strategy = tf.distribute.get_strategy()
        self._step = tf.function(self._on_all, reduce_retracing=True)
        self._of_one = step

    def _on_all(self, inputs: Any, labels: Any) -> tuple[Any, Any]:
        loss, logits = self._strategy.run(self._of_one, (inputs, labels))
        return (
            self._strategy.reduce("SUM", loss, axis=None),
            self._strategy.gather(logits, axis=0),
        )

    def __call__(self, inputs: Any, labels: Any) -> tuple[Any, Any]:
        """Returns the loss of the whole batch, and its logits in row order."""
        num_replicas = self._strategy.num_replicas_in_sync
        if num_replicas == 1:
            loss, logits = self._step(inputs, labels)
            return loss, logits
        shares = np.array_split(np.arange(len(labels)), num_replicas)
        if not len(shares[-1]):
            raise UserError(
                f"a batch of {len(labels)} rows for {num_replicas} replicas; choose a --batch-size"
                " whose last batch has a row for each"
            )

        def shared(value: Any) -> Any:
            def own(context: Any) -> Any:
                rows = shares[context.replica_id_in_sync_group]
                return value[int(rows[0]) : int(rows[-1]) + 1]

            return self._strategy.experimental_distribute_values_from_function(own)

        loss, logits = self._step(*tf.nest.map_structure(shared, (inputs, labels)))
        return loss, logits


def all_reduce_sum(value: Any) -> Any:
    """Sums a value over all replicas; call it within a step."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, value)


def replica_loss_scale() -> float:
    """Factor for a loss term that every replica computes: one over the number of replicas."""
    return 1.0 / float(tf.distribute.get_strategy().num_replicas_in_sync)


@contextlib.contextmanager
def synchronized_batch_norm(model: keras.Model) -> Iterator[None]:
    """Context manager: batch normalisation uses statistics of the whole batch, not per replica.

    The stored model does not keep this, because it depends on the training devices.
    """
    norms = [x for x in all_layers(model) if isinstance(x, keras.layers.BatchNormalization)]
    is_divided = tf.distribute.get_strategy().num_replicas_in_sync > 1
    for layer in norms:
        layer.synchronized = is_divided
    try:
        yield
    finally:
        for layer in norms:
            layer.synchronized = False
