"""Messages of workers: exact both ways, and whatever else comes is refused."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

import msgpack
import numpy as np
import pytest

from affectstream.parallel import messages
from affectstream.parallel.messages import Message, MessageError, MessageTooLongError

Ends = tuple[Connection, Connection]


def of_arrays(**arrays: Any) -> list[Any]:
    return ["forward", None, arrays]


@pytest.fixture
def ends() -> Iterator[Ends]:
    first, second = multiprocessing.Pipe()
    with first, second:
        yield first, second


# === Round trip ===


def test_everything_comes_back_as_it_was(ends: Ends) -> None:
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
    messages.send(ends[0], "forward", told, arrays)
    back = messages.receive(ends[1])
    assert (back.kind, back.body, list(back.arrays)) == ("forward", told, list(arrays))
    for name, array in arrays.items():
        assert back.arrays[name].dtype == array.dtype
        assert back.arrays[name].shape == array.shape
        np.testing.assert_array_equal(back.arrays[name], array)
    assert np.signbit(back.arrays["wide"][2])
    assert not ends[1].poll(), "every frame was read"


def test_a_large_message_through_a_channel(ends: Ends) -> None:
    sent = np.random.default_rng(1).integers(0, 255, 5_000_000, dtype=np.uint8)
    for _ in range(2):
        sender = threading.Thread(
            target=messages.send, args=(ends[1], "forward", None, {"x": sent})
        )
        sender.start()
        np.testing.assert_array_equal(messages.receive(ends[0]).arrays["x"], sent)
        sender.join()


# === What is not sent ===


@pytest.mark.parametrize(
    ("body", "array"),
    [
        ({"share": float("nan")}, None),
        ({"share": np.float32(1)}, None),
        ({"share": b"x"}, None),
        ([2**64], None),
        (None, np.zeros(2, np.complex64)),
        (None, np.array([object()], object)),
        (None, np.array([b"\xff"], object)),
    ],
)
def test_what_no_message_may_hold(body: Any, array: np.ndarray | None, ends: Ends) -> None:
    with pytest.raises(MessageError):
        messages.send(ends[0], "done", body, {} if array is None else {"x": array})
    assert not ends[1].poll()


def test_too_long_is_said_on_both_sides(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    array = {"x": np.zeros(1000, np.uint8)}
    messages.send(ends[1], "forward", arrays=array)
    monkeypatch.setattr(messages, "MAX_MESSAGE_BYTES", 1000)
    with pytest.raises(MessageTooLongError, match="at most 1000"):
        messages.send(ends[0], "forward", arrays=array)
    with pytest.raises(MessageTooLongError, match="1000 bytes, at most 9"):
        messages.receive(ends[0])


def test_a_header_has_a_bound_of_its_own(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    messages.send(ends[1], "event", "x" * 1000)
    monkeypatch.setattr(messages, "MAX_HEADER_BYTES", 1000)
    for act in (
        lambda: messages.send(ends[0], "event", "x" * 1000),
        lambda: messages.receive(ends[0]),
    ):
        with pytest.raises(MessageTooLongError, match="at most"):
            act()


# === What is refused ===


@pytest.mark.parametrize(
    ("header", "frames", "said"),
    [
        (b"", [], "no message"),
        (pickle.dumps(print, protocol=4), [], "no message"),
        (b'{"kind": "done"}', [], "no message"),
        (b"\x91" * 200_000, [], "no message"),
        (b"\xdd\xff\xff\xff\xff", [], "no message"),
        (b"\xc1", [], "no message"),
        ([], [], "not enough values"),
        ({"kind": "done", "body": None, "arrays": {}}, [], "no message"),
        (["done", None], [], "not enough values"),
        (["done", None, {}, 1], [], "too many values"),
        ([1, None, {}], [], "no string"),
        (["done", None, []], [], "no message"),
        (["done", float("nan"), {}], [], "not JSON compliant"),
        (["done", b"x", {}], [], "not JSON serializable"),
        (["done", {b"x": 1}, {}], [], "no message"),
        (["done", {1: 1}, {}], [], "no message"),
        (["done", msgpack.Timestamp(1), {}], [], "not JSON serializable"),
        (["done", msgpack.ExtType(5, b""), {}], [], "not JSON serializable"),
        (b"\x93\xa4done\xa1\xff\x80", [], "decode"),
        (of_arrays(x=None), [], "no message"),
        (of_arrays(x=1), [], "no message"),
        (["forward", None, {1: ["<f4", [1]]}], [bytes(4)], "no message"),
        (of_arrays(x=["|O", [1]]), [bytes(8)], "no message"),
        (of_arrays(x=[["<f4"], [1]]), [bytes(4)], "no message"),
        (of_arrays(x=["|V4", [1]]), [bytes(4)], "no message"),
        (of_arrays(x=["<f4", [-1]]), [bytes(4)], "no shape"),
        (of_arrays(x=["<f4", [True]]), [bytes(4)], "no shape"),
        (of_arrays(x=["<f4", [1.0]]), [bytes(4)], "no shape"),
        (of_arrays(x=["<f4", 1]), [bytes(4)], "no message"),
        (of_arrays(x=["<f4", [1] * 9]), [bytes(4)], "no shape"),
        (of_arrays(x=["<f4", [2]]), [bytes(4)], "cannot reshape"),
        (of_arrays(x=["<f4", [2**28] * 8]), [bytes(4)], "bytes, at most"),
        (of_arrays(x=["<f4", [1]]), [bytes(5)], "at most 4 bytes"),
        (of_arrays(x="ab"), [], "no message"),
        (of_arrays(x=[1]), [], "no message"),
        (of_arrays(x=[b"\xff"]), [], "no message"),
    ],
)
def test_lies_are_refused(header: Any, frames: list[bytes], said: str, ends: Ends) -> None:
    ends[1].send_bytes(header if isinstance(header, bytes) else msgpack.packb(header))
    for frame in frames:
        ends[1].send_bytes(frame)
    with pytest.raises(MessageError, match=said):
        messages.receive(ends[0])


def test_an_array_that_is_there_twice_is_refused(ends: Ends) -> None:
    ends[1].send_bytes(b"\x93\xa4done\xc0\x82" + 2 * (b"\xa1x" + msgpack.packb(["|u1", [1]])))
    for _ in range(2):
        ends[1].send_bytes(bytes(1))
    with pytest.raises(MessageError):
        for _ in range(2):  # one of them is read, the other one is no message
            messages.receive(ends[0])


def test_a_truth_value_is_one_of_two(ends: Ends) -> None:
    ends[1].send_bytes(msgpack.packb(of_arrays(x=["|b1", [3]])))
    ends[1].send_bytes(b"\x00\x07\xff")
    (mask,) = messages.receive(ends[0]).arrays.values()
    assert mask.view(np.uint8).tolist() == [0, 1, 1]


# === Gone ===


@pytest.mark.parametrize("is_cut_short", [False, True])
def test_the_end_is_told(is_cut_short: bool) -> None:
    ours, theirs = multiprocessing.Pipe()
    messages.send(theirs, "ready", {})
    if is_cut_short:
        with open(theirs.fileno(), "wb", closefd=False) as raw:
            raw.write(b"\x00\x00\x01\x00cut")
    theirs.close()
    with ours:
        assert messages.receive(ours) == Message("ready", {}, {})
        with pytest.raises(EOFError):
            messages.receive(ours)
        with pytest.raises(EOFError):
            for _ in range(2):  # what is sent first may still be taken
                messages.send(ours, "job", {})
