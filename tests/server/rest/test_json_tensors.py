"""JSON to tensors and back, as TensorFlow Serving has it."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import numpy as np
import pytest

from affectstream.server.errors import ServingError
from affectstream.server.rest.json_outputs import write_outputs
from affectstream.server.rest.json_tensors import parse_predict_body
from affectstream.serving.export.warmup import InputSpec

SOUND = {"audio": InputSpec("float32", (None, None)), "audio_length": InputSpec("int32", (None,))}
FACES = {
    "video": InputSpec("uint8", (None, None, 2, 2, 1)),
    "video_mask": InputSpec("bool", (None, None)),
}
WORDS = {"text": InputSpec("object", (None,))}


def tensors(body: Any, specs: dict[str, InputSpec]) -> dict[str, np.ndarray]:
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_predict_body(text).tensors(specs)


# === Good requests ===


def test_rows_and_columns_are_the_same_tensors() -> None:
    rows = {
        "instances": [
            {"audio": [0.5, 1, -0.25], "audio_length": 3},
            {"audio_length": 2, "audio": [0.1, 0, 0]},
        ]
    }
    columns = {"inputs": {"audio": [[0.5, 1, -0.25], [0.1, 0, 0]], "audio_length": [3, 2]}}
    for body in (rows, columns):
        found = tensors(body, SOUND)
        assert found["audio"].dtype == np.float32
        assert found["audio_length"].dtype == np.int32
        np.testing.assert_array_equal(
            found["audio"], np.array([[0.5, 1, -0.25], [0.1, 0, 0]], np.float32)
        )
        np.testing.assert_array_equal(found["audio_length"], [3, 2])


def test_pictures_and_masks() -> None:
    value = np.arange(2 * 3 * 4).reshape(2, 3, 2, 2, 1)
    mask = [[True, False, True], [False, False, True]]
    found = tensors({"inputs": {"video": value.tolist(), "video_mask": mask}}, FACES)
    assert found["video"].dtype == np.uint8
    assert found["video_mask"].dtype == bool
    np.testing.assert_array_equal(found["video"], value)
    np.testing.assert_array_equal(found["video_mask"], mask)


@pytest.mark.parametrize(
    "body",
    [
        {"instances": ["Grüße", {"b64": "AP8="}]},
        {"instances": [{"text": "Grüße"}, {"text": {"b64": "AP8="}}]},
        {"inputs": ["Grüße", {"b64": "AP8="}]},
        {"inputs": {"text": ["Grüße", {"b64": "AP8="}]}},
    ],
)
def test_strings_and_the_shorthand_of_one_input(body: dict[str, Any]) -> None:
    found = tensors(body, WORDS)["text"]
    assert found.dtype == object
    assert found.tolist() == ["Grüße".encode(), b"\x00\xff"]


def test_the_signature_is_read() -> None:
    assert parse_predict_body(b'{"signature_name": "audio", "inputs": 1}').signature == "audio"
    assert parse_predict_body(b'{"inputs": 1}').signature == ""


def test_a_mark_of_byte_order_is_skipped() -> None:
    assert tensors(b'\xef\xbb\xbf{"instances": ["a"]}', WORDS)["text"].tolist() == [b"a"]


def test_empty_lists_have_their_shape() -> None:
    found = tensors({"inputs": {"audio": [[], []], "audio_length": [0, 0]}}, SOUND)
    assert found["audio"].shape == (2, 0)
    assert found["audio"].dtype == np.float32


# === As TensorFlow Serving takes them, though they look odd ===


@pytest.mark.parametrize(
    "text",
    ["AP8=", "AP8", "AP8.", "AP\n8=", " A\tP 8\r\n= \v\f", "AP9"],
    ids=["padded", "not padded", "dot", "broken", "spread", "bits behind the last byte"],
)
def test_base64_as_abseil_reads_it(text: str) -> None:
    body = {"instances": [{"b64": text}]}
    assert tensors(body, WORDS)["text"].tolist() == [b"\x00\xff"]


def test_base64_in_lines_as_mime_has_it() -> None:
    data = bytes(range(256)) * 3
    body = {"inputs": {"text": [{"b64": base64.encodebytes(data).decode()}, {"b64": ""}]}}
    assert tensors(body, WORDS)["text"].tolist() == [data, b""]


def test_more_inputs_than_the_signature_takes_are_passed_over() -> None:
    body = {"inputs": {"text": ["a"], "x": [[1], "ragged"], "video": None}}
    found = tensors(body, WORDS)
    assert list(found) == ["text"]
    assert found["text"].tolist() == [b"a"]


@pytest.mark.parametrize("rest", [b"\x00", b" \n\x00", b"\x00 {}", b"\x00\xff\xff"])
def test_a_document_ends_at_a_nul(rest: bytes) -> None:
    assert tensors(b'{"instances": ["a"]}' + rest, WORDS)["text"].tolist() == [b"a"]


def test_whole_numbers_that_a_float_cannot_hold_are_rounded() -> None:
    body = {"inputs": {"audio": [[16777217, -16777219, 2**63 + 1, 0.1]], "audio_length": [4]}}
    found = tensors(body, SOUND)["audio"]
    assert found.dtype == np.float32
    assert found.tolist() == [[16777216, -16777220, 2.0**63, float(np.float32(0.1))]]


def test_pixels_beyond_a_byte_are_taken_modulo_256() -> None:
    pixels = [-1, 256, 300, -(2**31)]
    body = {
        "inputs": {
            "video": [[[[[p], [7]], [[0], [0]]] for p in pixels]],
            "video_mask": [[True] * 4],
        }
    }
    found = tensors(body, FACES)["video"]
    assert found.dtype == np.uint8
    assert found[0, :, 0, 0, 0].tolist() == [255, 0, 44, 0]
    assert found[0, :, 0, 1, 0].tolist() == [7] * 4


# === Bad requests ===

DEEP = b"[" * 100_000 + b"]" * 100_000
BAD: dict[str, tuple[bytes, dict[str, InputSpec], str]] = {
    "nothing": (b"", WORDS, "empty"),
    "no JSON": (b"{", WORDS, "Parse error"),
    "nothing but spaces": (b" \n", WORDS, "JSON Parse error: Invalid value. at offset: 2"),
    "nothing before a NUL": (b'\x00{"instances": ["a"]}', WORDS, "The document is empty"),
    "two documents": (
        b'{"instances": ["\xc3\xbc"]} {}',
        WORDS,
        "The document root must not be followed by other values. at offset: 22",
    ),
    "a NUL within a string": (b'{"instances": ["a\x00b"]}', WORDS, "Parse error"),
    "not UTF-8": (b'{"instances": ["\xff"]}', WORDS, "UTF-8"),
    "UTF-16": ('{"instances": ["a"]}'.encode("utf-16"), WORDS, "UTF-8"),
    "deep": (b'{"instances": ' + DEEP + b"}", WORDS, "nested too deeply"),
    "rather deep": (b'{"instances": ' + b"[" * 60 + b"]" * 60 + b"}", WORDS, "deeper than 8"),
    "same name twice": (b'{"instances": [1], "instances": [2]}', WORDS, "twice"),
    "same input twice": (b'{"inputs": {"text": [], "text": []}}', WORDS, "twice"),
    "NaN": (b'{"instances": [NaN]}', WORDS, "NaN"),
    "Infinity": (b'{"inputs": {"audio": [[-Infinity]], "audio_length": [1]}}', SOUND, "Infinity"),
    "list": (b"[1]", WORDS, "Is not object"),
    "null": (b"null", WORDS, "Is not object"),
    "number as signature": (b'{"signature_name": 3, "inputs": 1}', WORDS, "signature_name"),
    "neither": (b'{"signature_name": "audio"}', WORDS, "Missing 'inputs'"),
    "both": (b'{"inputs": [], "instances": [1]}', WORDS, "only one"),
    "rows are no list": (b'{"instances": {"text": "a"}}', WORDS, "list/array"),
    "no rows": (b'{"instances": []}', WORDS, "No values"),
    "plain list for two inputs": (b'{"instances": [1]}', SOUND, "expecting list of objects"),
    "plain value for two inputs": (b'{"inputs": [1]}', SOUND, "expecting an object"),
    "missing input": (b'{"inputs": {"audio": [[1]]}}', SOUND, "audio_length"),
    "missing in a row": (
        b'{"instances": [{"audio": [1], "audio_length": 1}, {"audio": [1]}]}',
        SOUND,
        "element: 1 of 'instances' list. JSON object: {audio} keys must be equal to: audio,audio_l",
    ),
    "unknown in a row": (
        b'{"instances": [{"text": "a", "x": 1}]}',
        WORDS,
        "element: 0 key: x of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have"
        " named input: x",
    ),
    "object after value": (
        b'{"instances": ["a", {"text": "b"}]}',
        WORDS,
        "Expecting value/list but got object at item 1 of input list",
    ),
    "value after object": (b'{"instances": [{"text": "b"}, "a"]}', WORDS, "Expecting object"),
    "ragged": (
        b'{"instances": [{"audio": [1, 2], "audio_length": 2}, {"audio": [1], "audio_length": 1}]}',
        SOUND,
        "ragged",
    ),
    "list beside value": (b'{"instances": ["a", ["b"]]}', WORDS, "side by side"),
    "text as number": (b'{"inputs": {"audio": [["1.5"]], "audio_length": [1]}}', SOUND, "1.5"),
    "null as number": (b'{"inputs": {"audio": [[null]], "audio_length": [1]}}', SOUND, "null"),
    "bool as number": (b'{"inputs": {"audio": [[true]], "audio_length": [1]}}', SOUND, "true"),
    "object as number": (
        b'{"inputs": {"audio": [[{"b64": "AA=="}]], "audio_length": [1]}}',
        SOUND,
        "an object",
    ),
    "fraction as whole": (b'{"inputs": {"audio": [[1]], "audio_length": [1.0]}}', SOUND, "int32"),
    "too large for int32": (
        b'{"inputs": {"audio": [[1]], "audio_length": [2147483648]}}',
        SOUND,
        "JSON Value: 2147483648 Type: Number is not of expected type: int32",
    ),
    "too large for 64 bits": (
        b'{"inputs": {"audio": [[1]], "audio_length": [-9223372036854775809]}}',
        SOUND,
        "JSON Value: -9223372036854775809 Type: Number is not of expected type: int32",
    ),
    "too large for float": (
        b'{"inputs": {"audio": [[1e39]], "audio_length": [1]}}',
        SOUND,
        "does not fit float",
    ),
    "too large for double": (
        b'{"inputs": {"audio": [[1e999]], "audio_length": [1]}}',
        SOUND,
        "does not fit float",
    ),
    "whole number of 400 digits": (
        b'{"inputs": {"audio": [[1' + b"0" * 400 + b']], "audio_length": [1]}}',
        SOUND,
        "does not fit float",
    ),
    "whole number of 9000 digits": (b'{"instances": [1' + b"0" * 9000 + b"]}", WORDS, "too long"),
    "pixel beyond 32 bits": (
        b'{"inputs": {"video": [[[[[2147483648],[0]],[[0],[0]]]]], "video_mask": [[true]]}}',
        FACES,
        "JSON Value: 2147483648 Type: Number is not of expected type: uint8",
    ),
    "pixel of a half": (
        b'{"inputs": {"video": [[[[[0.5],[0]],[[0],[0]]]]], "video_mask": [[true]]}}',
        FACES,
        "JSON Value: 0.5 Type: Number is not of expected type: uint8",
    ),
    "1 as bool": (
        b'{"inputs": {"video": [[[[[1],[0]],[[0],[0]]]]], "video_mask": [[1]]}}',
        FACES,
        "not of expected type: bool",
    ),
    "number as text": (
        b'{"instances": [1]}',
        WORDS,
        "JSON Value: 1 Type: Number is not of expected type: string",
    ),
    "half a surrogate pair": (b'{"instances": ["\\ud800"]}', WORDS, "surrogate"),
    "wrong base64": (b'{"instances": [{"b64": "A"}]}', WORDS, "base64"),
    "no base64": (b'{"instances": [{"b64": "\\u00fc"}]}', WORDS, "base64"),
    "base64 with half its padding": (b'{"instances": [{"b64": "AA="}]}', WORDS, "base64 decode"),
    "base64 of URLs": (b'{"instances": [{"b64": "_-8="}]}', WORDS, "Unable to base64 decode"),
    "two of base64": (b'{"instances": [{"b64": "AA==AA=="}]}', WORDS, "Unable to base64 decode"),
    "base64 of a number": (b'{"instances": [{"b64": 1}]}', WORDS, "not have named input: b64"),
    "more than base64": (
        b'{"inputs": {"text": [{"b64": "AA==", "c": 1}]}}',
        WORDS,
        "not formatted correctly for base64 data",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_request_is_told_what_is_wrong(name: str) -> None:
    body, specs, said = BAD[name]
    with pytest.raises(ServingError) as raised:
        tensors(body, specs)
    assert raised.value.http_status == 400
    assert said in raised.value.message
    assert len(raised.value.message) < 300


def test_a_long_string_among_numbers_is_not_copied_for_each() -> None:
    """NumPy would make every number as wide as the string: 4 TB here."""
    body = {"inputs": {"audio": [["x" * 1_000_000, *[0] * 1_000_000]], "audio_length": [1]}}
    began_s = time.process_time()
    with pytest.raises(ServingError, match="not of expected type: float"):
        tensors(body, SOUND)
    assert time.process_time() - began_s < 10


# === Answers ===

OUTPUTS = {
    "probabilities": np.array([[0.2, 0.8], [0.1, 0.9]], np.float32),
    "label": np.array([b"sad", "fröhlich".encode()], object),
}


def test_answers_by_row() -> None:
    assert json.loads(write_outputs(OUTPUTS, is_row_format=True)) == {
        "predictions": [
            {"label": "sad", "probabilities": [0.2, 0.8]},
            {"label": "fröhlich", "probabilities": [0.1, 0.9]},
        ]
    }


def test_answers_by_column() -> None:
    assert json.loads(write_outputs(OUTPUTS, is_row_format=False)) == {
        "outputs": {"label": ["sad", "fröhlich"], "probabilities": [[0.2, 0.8], [0.1, 0.9]]}
    }


def test_one_output_has_no_name() -> None:
    one = {"labels": np.array([[b"sad", b"happy"]], object)}
    assert json.loads(write_outputs(one, True)) == {"predictions": [["sad", "happy"]]}
    assert json.loads(write_outputs(one, False)) == {"outputs": [["sad", "happy"]]}


def test_bytes_are_base64_and_what_is_no_utf8_does_no_harm() -> None:
    found = {"picture_bytes": np.array([b"\x00\xff"], object), "text": np.array([b"\xff"], object)}
    (row,) = json.loads(write_outputs(found, True))["predictions"]
    assert base64.b64decode(row["picture_bytes"]["b64"]) == b"\x00\xff"
    assert row["text"] == "\ufffd"


def test_floats_have_the_digits_of_their_own_type() -> None:
    values = np.array([0.1, 1 / 3, 1e-30, -0.0, 3.4e38, 7], np.float32)
    text = write_outputs({"x": values}, False).decode()
    assert text == '{"outputs": [0.1, 0.33333334, 1e-30, -0.0, 3.4e+38, 7.0]}'
    read = np.array(json.loads(text)["outputs"], np.float32)
    np.testing.assert_array_equal(read, values)


def test_what_is_no_number_is_written_as_tensorflow_serving_does() -> None:
    values = np.array([[np.nan, np.inf, -np.inf]], np.float32)
    assert write_outputs({"x": values}, True) == b'{"predictions": [[NaN, Infinity, -Infinity]]}'


@pytest.mark.parametrize("shape", [(2, 3, 4), (1, 1), (2, 0), (0, 3), (2, 0, 3), (5,)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, bool])
def test_every_shape_is_nested_as_numpy_does(shape: tuple[int, ...], dtype: type) -> None:
    values: np.ndarray = (np.arange(np.prod(shape)) % 3).reshape(shape).astype(dtype)
    assert json.loads(write_outputs({"x": values}, False)) == {"outputs": values.tolist()}


def test_arrays_are_announced_before_they_are_made() -> None:
    body = parse_predict_body(b'{"inputs": {"a": [[1, 2, 3]], "b": ["four", {"b64": "Zm91cg=="}]}}')
    announced: list[int] = []
    specs = {"a": InputSpec("float32", (None, None)), "b": InputSpec("object", (None,))}
    body.tensors(specs, announced.append)
    assert announced[0] == 3 * 4
    assert announced[1] >= 2 * 4

    def refuse(num_bytes: int) -> None:
        raise MemoryError

    with pytest.raises(MemoryError):
        body.tensors(specs, refuse)
