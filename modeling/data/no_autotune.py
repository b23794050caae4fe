"""Turns off the tf.data autotuner, which delays the end of an epoch."""

from __future__ import annotations

import tensorflow as tf


def without_autotune(data: tf.data.Dataset) -> tf.data.Dataset:
    """The same dataset with fixed parallelism in every stage.

    The autotuner thread ends with the iterator, which waits for it. In TensorFlow 2.21 the wait
    sometimes lasts until the thread's next turn. Turns come 10 ms x (2^k - 1) after the first one,
    later every minute.
    (`CancellationManager` wakes the thread before it counts as cancelled; a thread that checks in
    between goes back to sleep.) Epochs of 92 s took 142 s because of that.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return data.with_options(options)
