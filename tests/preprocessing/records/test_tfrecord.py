"""TFRecord files written without TensorFlow are what TensorFlow writes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from affectstream.preprocessing.records.tfrecord import frame_record, serialize_example
from tests.conftest import ROOT

NUMBERS = st.integers(-(2**63), 2**63 - 1)
FLOATS = st.floats(width=32, allow_nan=False)
VALUES = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=50),
    st.lists(NUMBERS, max_size=9).map(lambda values: np.array(values, np.int64)),
    st.lists(st.booleans(), max_size=9).map(lambda values: np.array(values, bool)),
    st.lists(FLOATS, max_size=9).map(lambda values: np.array(values, np.float32)),
)


def theirs(features: dict[str, Any]) -> bytes:
    def feature(value: Any) -> Any:
        if isinstance(value, str | bytes):
            raw = value.encode() if isinstance(value, str) else value
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[raw]))
        if value.dtype == np.float32:
            return tf.train.Feature(float_list=tf.train.FloatList(value=value))
        whole = [int(one) for one in value]
        return tf.train.Feature(int64_list=tf.train.Int64List(value=whole))

    made = {name: feature(value) for name, value in features.items()}
    whole = tf.train.Example(features=tf.train.Features(feature=made))
    return bytes(whole.SerializeToString(deterministic=True))


@given(st.dictionaries(st.text(max_size=8), VALUES, max_size=8))
def test_the_same_bytes_as_tensorflow(features: dict[str, Any]) -> None:
    assert serialize_example(features) == theirs(features)


@pytest.mark.parametrize("size", [0, 1, 12, 100_000])
def test_the_same_file_as_tensorflow(size: int, tmp_path: Path) -> None:
    data = [np.random.default_rng(size + n).bytes(size) for n in range(3)]
    path = tmp_path / "theirs.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for one in data:
            writer.write(one)
    ours = b"".join(map(frame_record, data))
    assert path.read_bytes() == ours
    path.write_bytes(ours)
    assert [one.numpy() for one in tf.data.TFRecordDataset(str(path))] == data


def test_writing_needs_no_tensorflow() -> None:
    code = (
        "import sys; from affectstream.preprocessing.records.shard_job import run_shard_jobs;"
        " print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr
