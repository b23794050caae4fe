"""Requests over gRPC that several tests send."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2

NAME = "tiny"
TIMEOUT_S = 300


def sound(num_rows: int = 2, num_samples: int = 2000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(num_samples)
    return {
        "audio": rng.uniform(-0.5, 0.5, (num_rows, num_samples)).astype(np.float32),
        "audio_length": np.full(num_rows, num_samples, np.int32),
    }


def request_of(inputs: dict[str, np.ndarray], signature: str = "audio") -> Any:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = NAME
    request.model_spec.signature_name = signature
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def refusal(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as raised:
        call()
    return raised.value.code(), raised.value.details()
