"""Converts TensorFlow Serving's messages to and from arrays and status objects.

Importing this module imports TensorFlow: the published stubs use its protos.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import json_format
from tensorflow.core.framework import types_pb2
from tensorflow_serving.apis import get_model_metadata_pb2, get_model_status_pb2

from affectstream.server.errors import ServingError, invalid
from affectstream.server.memory_quota import STRING_BYTES

if TYPE_CHECKING:
    from affectstream.server.versions.model_server import Metadata
    from affectstream.server.versions.model_store import VersionStatus
    from affectstream.serving.export.warmup import InputSpec

SIGNATURE_DEF = "signature_def"
# tensorflow/core/framework/tensor.proto: NumPy dtype -> its number, field of plain values.
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
# Codes of TensorFlow's error_codes.proto, used by StatusProto; any other code is UNKNOWN.
UNKNOWN_CODE = 2
# Up to this size one value may fill a whole tensor; the limit keeps tiny messages from growing.
MAX_REPEATED_BYTES = 64 * 1024
# Far more than the rows and frames of a request; lengths are read one by one.
MAX_CONTENT_STRINGS = 2**18
# Largest value of the fifth and last byte of a 32-bit varint length.
LAST_SHIFT = 28

# === Tensors ===


def tensor_to_array(
    name: str, tensor: Any, spec: InputSpec, max_bytes: int, reserve: Callable[[int], None]
) -> np.ndarray:
    """Converts a TensorProto after checking dtype, shape and length; allocates nothing larger.

    `tf.make_ndarray` is not suitable: it fails on strings in `tensor_content`, on integers beyond
    their dtype and on more values than the shape needs, and one value fills a shape of any size.
    `tf.io.parse_tensor` accepts all of these, but copies the message again, outside the quota.

    Args:
      name: name of the input, for messages.
      tensor: received tensor; values are in `tensor_content` or in the dtype's own field. In such a
        field, as in TensorFlow, the last value is repeated if there are fewer values, and none
        means zeros or empty strings, up to 64 KiB. Extra values are ignored, and integers keep the
        lowest bits that fit their dtype.
      max_bytes: limit of the array.
      reserve: called with the bytes of the array before its allocation; may raise.
    Returns:
      array of the spec's dtype, possibly read-only; strings as object array of bytes.
    Raises:
      ServingError: INVALID_ARGUMENT.
    """
    number, field = FIELDS[spec.dtype]
    if tensor.dtype != number:
        received = types_pb2.DataType.values()
        received_name = (
            types_pb2.DataType.Name(tensor.dtype) if tensor.dtype in received else tensor.dtype
        )
        raise invalid(f"{name}: wants {types_pb2.DataType.Name(number)}, received {received_name}")
    shape = _shape(name, tensor, len(spec.shape))
    dtype = np.dtype(spec.dtype)
    num_bytes = math.prod(shape) * dtype.itemsize
    if num_bytes > max_bytes:
        raise invalid(f"{name}: shape {list(shape)} is larger than {max_bytes} bytes, the limit")
    if tensor.tensor_content and num_bytes:
        return _of_content(name, tensor.tensor_content, shape, dtype, reserve)
    values = getattr(tensor, field)
    if dtype.kind == "O":
        return _strings(name, values, shape, reserve)
    _check_repeated(name, values, shape, dtype.itemsize)
    reserve(num_bytes)
    return _numbers(name, values, shape, dtype)


def _check_repeated(
    name: str, values: Sequence[Any], shape: tuple[int, ...], num_bytes: int
) -> None:
    """Rejects a tensor that repeats its last value beyond the limit; `num_bytes` per value."""
    num_values = math.prod(shape)
    if len(values) < num_values and num_values * num_bytes > MAX_REPEATED_BYTES:
        raise invalid(
            f"{name}: shape {list(shape)} needs {num_values} values, holds {len(values)};"
            f" one stands for the rest up to {MAX_REPEATED_BYTES} bytes only"
        )


def _numbers(
    name: str, values: Sequence[Any], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    num_values = math.prod(shape)
    # half_val holds the bits of each number, int_val 32 bits even for smaller integers.
    stored = np.dtype(np.int32) if dtype.kind in "iu" and dtype.itemsize < 4 else dtype
    stored = np.dtype(np.uint16) if dtype == np.float16 else stored
    try:
        count = min(len(values), num_values)
        array = np.fromiter(itertools.islice(values, count), stored, count)
    except (OverflowError, ValueError, TypeError) as error:
        raise invalid(f"{name}: a number does not fit {dtype.name}") from error
    array = array.view(dtype) if dtype == np.float16 else array.astype(dtype, copy=False)
    num_missing = num_values - len(array)
    if num_missing and not len(array):
        array = np.zeros(num_values, dtype)
    elif num_missing:
        array = np.pad(array, (0, num_missing), "edge")
    return array.reshape(shape)


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
    content: bytes,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    reserve: Callable[[int], None],
) -> np.ndarray:
    if dtype.kind == "O":
        num_strings = math.prod(shape)
        if num_strings > MAX_CONTENT_STRINGS:
            raise invalid(f"{name}: more than {MAX_CONTENT_STRINGS} strings in tensor_content")
        reserve(num_strings * STRING_BYTES + len(content))
        return _placed(_strings_of_content(name, content, num_strings), shape)
    wanted = math.prod(shape) * dtype.itemsize
    reserve(wanted)
    if len(content) != wanted:
        raise _unparsed(
            name,
            f"shape {list(shape)} needs {wanted} bytes of tensor_content, holds {len(content)}",
        )
    if dtype.kind != "b":
        return np.frombuffer(content, dtype).reshape(shape)
    stored = np.frombuffer(content, np.uint8)
    if stored.max() > 1:
        raise _unparsed(name, "a boolean is 0 or 1")
    return stored.view(bool).reshape(shape)


def _strings_of_content(name: str, content: bytes, num_strings: int) -> list[bytes]:
    """All lengths come first, then all bytes.

    Source: tensorflow, core/platform/tensor_coding.cc, DecodeStringList.
    """
    lengths: list[int] = []
    start = 0
    while len(lengths) < num_strings:
        length = shift = 0
        while True:
            if start == len(content) or shift > LAST_SHIFT:
                raise _unparsed(name, f"no lengths of {num_strings} strings in tensor_content")
            byte = content[start]
            start += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        lengths.append(length & 0xFFFFFFFF)
    if sum(lengths) != len(content) - start:
        raise _unparsed(
            name,
            f"strings of {sum(lengths)} bytes, tensor_content holds {len(content) - start}",
        )
    ends = itertools.accumulate(lengths, initial=start)
    return [content[begin:end] for begin, end in itertools.pairwise(ends)]


def _strings(
    name: str, values: Sequence[bytes], shape: tuple[int, ...], reserve: Callable[[int], None]
) -> np.ndarray:
    num_values = math.prod(shape)
    last = values[min(len(values), num_values) - 1] if values and num_values else b""
    # A long string that is repeated will be copied for each element later.
    _check_repeated(name, values, shape, STRING_BYTES + len(last))
    kept = list(values[:num_values])
    num_missing = num_values - len(kept)
    reserve(num_values * STRING_BYTES + sum(map(len, kept)) + num_missing * len(last))
    return _placed(kept + [last] * num_missing, shape)


def _placed(values: list[bytes], shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array.reshape(shape)


def _unparsed(name: str, why: str) -> ServingError:
    """Error text of tensorflow, cc/saved_model/util.cc, with a reason."""
    return invalid(f"tensor parsing error: {name}: {why}")


# === Status and metadata ===


def model_status(statuses: Sequence[VersionStatus]) -> Any:
    """The response of `ModelService.GetModelStatus`."""
    response = get_model_status_pb2.GetModelStatusResponse()
    states = get_model_status_pb2.ModelVersionStatus.State
    for status in statuses:
        entry = response.model_version_status.add()
        entry.version = status.version
        entry.state = states.Value(status.state)
        codes = entry.status.DESCRIPTOR.fields_by_name["error_code"].enum_type.values_by_name
        entry.status.error_code = (
            codes[status.code].number if status.code in codes else UNKNOWN_CODE
        )
        entry.status.error_message = status.message
    return response


def status_json(statuses: Sequence[VersionStatus]) -> bytes:
    """`{"model_version_status": [...]}`."""
    return _json(model_status(statuses)).encode()


def signature_map(definitions: Mapping[str, Any]) -> Any:
    """All signatures of a version, as packed in `GetModelMetadata`."""
    packed = get_model_metadata_pb2.SignatureDefMap()
    for name, definition in definitions.items():
        packed.signature_def[name].CopyFrom(definition)
    return packed


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
