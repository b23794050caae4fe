"""Inputs as TensorFlow Serving writes them in JSON.

Source: tensorflow/serving, g3doc/api_rest.md and util/json_tensor.cc. Stricter than it in two
things: a name that comes twice in an object is refused (it takes the first), and so are NaN and
Infinity in a request (it takes them; no sound or picture has such values). It takes neither 0 and 1
for a boolean nor 1.0 for a whole number, and neither does this.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from server.budget import STRING_BYTES
from server.json_size import check_size
from server.status import invalid

if TYPE_CHECKING:
    from serving.warmup import Spec

# Deeper than any input; rows of square colour pictures over time have five.
MAX_RANK = 8
SHOWN_CHARACTERS = 60
# Kind of a NumPy dtype -> what JSON may say for it.
JSON_TYPES: dict[str, set[type]] = {"b": {bool}, "i": {int}, "u": {int}, "f": {int, float}}


def _unbounded(num_bytes: int) -> None:
    pass


@dataclass(frozen=True)
class PredictBody:
    """The body of a `:predict` request, read but not yet turned into tensors.

    Attributes:
      signature: "" means `serving_default`.
      is_rows: `instances`, one value a row; otherwise `inputs`, one value a tensor.
    """

    signature: str
    is_rows: bool
    value: Any

    def tensors(
        self, specs: dict[str, Spec], reserve: Callable[[int], None] = _unbounded
    ) -> dict[str, np.ndarray]:
        """The inputs of a signature.

        Args:
          reserve: called with the bytes of each array before it is made; may raise.
        Returns:
          name -> array of the signature's dtype; strings as object arrays of bytes. Ranks, rows
          and fixed sizes are not compared here.
        Raises:
          ServingError: missing, unknown, ragged or of another type; the message names the input.
        """
        columns = (_columns_of_rows if self.is_rows else _columns)(self.value, specs)
        return {name: _tensor(name, columns[name], specs[name].dtype, reserve) for name in specs}


# === Reading ===


def read_body(body: bytes) -> PredictBody:
    """The JSON of a `:predict` request.

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
    if not body:
        raise invalid("JSON Parse error: The document is empty")
    check_size(body)
    try:
        return json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_object, parse_constant=_constant
        )
    except UnicodeDecodeError as error:
        raise invalid(f"JSON Parse error: not UTF-8 at offset: {error.start}") from error
    except json.JSONDecodeError as error:
        raise invalid(f"JSON Parse error: {error.msg} at offset: {error.pos}") from error
    except RecursionError as error:
        raise invalid("JSON Parse error: nested too deeply") from error
    except ValueError as error:  # a number of more digits than Python reads
        raise invalid("JSON Parse error: a number is too long") from error


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise invalid("JSON Parse error: an object has the same name twice")
    return made


def _constant(word: str) -> NoReturn:
    raise invalid(f"JSON Parse error: {word} is not a number that a model can use")


def _columns(value: Any, specs: dict[str, Spec]) -> dict[str, Any]:
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
    if len(value) > len(specs):
        unknown = sorted(set(value) - set(specs))
        raise invalid(f"'inputs' object has unknown inputs: {_shown(', '.join(unknown))}")
    return dict(value)


def _columns_of_rows(rows: list[Any], specs: dict[str, Spec]) -> dict[str, Any]:
    if not _is_named(rows[0]):
        if len(specs) != 1:
            raise invalid(
                "instances is a plain list, but expecting list of objects as multiple input"
                f" tensors required: {', '.join(specs)}"
            )
        if any(_is_named(row) for row in rows):
            raise invalid("'instances' has both objects and plain values")
        return dict.fromkeys(specs, rows)
    for number, row in enumerate(rows):
        if not _is_named(row):
            raise invalid(f"Expecting object but got {_shown(row)} at item {number} of input list")
        if row.keys() != specs.keys():
            raise invalid(
                f"Failed to process element: {number} of 'instances' list."
                f" Its keys {_shown(', '.join(sorted(row)))} must be equal to: {', '.join(specs)}"
            )
    return {name: [row[name] for row in rows] for name in specs}


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _is_base64(value: dict[str, Any]) -> bool:
    return len(value) == 1 and isinstance(value.get("b64"), str)


# === One tensor ===


def _tensor(name: str, value: Any, dtype: str, reserve: Callable[[int], None]) -> np.ndarray:
    """Nested lists as an array; types are looked at one by one, as NumPy would convert them."""
    values, shape = _flat(name, value)
    kinds = set(map(type, values))
    if dtype == "object":
        reserve(sum(STRING_BYTES + _length(one) for one in values))
        return np.array([_bytes(name, one) for one in values], object).reshape(shape)
    allowed = JSON_TYPES[np.dtype(dtype).kind]
    if kinds - allowed:
        wrong = next(one for one in values if type(one) not in allowed)
        raise invalid(
            f"{name}: JSON Value: {_shown(wrong)} is not of expected type: {_type_name(dtype)}"
        )
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
    try:
        if dtype.kind != "f":
            return np.array(values, dtype)
        wide = np.array(values, np.float64)
    except OverflowError as error:
        raise invalid(f"{name}: a number does not fit {_type_name(dtype.name)}") from error
    # Beyond that not every whole number has a value of its own; json_tensor.cc, IsLosslessDecimal.
    largest_whole = 2 ** (np.finfo(dtype).nmant + 1) - 1
    if (np.abs(wide) > largest_whole).any():
        for one in values:
            if isinstance(one, int) and abs(one) > largest_whole:
                raise invalid(
                    f"{name}: Cannot convert JSON value: {_shown(one)} to"
                    f" {_type_name(dtype.name)} without loss of precision."
                )
    if not (np.abs(wide) <= float(np.finfo(dtype).max)).all():
        raise invalid(f"{name}: a number does not fit {_type_name(dtype.name)}")
    return wide.astype(dtype)


def _length(value: Any) -> int:
    """Of a string, as it came."""
    text = value.get("b64") if isinstance(value, dict) else value
    return len(text) if isinstance(text, str) else 0


def _bytes(name: str, value: Any) -> bytes:
    if isinstance(value, str):
        try:
            return value.encode()
        except UnicodeEncodeError as error:
            raise invalid(f"{name}: a string holds half of a surrogate pair") from error
    if not isinstance(value, dict):
        raise invalid(f"{name}: JSON Value: {_shown(value)} is not of expected type: string")
    if not _is_base64(value):
        raise invalid(f'{name}: an object in place of a string must be {{"b64": "..."}}')
    try:
        return base64.b64decode(value["b64"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid(f"{name}: Unable to base64 decode") from error


def _type_name(dtype: str) -> str:
    return {"float32": "float", "float64": "double", "object": "string"}.get(dtype, dtype)


def _shown(value: Any) -> str:
    """A value for a message; a large one is not written out."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    if isinstance(value, int) and not isinstance(value, bool) and value.bit_length() > 256:
        return "a very large number"
    text = json.dumps(value) if not isinstance(value, str) else value
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."
