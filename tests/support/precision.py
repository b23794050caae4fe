"""Half precision on processors that can compute it."""

from __future__ import annotations

import pytest

from affectstream.core import tf_setup

needs_float16_on_cpu = pytest.mark.skipif(
    tf_setup.cpu_aborts_in_float16(),
    reason="TensorFlow ends the process over float16 products on a CPU with AVX512-FP16",
)
