"""Inputs in TensorFlow Serving's JSON format.

Source: tensorflow/serving, g3doc/api_rest.md and util/json_tensor.cc. As there, 0 and 1 are not
booleans, 1.0 is not an integer, an integer that a float cannot represent is rounded, and a pixel
beyond 255 is taken modulo 256. Differences are listed in docs/serving.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from affectstream.server.errors import ServingError, invalid
from affectstream.server.memory_quota import STRING_BYTES
from affectstream.server.rest.base64_text import decode
from affectstream.server.rest.json_size import check_json_size

if TYPE_CHECKING:
    from affectstream.serving.export.warmup import InputSpec

# Deeper than any input; batches of colour video have five dimensions.
MAX_RANK = 8
SHOWN_CHARACTERS = 60
# Kind of a NumPy dtype -> accepted JSON types.
JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}
# These must fit int32 and are then truncated to their own bits, because TensorProto has one field
# for all.
SMALL_WHOLE = {"int32", "int16", "int8", "uint8"}
# Python's error texts -> rapidjson's (error/en.h), which TensorFlow Serving returns.
PARSE_ERRORS = {
    "Extra data": "The document root must not be followed by other values.",
    "Expecting value": "Invalid value.",
    "Expecting property name enclosed in double quotes": "Missing a name for object member.",
    "Expecting ':' delimiter": "Missing a colon after a name of object member.",
}


def _unbounded(num_bytes: int) -> None:
    pass


@dataclass(frozen=True)
class PredictBody:
    """A parsed `:predict` request, not yet converted to tensors.

    Attributes:
      signature: "" means `serving_default`.
      is_row_format: `instances`, one value per row; otherwise `inputs`, one value per tensor.
    """

    signature: str
    is_row_format: bool
    value: Any

    def tensors(
        self, specs: dict[str, InputSpec], reserve: Callable[[int], None] = _unbounded
    ) -> dict[str, np.ndarray]:
        """The inputs of a signature.

        Args:
          reserve: called with the bytes of each array before its allocation; may raise.
        Returns:
          name -> array of the signature's dtype; strings as object arrays of bytes. Ranks, rows and
          fixed sizes are not checked here.
        Raises:
          ServingError: missing, unknown, ragged or of another type; the message names the input.
        """
        columns = (_columns_of_rows if self.is_row_format else _columns)(self.value, specs)
        return {name: _tensor(name, columns[name], specs[name].dtype, reserve) for name in specs}


# === Reading ===


def parse_predict_body(body: bytes) -> PredictBody:
    """Parses the JSON of a `:predict` request.

    Raises:
      ServingError: not JSON, not a request, or one that takes too much memory (413).
    """
    document = _parsed(body)
    if not isinstance(document, dict):
        raise invalid(f"JSON Value: {_shown(document)} Is not object")
    signature = document.get("signature_name", "")
    if not isinstance(signature, str):
        raise invalid("'signature_name' key must be a string value.")
    if "instances" in document and "inputs" in document:
        raise invalid("Not formatted correctly expecting only one of 'inputs' or 'instances' keys")
    if "inputs" in document:
        return PredictBody(signature, False, document["inputs"])
    if "instances" not in document:
        raise invalid("Missing 'inputs' or 'instances' key")
    rows = document["instances"]
    if not isinstance(rows, list):
        raise invalid("Expecting 'instances' to be a list/array")
    if not rows:
        raise invalid("No values in 'instances' array")
    return PredictBody(signature, True, rows)


def _parsed(body: bytes) -> Any:
    end = body.find(0)  # position where rapidjson stops
    body = body if end < 0 else body[:end]
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    check_json_size(body)
    try:
        return json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_constant
        )
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: not UTF-8 at offset: {error.start}") from error
    except json.JSONDecodeError as error:
        reason = PARSE_ERRORS.get(error.msg, error.msg)
        offset = len(error.doc[: error.pos].encode())
        raise invalid(f"JSON Parse error: {reason} at offset: {offset}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except ValueError as error:  # a number with more digits than Python parses
        raise invalid("JSON Parse error: a number is too long") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise invalid("JSON Parse error: an object has the same name twice")
    return members


def _constant(word: str) -> NoReturn:
    raise invalid(f"JSON Parse error: {word} is not a number that a model can use")


def _columns(value: Any, specs: dict[str, InputSpec]) -> dict[str, Any]:
    """Input -> its tensor as JSON; inputs unknown to the signature are ignored."""
    if not _is_named(value):
        if len(specs) != 1:
            raise invalid(
                "inputs is a plain value/list, but expecting an object as multiple input tensors"
                f" required: {', '.join(specs)}"
            )
        return dict.fromkeys(specs, value)
    for name in specs:
        if name not in value:
            raise invalid(f"Missing named input: {name} in 'inputs' object.")
    return {name: value[name] for name in specs}


def _columns_of_rows(rows: list[Any], specs: dict[str, InputSpec]) -> dict[str, Any]:
    if not _is_named(rows[0]):
        if len(specs) != 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input"
                f" tensors required: {', '.join(specs)}"
            )
        named = next((number for number, row in enumerate(rows) if _is_named(row)), None)
        if named is not None:
            raise invalid(f"Expecting value/list but got object at item {named} of input list")
        return dict.fromkeys(specs, rows)
    for number, row in enumerate(rows):
        if not _is_named(row):
            raise invalid(f"Expecting object but got {_shown(row)} at item {number} of input list")
        if row.keys() != specs.keys():
            raise _wrong_keys(number, row, specs)
    return {name: [row[name] for row in rows] for name in specs}


def _wrong_keys(number: int, row: dict[str, Any], specs: dict[str, InputSpec]) -> ServingError:
    failed = f"Failed to process element: {number}"
    for key in row:
        if key not in specs:
            return invalid(
                f"{failed} key: {_shown(key)} of 'instances' list. Error: INVALID_ARGUMENT:"
                f" JSON object: does not have named input: {_shown(key)}"
            )
    return invalid(
        f"{failed} of 'instances' list. JSON object: {{{_shown(','.join(sorted(row)))}}}"
        f" keys must be equal to: {','.join(sorted(specs))}"
    )


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


# === One tensor ===


def _tensor(name: str, value: Any, dtype: str, reserve: Callable[[int], None]) -> np.ndarray:
    """Nested lists as an array; types are checked one by one, because NumPy would convert them."""
    values, shape = _flat(name, value)
    kinds = set(map(type, values))
    if dtype == "object":
        reserve(sum(STRING_BYTES + _length(one) for one in values))
        return np.array([_bytes(name, one) for one in values], object).reshape(shape)
    allowed = JSON_TYPES[np.dtype(dtype).kind]
    if kinds - allowed:
        wrong = next(one for one in values if type(one) not in allowed)
        raise _wrong_type(name, wrong, dtype)
    reserve(len(values) * np.dtype(dtype).itemsize)
    return _numbers(name, values, np.dtype(dtype)).reshape(shape)


def _flat(name: str, value: Any) -> tuple[list[Any], tuple[int, ...]]:
    """The values of nested lists in order, and the shape."""
    shape: list[int] = []
    level = [value]
    while level and any(isinstance(one, list) for one in level):
        if not all(isinstance(one, list) for one in level):
            raise invalid(f"{name}: lists and values stand side by side at level {len(shape)}")
        sizes = set(map(len, level))
        if len(sizes) > 1:
            raise invalid(
                f"{name}: lists of {min(sizes)} and of {max(sizes)} values at level {len(shape)};"
                " a tensor has no ragged rows: make them equally long, and say in audio_length or"
                " video_mask what is filling"
            )
        shape.append(sizes.pop())
        if len(shape) > MAX_RANK:
            raise invalid(f"{name}: nested deeper than {MAX_RANK} lists")
        level = list(chain.from_iterable(level))
    return level, tuple(shape)


def _numbers(name: str, values: list[Any], dtype: np.dtype) -> np.ndarray:
    if dtype.name in SMALL_WHOLE:
        return _small_whole(name, values, dtype)
    try:
        return _floats(name, values, dtype) if dtype.kind == "f" else np.array(values, dtype)
    except OverflowError as error:
        raise invalid(f"{name}: a number does not fit {_type_name(dtype.name)}") from error


def _small_whole(name: str, values: list[Any], dtype: np.dtype) -> np.ndarray:
    """Integers of 32 bits, reduced to the lowest bits that fit the dtype."""
    fits = np.iinfo(np.int32)
    try:
        return np.array(values, np.int32).astype(dtype)
    except OverflowError as error:
        wrong = next(one for one in values if not fits.min <= one <= fits.max)
        raise _wrong_type(name, wrong, dtype.name) from error


def _floats(name: str, values: list[Any], dtype: np.dtype) -> np.ndarray:
    """Rounds to the dtype; OverflowError: a value does not even fit a double."""
    wide = np.array(values, np.float64)
    if not (np.abs(wide) <= float(np.finfo(dtype).max)).all():
        raise invalid(f"{name}: a number does not fit {_type_name(dtype.name)}")
    return wide.astype(dtype)


def _wrong_type(name: str, value: Any, dtype: str) -> ServingError:
    return invalid(
        f"{name}: JSON Value: {_shown(value)} Type: {_json_type(value)}"
        f" is not of expected type: {_type_name(dtype)}"
    )


def _json_type(value: Any) -> str:
    """Type name in rapidjson."""
    if value is None or isinstance(value, bool):
        return {None: "Null", True: "True", False: "False"}[value]
    names = ((str, "String"), (list, "Array"), (dict, "Object"))
    return next((name for kind, name in names if isinstance(value, kind)), "Number")


def _length(value: Any) -> int:
    """Length of a received string."""
    text = value.get("b64") if isinstance(value, dict) else value
    return len(text) if isinstance(text, str) else 0


def _bytes(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise invalid(f"{name}: a string holds half of a surrogate pair") from error
    if not isinstance(value, dict):
        raise _wrong_type(name, value, "object")
    if not _is_base64(value):
        raise invalid(
            f"{name}: JSON Value: an object not formatted correctly for base64 data;"
            ' it must be {"b64": "..."}'
        )
    try:
        return decode(value["b64"])
    except ValueError as error:
        raise invalid(f"{name}: Unable to base64 decode") from error


def _type_name(dtype: str) -> str:
    return {"float32": "float", "float64": "double", "object": "string"}.get(dtype, dtype)


def _shown(value: Any) -> str:
    """A value for a message, shortened if it is large."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return "a very large number"
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
