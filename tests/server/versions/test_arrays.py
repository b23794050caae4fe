"""Requests as arrays: what is refused and in which words, padding, pieces."""

from __future__ import annotations

import functools
from typing import Any

import grpc
import numpy as np
import pytest

from affectstream.server.errors import ServingError
from affectstream.server.versions import arrays
from affectstream.server.versions.arrays import Arrays
from affectstream.serving.export.warmup import InputSpec

SPECS = {
    "audio": InputSpec("float32", (None, None)),
    "audio_length": InputSpec("int32", (None,)),
    "video": InputSpec("uint8", (None, None, 4, 4, 1)),
    "video_mask": InputSpec("bool", (None, None)),
}
WORDS = {"text": InputSpec("object", (None,))}
FILES = {"wav": InputSpec("object", (None,)), "face_jpeg": InputSpec("object", (None, None))}
TOKENS = {"token_ids": InputSpec("int32", (None, None))}


def request(num_rows: int = 2, num_samples: int = 5, num_frames: int = 3, **changes: Any) -> Arrays:
    made: Arrays = {
        "audio": np.full((num_rows, num_samples), 0.5, np.float32),
        "audio_length": np.full(num_rows, num_samples, np.int32),
        "video": np.full((num_rows, num_frames, 4, 4, 1), 7, np.uint8),
        "video_mask": np.ones((num_rows, num_frames), bool),
    }
    return made | changes


def test_a_right_request_has_its_rows_counted() -> None:
    assert arrays.check_inputs(SPECS, request(3)) == 3
    assert arrays.check_inputs(WORDS, {"text": np.array([b"a", b""], object)}) == 2
    assert arrays.check_inputs(SPECS, request(1, num_samples=0, num_frames=0)) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"audio": np.zeros((2, 5))}, "audio: wants float32, received float64"),
        ({"audio": np.zeros(5, np.float32)}, r"audio: wants shape \(any, any\), received \(5\)"),
        (
            {"video": np.zeros((2, 3, 4, 5, 1), np.uint8)},
            r"video: wants shape \(any, any, 4, 4, 1\), received \(2, 3, 4, 5, 1\)",
        ),
        ({"audio_length": np.ones(3, np.int32)}, "differ in their number of rows .*length 3"),
        (
            {"audio": np.array([[0, 1], [0, np.nan]], np.float32)},
            "audio: wants finite numbers up to 1e\\+06, received nan in row 1",
        ),
        ({"audio": np.full((2, 5), -np.inf, np.float32)}, "received -inf in row 0"),
        ({"audio": np.full((2, 5), 2e6, np.float32)}, "received 2e\\+06 in row 0"),
        ({"audio_length": np.array([1, -1], np.int32)}, "wants 0 to 5, .*received -1 in row 1"),
        ({"audio_length": np.array([6, 1], np.int32)}, "wants 0 to 5, .*received 6 in row 0"),
        ({"video_mask": np.ones((2, 4), bool)}, "video_mask: wants 3 frames, .*received 4"),
        (
            {"video_mask": np.ones((2, 513), bool), "video": np.zeros((2, 513, 4, 4, 1), np.uint8)},
            "video: wants at most 512 frames a row, received 513",
        ),
        ({"other": np.zeros(2)}, "alias not found in signature: other. .*{audio,audio_length,vid"),
    ],
)
def test_a_wrong_request_is_refused_by_name(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ServingError, match=words) as caught:
        arrays.check_inputs(SPECS, request(**changes))
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert "\n" not in caught.value.message


def test_missing_inputs_and_no_rows_are_refused() -> None:
    short = request()
    del short["audio_length"], short["video"]
    with pytest.raises(ServingError, match=r"Missing but required: {audio_length,video}"):
        arrays.check_inputs(SPECS, short)
    with pytest.raises(ServingError, match="no rows"):
        arrays.check_inputs(WORDS, {"text": np.zeros(0, object)})
    with pytest.raises(ServingError, match=r"Sent extra: {x{64}}\."):
        arrays.check_inputs(WORDS, {"x" * 1000: np.zeros(1)})


def test_strings_are_bytes() -> None:
    with pytest.raises(ServingError, match="text: wants strings of bytes"):
        arrays.check_inputs(WORDS, {"text": np.array([b"a", "b"], object)})
    with pytest.raises(ServingError, match="text: wants string, received int64"):
        arrays.check_inputs(WORDS, {"text": np.array([1])})


def test_tokens_are_bounded() -> None:
    with pytest.raises(ServingError, match="token_ids: wants at most 4096 tokens"):
        arrays.check_inputs(TOKENS, {"token_ids": np.zeros((1, 4097), np.int32)})


# === Together and apart ===


def test_requests_are_padded_at_the_end_and_joined_in_order() -> None:
    joined = arrays.merge_requests(SPECS, [request(1, 2, 1), request(2, 4, 3)])
    assert arrays.check_inputs(SPECS, joined) == 3
    np.testing.assert_array_equal(joined["audio"][0], np.array([0.5, 0.5, 0, 0], np.float32))
    np.testing.assert_array_equal(joined["audio"][1:], np.full((2, 4), np.float32(0.5)))
    np.testing.assert_array_equal(joined["audio_length"], [2, 4, 4])
    np.testing.assert_array_equal(joined["video_mask"][0], [True, False, False])
    assert joined["video"].shape == (3, 3, 4, 4, 1) and joined["video"].dtype == np.uint8
    assert not joined["video"][0, 1:].any() and (joined["video"][1:] == 7).all()


def test_files_are_padded_with_nothing() -> None:
    some = [
        {"wav": np.array([b"w"], object), "face_jpeg": np.array([[b"a", b"b"]], object)},
        {"wav": np.array([b""], object), "face_jpeg": np.array([[b"c"]], object)},
    ]
    joined = arrays.merge_requests(FILES, some)
    assert joined["wav"].tolist() == [b"w", b""]
    assert joined["face_jpeg"].tolist() == [[b"a", b"b"], [b"c", b""]]


def test_empty_streams_get_one_filler() -> None:
    joined = arrays.merge_requests(SPECS, [request(1, num_samples=0, num_frames=0)])
    assert joined["audio"].shape == (1, 1)
    assert joined["video"].shape == (1, 1, 4, 4, 1)
    assert joined["video_mask"].tolist() == [[False]]


def test_a_request_alone_is_not_copied() -> None:
    alone = request()
    assert arrays.merge_requests(SPECS, [alone])["audio"] is alone["audio"]


def cost_bytes(specs: dict[str, InputSpec], *requests: Arrays) -> int:
    """Of a batch of checked requests."""
    sizes = [arrays.request_size(specs, one) for one in requests]
    return functools.reduce(arrays.RequestSize.merge, sizes).cost_bytes(specs)


def test_cost_counts_the_padding_and_the_frames() -> None:
    one, other = request(1, 10, 1), request(1, 1000, 1)
    apart = cost_bytes(SPECS, one) + cost_bytes(SPECS, other)
    assert cost_bytes(SPECS, one, other) - apart == 990 * 4
    longer = cost_bytes(SPECS, request(1, 10, 2))
    assert longer - cost_bytes(SPECS, one) == arrays.FRAME_BYTES + 1
    empty = {"wav": np.array([b""], object), "face_jpeg": np.full((1, 100), b"", object)}
    assert cost_bytes(FILES, empty) >= 100 * arrays.FRAME_BYTES


def test_names_alone_can_be_judged() -> None:
    arrays.check_names(WORDS, ["text"])
    with pytest.raises(ServingError, match=r"Sent extra: {wav}\. Missing but required: {text}\."):
        arrays.check_names(WORDS, ["wav"])


def test_pieces_hold_all_rows_once() -> None:
    whole = request(5, audio_length=np.arange(5, dtype=np.int32))
    cut = arrays.split_rows(whole, 2)
    assert [arrays.num_rows_of(piece) for piece in cut] == [2, 2, 1]
    again = arrays.merge_requests(SPECS, cut)
    for name, value in whole.items():
        np.testing.assert_array_equal(again[name], value)
