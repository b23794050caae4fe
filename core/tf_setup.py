"""Suppresses the start-up messages of native libraries, so that our own lines are visible."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def suppress_native_stderr() -> Iterator[None]:
    """Redirects file descriptor 2 to a file, and prints that file only after an error."""
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as said:
        os.dup2(said.fileno(), 2)
        try:
            yield
        except BaseException:
            os.dup2(kept, 2)
            said.seek(0)
            os.write(2, said.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def set_onednn_defaults() -> None:
    """Sets environment defaults for oneDNN; call it before importing TensorFlow."""
    # oneDNN is off by default without AVX-512 VNNI; with it an AVX2 machine trains 1.8 times as
    # fast.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    # With AVX-512, the oneDNN of TensorFlow 2.21 writes beyond its allocation when it trains narrow
    # convolutions (`resnet-asp-audio` at width 4 and 8, an AMD EPYC), and crashes the process.
    os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX2")


def cpu_aborts_in_float16() -> bool:
    """Whether a float16 product crashes the process on this CPU.

    With AVX512-FP16, TensorFlow 2.21 passes such products to oneDNN, which has none for AVX2, the
    instruction set chosen by `set_onednn_defaults`.
    """
    held_to_avx2 = os.environ.get("ONEDNN_MAX_CPU_ISA") == "AVX2"
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return held_to_avx2 and "avx512_fp16" in flags


def import_tensorflow() -> None:
    """Imports TensorFlow without its start-up messages; takes 6 s the first time."""
    if "tensorflow" in sys.modules:
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    set_onednn_defaults()
    with suppress_native_stderr():
        import tensorflow

        tensorflow.config.list_physical_devices()  # prints a message without a GPU
        tensorflow.get_logger().setLevel("ERROR")
