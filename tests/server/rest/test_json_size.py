"""What JSON would take in memory is known, and bounded, before it is read."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest

from affectstream.server.errors import ServingError
from affectstream.server.limits import ServerLimits
from affectstream.server.rest import json_size
from affectstream.server.rest.json_tensors import parse_predict_body

UNITS = {
    "empty lists": "[],",
    "lists of one": "[1],",
    "deep": "[[[[[]]]]],",
    "objects": "{},",
    "objects with a name": '{"a": 1},',
    "objects with names": '{"a": 1, "b": 2, "c": 3, "d": 4, "e": 5, "f": 6},',
    "floats": "0.5,",
    "integers": "999,",
    "short strings": '"abc",',
    "words": "true,",
}


def refused(body: bytes) -> ServingError:
    with pytest.raises(ServingError) as raised:
        parse_predict_body(body)
    return raised.value


@pytest.mark.parametrize("kind", UNITS)
def test_no_document_takes_more_than_was_said(kind: str) -> None:
    body = ('{"inputs": [' + 20_000 * UNITS[kind]).rstrip(",").encode() + b"]}"
    tracemalloc.start()
    try:
        found = parse_predict_body(body)
        taken = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert found.value
    assert taken <= json_size.estimate_memory_bytes(body)


def test_names_that_differ() -> None:
    body = json.dumps({"inputs": {f"name {i}": i for i in range(20_000)}}).encode()
    tracemalloc.start()
    try:
        found = parse_predict_body(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(found.value) == 20_000
    assert peak <= json_size.estimate_memory_bytes(body)


@pytest.mark.parametrize("kind", UNITS)
def test_a_small_body_that_becomes_a_large_document_is_not_read(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any, **__: Any) -> Any:
        raise AssertionError("it was read")

    monkeypatch.setattr("affectstream.server.rest.json_tensors.json.loads", never)
    unit = UNITS[kind].encode()
    body = b'{"inputs": [' + 60_000_000 // len(unit) * unit + b"0]}"
    error = refused(body)
    assert error.http_status == 413
    assert error.message.startswith("this JSON would take ")
    assert error.message.endswith(
        " MiB once it is read, at most 416; send fewer rows or frames at a time, WAV and JPEG to"
        " the signature serve_bytes, or tensors over gRPC"
    )


def test_twenty_million_lists() -> None:
    body = b'{"inputs": [' + 20_000_000 * b"[]," + b"[]]}"
    assert len(body) < ServerLimits().max_body_bytes
    assert "would take 2804 MiB" in refused(body).message


def listed(values: bytes, *sizes: int) -> bytes:
    """Nested lists of one value."""
    for size in reversed(sizes):
        values = b"[" + b",".join([values] * size) + b"]"
    return values


@pytest.mark.parametrize("channels", [1, 3])
def test_eight_windows_of_sound_and_faces_are_read(channels: int) -> None:
    """3 s at 16 kHz as a float32 is written, 16 crops of 112 x 112, in grey and in colour."""
    inputs = {
        b"audio": listed(b"-0.012345678", 8, 48_000),
        b"audio_length": listed(b"48000", 8),
        b"video": listed(b"255", 8, 16, 112, 112, channels),
        b"video_mask": listed(b"true", 8, 16),
    }
    named = b",".join(b'"%s":%s' % pair for pair in inputs.items())
    body = b'{"signature_name":"serving_default","inputs":{' + named + b"}}"
    assert len(body) < ServerLimits().max_body_bytes
    json_size.check_json_size(body)
    assert json_size.estimate_memory_bytes(body) > json_size.MAX_JSON_BYTES / 2


def test_long_strings_cost_what_they_are() -> None:
    """Base64 of recordings and pictures, which is most of a request of `serve_bytes`."""
    body = json.dumps({"inputs": ["A" * 1_000_000] * 40}).encode()
    assert json_size.estimate_memory_bytes(body) < 1.001 * len(body)
    wide = '{"inputs": "\N{GRINNING FACE}"}'.encode()
    assert json_size.estimate_memory_bytes(wide) == 4 * len(wide) + 240 + 300 + 4 * 30


def test_depth_is_bounded() -> None:
    for depth in (2_000, 1_000_000):
        error = refused(b'{"inputs": ' + b"[" * depth + b"]" * depth + b"}")
        assert (error.http_status, error.message) == (400, "JSON Parse error: nested too deeply")
