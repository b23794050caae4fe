"""Messages of workers: exact both ways, and whatever else comes is refused."""

from __future__ import annotations

import json
import pickle
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from affectstream.server.analysis import worker_messages
from affectstream.server.analysis.worker_messages import (
    Channel,
    Message,
    MessageError,
    MessageTooLongError,
    decode_message,
    encode_message,
)

LENGTH_BYTES = 8


def framed(header: Any, rest: bytes = b"") -> bytes:
    """What follows the length."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(4, "big") + text + rest


def of_arrays(*arrays: Any) -> dict[str, Any]:
    return {"kind": "forward", "body": None, "arrays": list(arrays)}


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    first, second = socket.socketpair()
    with first, second:
        yield first, second


# === Round trip ===


def test_everything_comes_back_as_it_was() -> None:
    rng = np.random.default_rng(0)
    told = {"a": [1, 0.1, -1e-7, None, True, "grüße \u2028"], "b": {"c": 2**53 + 1}}
    arrays: dict[str, np.ndarray] = {
        "audio": rng.normal(size=(3, 1001)).astype(np.float32),
        "video": rng.integers(0, 255, (2, 3, 5, 4, 1), dtype=np.uint8),
        "mask": np.array([[True, False], [False, True]]),
        "length": np.array([3, -1], np.int32),
        "ids": np.array(2**40, np.int64),
        "wide": np.array([np.nan, np.inf, -0.0]),
        "none": np.zeros((0, 7), np.float32),
        "turned": np.arange(12, dtype=np.float32).reshape(3, 4).T[::2],
        "text": np.array(["grüße".encode(), b"", b"a\x00b"], object),
    }
    data = encode_message(Message("forward", told, arrays))
    assert int.from_bytes(data[:LENGTH_BYTES], "big") == len(data) - LENGTH_BYTES
    back = decode_message(data[LENGTH_BYTES:])
    assert (back.kind, back.body, list(back.arrays)) == ("forward", told, list(arrays))
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        assert back.arrays[name].shape == array.shape
        np.testing.assert_array_equal(back.arrays[name], array)
    assert np.signbit(back.arrays["wide"][2])


def test_a_large_message_through_a_socket(ends: tuple[socket.socket, socket.socket]) -> None:
    sent = np.random.default_rng(1).integers(0, 255, 5_000_000, dtype=np.uint8)
    ours, theirs = Channel(ends[0], 0.05), Channel(ends[1])
    for _ in range(2):
        sender = threading.Thread(target=theirs.send, args=("forward", None, {"x": sent}))
        sender.start()
        np.testing.assert_array_equal(ours.receive().arrays["x"], sent)
        sender.join()


# === What is not sent ===


@pytest.mark.parametrize(
    "message",
    [
        Message("done", {"share": float("nan")}),
        Message("done", {"share": np.float32(1)}),
        Message("forward", None, {"x": np.zeros(2, np.complex64)}),
        Message("forward", None, {"x": np.array([object()], object)}),
        Message("forward", None, {"x": np.array([b"\xff"], object)}),
    ],
)
def test_what_no_message_may_hold(message: Message) -> None:
    with pytest.raises(MessageError):
        encode_message(message)


def test_too_long_is_said_on_both_sides(ends: tuple[socket.socket, socket.socket]) -> None:
    small, large = Channel(ends[0], max_bytes=1000), Channel(ends[1])
    array = {"x": np.zeros(1000, np.uint8)}
    with pytest.raises(MessageTooLongError, match="at most 1000"):
        small.send("forward", arrays=array)
    large.send("forward", arrays=array)
    with pytest.raises(MessageTooLongError, match="at most 1000"):
        small.receive()


def test_a_header_has_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encode_message(Message("event", "x" * 1000))
    monkeypatch.setattr(worker_messages, "MAX_HEADER_BYTES", 1000)
    for act in (
        lambda: encode_message(Message("event", "x" * 1000)),
        lambda: decode_message(data[LENGTH_BYTES:]),
    ):
        with pytest.raises(MessageTooLongError, match="at most"):
            act()


# === What is refused ===


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "longer than the message"),
        (b"\x00\x00\x00\x00", "longer than the message"),
        (b"\xff\xff\xff\xff{}", "longer than the message"),
        (pickle.dumps(print, protocol=4), "longer than the message"),
        (framed(pickle.dumps(print, protocol=4)), "no JSON"),
        (framed(b"["), "no JSON"),
        (framed(b"[" * 200_000), "no JSON"),
        (framed(b'{"kind": NaN}'), "no JSON"),
        (framed(b'{"kind": ' + b"9" * 5000 + b"}"), "no JSON"),
        (framed([]), "other fields"),
        (framed({"kind": "done"}), "other fields"),
        (framed({"kind": 1, "body": None, "arrays": []}), "other types"),
        (framed({"kind": "done", "body": None, "arrays": {}}), "other types"),
        (framed(of_arrays("x")), "without name"),
        (framed(of_arrays([1, "<f4", [1]])), "without name"),
        (framed(of_arrays(["x", "|O", [1]]), bytes(8)), "no type and shape"),
        (framed(of_arrays(["x", ["<f4"], [1]]), bytes(4)), "no type and shape"),
        (framed(of_arrays(["x", "|V4", [1]]), bytes(4)), "no type and shape"),
        (framed(of_arrays(["x", "<f4", [-1]]), bytes(4)), "no type and shape"),
        (framed(of_arrays(["x", "<f4", [True]]), bytes(4)), "no type and shape"),
        (framed(of_arrays(["x", "<f4", [1.0]]), bytes(4)), "no type and shape"),
        (framed(of_arrays(["x", "<f4", 1]), bytes(4)), "no type and shape"),
        (framed(of_arrays(["x", "<f4", [1] * 9]), bytes(4)), "no type and shape"),
        (framed(of_arrays(["x", "<f4", [2]]), bytes(4)), "x: longer than"),
        (framed(of_arrays(["x", "<f4", [2**28] * 8]), bytes(4)), "x: longer than"),
        (framed(of_arrays(["x", "<f4", [1]]), bytes(5)), "left behind"),
        (framed(of_arrays(["x", "|u1", [1]], ["x", "|u1", [1]]), bytes(2)), "twice"),
        (framed(of_arrays(["x", "strings", "ab"])), "no strings"),
        (framed(of_arrays(["x", "strings", [1]])), "no strings"),
        (framed(of_arrays(["x", "strings", ["\ud800"]])), "not UTF-8"),
    ],
)
def test_lies_are_refused(data: bytes, said: str) -> None:
    with pytest.raises(MessageError, match=said):
        decode_message(data)


def test_a_truth_value_is_one_of_two() -> None:
    (mask,) = decode_message(framed(of_arrays(["x", "|b1", [3]]), b"\x00\x07\xff")).arrays.values()
    assert mask.view(np.uint8).tolist() == [0, 1, 1]


# === Slow and gone ===


class TooLateError(Exception):
    """Raised by the looks below."""


def late_after(seconds: float) -> Any:
    ends_s = time.monotonic() + seconds

    def look() -> None:
        if time.monotonic() > ends_s:
            raise TooLateError

    return look


@pytest.mark.parametrize("drips", [False, True])
def test_a_half_message_does_not_hold(
    drips: bool, ends: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = Channel(ends[0], 0.02), ends[1]
    theirs.sendall((100_000).to_bytes(8, "big"))
    stop = threading.Event()

    def drip() -> None:
        while drips and not stop.wait(0.005):
            theirs.sendall(b"x")

    thread = threading.Thread(target=drip)
    thread.start()
    began_s = time.monotonic()
    try:
        with pytest.raises(TooLateError):
            ours.receive(late_after(0.3))
        assert time.monotonic() - began_s < 2
    finally:
        stop.set()
        thread.join()


def test_who_reads_nothing_does_not_hold(ends: tuple[socket.socket, socket.socket]) -> None:
    ours = Channel(ends[0], 0.02)
    with pytest.raises(TooLateError):
        ours.send("outputs", arrays={"x": np.zeros(20_000_000, np.uint8)}, on_poll=late_after(0.3))


def test_the_end_is_told(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = Channel(ends[0], 0.02), Channel(ends[1])
    theirs.send("ready", {})
    ends[1].sendall(b"\x00")
    theirs.close()
    assert ours.receive() == Message("ready", {})
    with pytest.raises(EOFError):
        ours.receive()
