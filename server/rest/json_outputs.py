"""Outputs in TensorFlow Serving's JSON format.

Source: tensorflow/serving, g3doc/api_rest.md and util/json_tensor.cc.
"""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np

BYTES_SUFFIX = "_bytes"


def write_outputs(outputs: dict[str, np.ndarray], is_row_format: bool) -> bytes:
    """`{"predictions": ...}` by row, or `{"outputs": ...}` by tensor; a single output has no name.

    Args:
      outputs: name -> (rows, ...); strings as object arrays of bytes, encoded as base64 if the name
        ends with `_bytes`.
    """
    values = {name: _listed(name, outputs[name]) for name in sorted(outputs)}
    if not is_row_format:
        outputs_json: Any = values if len(values) > 1 else next(iter(values.values()))
        return _dumped({"outputs": outputs_json})
    if len(values) == 1:
        return _dumped({"predictions": next(iter(values.values()))})
    rows = zip(*values.values(), strict=True)
    return _dumped({"predictions": [dict(zip(values, row, strict=True)) for row in rows]})


def _dumped(value: Any) -> bytes:
    # NaN and Infinity unquoted, as in TensorFlow Serving.
    return json.dumps(value, ensure_ascii=False, allow_nan=True).encode("utf-8", "replace")


def _listed(name: str, array: np.ndarray) -> Any:
    if array.dtype == object:
        as_base64 = name.endswith(BYTES_SUFFIX)
        values: list[Any] = [_string(value, as_base64) for value in array.ravel()]
    elif array.dtype.kind == "f" and array.dtype.itemsize < 8:
        # The shortest decimal that parses to the same float32, without the digits of a double.
        values = list(map(float, array.ravel().astype("U32").tolist()))
    else:
        return array.tolist()
    boxed = np.empty(len(values), object)
    boxed[:] = values
    return boxed.reshape(array.shape).tolist()


def _string(value: Any, as_base64: bool) -> Any:
    if as_base64:
        return {"b64": base64.b64encode(value).decode("ascii")}
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
