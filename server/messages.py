"""TensorFlow Serving's messages to and from what the server works with.

Importing this module imports TensorFlow: the published stubs are made over its protos.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import json_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from server.budget import STRING_BYTES
from server.status import invalid

if TYPE_CHECKING:
    from server.model_server import Metadata
    from server.model_store import VersionStatus
    from serving.warmup import Spec

SIGNATURE_DEF = "signature_def"
# tensorflow/core/framework/tensor.proto: NumPy's dtype -> its number, field of plain values.
FIELDS = {
    "float16": (types_pb2.DT_HALF, "half_val"),
    "float32": (types_pb2.DT_FLOAT, "float_val"),
    "float64": (types_pb2.DT_DOUBLE, "double_val"),
    "int8": (types_pb2.DT_INT8, "int_val"),
    "int16": (types_pb2.DT_INT16, "int_val"),
    "int32": (types_pb2.DT_INT32, "int_val"),
    "int64": (types_pb2.DT_INT64, "int64_val"),
    "uint8": (types_pb2.DT_UINT8, "int_val"),
    "uint16": (types_pb2.DT_UINT16, "int_val"),
    "uint32": (types_pb2.DT_UINT32, "uint32_val"),
    "uint64": (types_pb2.DT_UINT64, "uint64_val"),
    "bool": (types_pb2.DT_BOOL, "bool_val"),
    "object": (types_pb2.DT_STRING, "string_val"),
}
# error_codes.proto of TensorFlow, which StatusProto uses; another code is UNKNOWN.
UNKNOWN_CODE = 2
# One value may stand for all of a tensor up to this size: a few bytes must not become many.
MAX_REPEATED_BYTES = 64 * 1024

# === Tensors ===


def to_array(
    name: str, tensor: Any, spec: Spec, max_bytes: int, reserve: Callable[[int], None]
) -> np.ndarray:
    """A TensorProto as array, once its dtype, shape and length agree; nothing larger is allocated.

    Args:
      name: of the input, for messages.
      tensor: as received; values come as `tensor_content` or in the dtype's own field, where the
        last of fewer numbers stands for the rest, as in TensorFlow, up to 64 KiB.
      max_bytes: of the array.
      reserve: called with the bytes of the array before it is made; may raise.
    Returns:
      array of the spec's dtype, perhaps read-only; strings as object array of bytes.
    Raises:
      ServingError: INVALID_ARGUMENT.
    """
    number, field = FIELDS[spec.dtype]
    if tensor.dtype != number:
        received = types_pb2.DataType.values()
        told = types_pb2.DataType.Name(tensor.dtype) if tensor.dtype in received else tensor.dtype
        raise invalid(f"{name}: wants {types_pb2.DataType.Name(number)}, received {told}")
    shape = _shape(name, tensor, len(spec.shape))
    dtype = np.dtype(spec.dtype)
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes > max_bytes:
        raise invalid(f"{name}: shape {list(shape)} is larger than {max_bytes} bytes, the limit")
    if tensor.tensor_content:
        return _of_content(name, tensor, shape, dtype, reserve)
    values = getattr(tensor, field)
    if dtype.kind == "O":
        return _strings(name, values, shape, reserve)
    _check_number(name, values, shape, num_bytes)
    reserve(num_bytes)
    return _numbers(name, values, shape, dtype)


def _check_number(name: str, values: Sequence[Any], shape: tuple[int, ...], num_bytes: int) -> None:
    num_values = math.prod(shape)
    if len(values) > num_values or (num_values and not values):
        raise invalid(f"{name}: shape {list(shape)} needs {num_values} values, holds {len(values)}")
    if len(values) < num_values and num_bytes > MAX_REPEATED_BYTES:
        raise invalid(
            f"{name}: shape {list(shape)} needs {num_values} values, holds {len(values)};"
            f" one stands for the rest up to {MAX_REPEATED_BYTES} bytes only"
        )


def _numbers(
    name: str, values: Sequence[Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    # half_val holds the bits of each number.
    stored = np.dtype(np.uint16) if dtype == np.float16 else dtype
    try:
        made = np.fromiter(values, stored, len(values)).view(dtype)
    except (OverflowError, ValueError, TypeError) as error:
        raise invalid(f"{name}: a number does not fit {dtype.name}") from error
    num_missing = math.prod(shape) - len(made)
    if num_missing:
        made = np.pad(made, (0, num_missing), "edge")
    return made.reshape(shape)


def _shape(name: str, tensor: Any, rank: int) -> tuple[int, ...]:
    if tensor.tensor_shape.unknown_rank:
        raise invalid(f"{name}: its shape is unknown")
    if len(tensor.tensor_shape.dim) != rank:
        received = len(tensor.tensor_shape.dim)
        raise invalid(f"{name}: wants {rank} dimensions, received {received}")
    shape = tuple(int(dim.size) for dim in tensor.tensor_shape.dim)
    if any(size < 0 for size in shape):
        raise invalid(f"{name}: shape {list(shape)} has a negative size")
    return shape


def _of_content(
    name: str,
    tensor: Any,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    reserve: Callable[[int], None],
) -> np.ndarray:
    if dtype.kind == "O":
        raise invalid(f"{name}: strings are taken in string_val, not in tensor_content")
    wanted = math.prod(shape) * dtype.itemsize
    reserve(wanted)
    content = tensor.tensor_content
    if len(content) != wanted:
        raise invalid(
            f"{name}: shape {list(shape)} needs {wanted} bytes of tensor_content,"
            f" holds {len(content)}"
        )
    if dtype.kind == "b":
        return (np.frombuffer(content, np.uint8) != 0).reshape(shape)
    return np.frombuffer(content, dtype).reshape(shape)


def _strings(
    name: str, values: Sequence[bytes], shape: tuple[int, ...], reserve: Callable[[int], None]
) -> np.ndarray:
    # One long string that stands for many would be copied for each.
    if len(values) != math.prod(shape):
        wanted = math.prod(shape)
        raise invalid(f"{name}: shape {list(shape)} needs {wanted} strings, holds {len(values)}")
    reserve(sum(STRING_BYTES + len(value) for value in values))
    made = np.empty(len(values), object)
    made[:] = values
    return made.reshape(shape)


# === Status and metadata ===


def model_status(statuses: Sequence[VersionStatus]) -> Any:
    """The answer of `ModelService.GetModelStatus`."""
    response = get_model_status_pb2.GetModelStatusResponse()
    states = get_model_status_pb2.ModelVersionStatus.State
    for status in statuses:
        told = response.model_version_status.add()
        told.version = status.version
        told.state = states.Value(status.state)
        codes = told.status.DESCRIPTOR.fields_by_name["error_code"].enum_type.values_by_name
        told.status.error_code = codes[status.code].number if status.code in codes else UNKNOWN_CODE
        told.status.error_message = status.message
    return response


def status_json(statuses: Sequence[VersionStatus]) -> bytes:
    """`{"model_version_status": [...]}`."""
    return _json(model_status(statuses)).encode()


def signature_map(definitions: Mapping[str, Any]) -> Any:
    """All signatures of a version, as `GetModelMetadata` packs them."""
    made = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in definitions.items():
        made.signature_def[name].CopyFrom(definition)
    return made


def metadata_json(name: str, loaded: Metadata) -> bytes:
    """`{"model_spec": ..., "metadata": {"signature_def": ...}}` of one version.

    Source: tensorflow/serving, model_servers/http_rest_api_util.cc, which joins the two parts so.
    """
    spec = get_model_metadata_pb2.GetModelMetadataResponse().model_spec
    spec.name = name
    spec.version.value = loaded.number
    signatures = _json(signature_map(loaded.signature_defs))
    text = f'{{\n"model_spec": {_json(spec)},\n"metadata": {{"signature_def": {signatures}}}\n}}\n'
    return text.encode()


def _json(message: Any) -> str:
    text: str = json_format.MessageToJson(
        message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True
    )
    return text
