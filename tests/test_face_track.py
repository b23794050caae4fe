"""Square crops, which face is followed, and tracks with frames that have no face."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from opencv_model.choose import open_detector
from opencv_model.crop import square_crop
from opencv_model.detector import FaceBox, FaceDetector
from opencv_model.track import (
    CropFormat,
    FaceTracker,
    all_face_tracks,
    assign_boxes,
    face_track,
)


def box_at(x: float, y: float, side: float = 20.0) -> FaceBox:
    return FaceBox(x, y, side, side, 1.0)


def gradient(height_px: int = 60, width_px: int = 100) -> np.ndarray:
    """(H, W, 3) uint8 whose red is the column, green the row, blue 200."""
    picture = np.full((height_px, width_px, 3), 200, np.uint8)
    picture[..., 0] = np.arange(width_px)
    picture[..., 1] = np.arange(height_px)[:, None]
    return picture


class Scripted(FaceDetector):
    """Answers given boxes, a list a frame; the frame's first pixel says which frame it is."""

    name = "scripted"

    def __init__(self, script: Sequence[Sequence[FaceBox]]) -> None:
        super().__init__((), 1000)
        self._script = script

    def _find(self, picture: np.ndarray) -> list[FaceBox]:
        return list(self._script[picture[0, 0, 0]])


def numbered_frames(num_frames: int, shape: tuple[int, ...] = (60, 100, 3)) -> list[np.ndarray]:
    frames = [np.full(shape, 50, np.uint8) for _ in range(num_frames)]
    for index, frame in enumerate(frames):
        frame[0, 0] = index
    return frames


# === Crop ===


def test_crop_at_its_own_size_is_the_very_pixels() -> None:
    picture = gradient()
    crop = square_crop(picture, FaceBox(30, 20, 10, 8, 1.0), margin=0.5, size_px=20)
    np.testing.assert_array_equal(crop, picture[14:34, 25:45])
    assert crop.flags.c_contiguous
    assert not np.shares_memory(crop, picture)


@pytest.mark.parametrize("size_px", [8, 20, 64])
@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_crop_is_square_around_the_centre_at_any_size(size_px: int, margin: float) -> None:
    crop = square_crop(gradient(), FaceBox(40, 24, 20, 12, 1.0), margin, size_px)
    assert crop.shape == (size_px, size_px, 3)
    assert crop.dtype == np.uint8
    assert crop[..., 0].mean() == pytest.approx(49.5, abs=0.6)
    assert crop[..., 1].mean() == pytest.approx(29.5, abs=0.6)
    side = 20 * (1 + 2 * margin)
    assert np.ptp(crop[..., 0].astype(int)) == pytest.approx(side, abs=side / size_px + 1)


def test_crop_repeats_the_edge_outside_the_picture() -> None:
    crop = square_crop(gradient(), FaceBox(-10, -5, 30, 30, 1.0), margin=0.0, size_px=30)
    assert (crop[:, :10, 0] == 0).all()
    assert (crop[:5, :, 1] == 0).all()
    np.testing.assert_array_equal(crop[5:, 10:, 0], gradient()[:25, :20, 0])
    far = square_crop(gradient(), FaceBox(95, 55, 30, 30, 1.0), margin=0.0, size_px=30)
    assert far[-1, -1].tolist() == [99, 59, 200]
    assert (far[5:, 5:] == far[-1, -1]).all()


def test_crop_in_grey_and_of_grey() -> None:
    box = FaceBox(30, 20, 16, 16, 1.0)
    grey = square_crop(gradient(), box, 0.0, 16, "grey")
    assert grey.shape == (16, 16)
    red, green, blue = (gradient()[20:36, 30:46, i].astype(float) for i in range(3))
    expected = 0.299 * red + 0.587 * green + 0.114 * blue
    np.testing.assert_allclose(grey, expected, atol=1)
    picture = gradient()[..., 0].copy()
    np.testing.assert_array_equal(square_crop(picture, box, 0.0, 16, "grey"), picture[20:36, 30:46])
    colored = square_crop(picture, box, 0.0, 16, "rgb")
    np.testing.assert_array_equal(colored, np.repeat(picture[20:36, 30:46, None], 3, axis=2))


def test_crop_of_a_speck_and_wrong_arguments() -> None:
    assert square_crop(gradient(), FaceBox(5, 5, 0.1, 0.1, 1.0), 0.0, 8).shape == (8, 8, 3)
    with pytest.raises(ValueError, match=r"received -0\.1 and 8"):
        square_crop(gradient(), box_at(5, 5), -0.1, 8)
    with pytest.raises(ValueError, match="received 0 and 0"):
        square_crop(gradient(), box_at(5, 5), 0, 0)


# === Tracker ===


def test_largest_takes_the_largest_of_each_frame() -> None:
    tracker = FaceTracker("largest")
    small, large = box_at(0, 0, 10), box_at(50, 0, 30)
    assert tracker.choose([large, small]) == large
    assert tracker.choose([small]) == small
    assert tracker.choose([]) is None
    assert tracker.choose([small, large]) == large


def test_tracked_goes_on_with_its_face_though_another_grows() -> None:
    tracker = FaceTracker("tracked")
    assert tracker.choose([box_at(0, 0, 20), box_at(60, 0, 10)]) == box_at(0, 0, 20)
    assert tracker.choose([box_at(60, 0, 40), box_at(2, 1, 19)]) == box_at(2, 1, 19)
    assert tracker.choose([]) is None
    assert tracker.choose([box_at(60, 0, 40), box_at(4, 2, 18)]) == box_at(4, 2, 18)
    assert tracker.choose([box_at(60, 0, 40), box_at(30, 30, 18)]) == box_at(60, 0, 40)
    tracker.reset()
    assert tracker.choose([box_at(60, 0, 10), box_at(4, 2, 30)]) == box_at(4, 2, 30)


def test_unknown_mode_is_refused() -> None:
    with pytest.raises(ValueError, match="received 'first'"):
        FaceTracker("first")  # type: ignore[arg-type]


def test_boxes_are_assigned_once_each_best_overlap_first() -> None:
    lasts = [box_at(0, 0), box_at(10, 0)]
    assert assign_boxes(lasts, [box_at(9, 0), box_at(4, 0)]) == [1, 0]
    assert assign_boxes(lasts, [box_at(15, 0), box_at(11, 0)]) == [None, 1]
    assert assign_boxes(lasts, [box_at(90, 0)]) == [None]
    assert assign_boxes([], [box_at(0, 0)]) == [None]
    assert assign_boxes(lasts, []) == []


# === Track ===


@pytest.mark.parametrize(("color", "channels"), [("rgb", 3), ("grey", 1)])
def test_frames_without_a_face_are_masked_zeros_in_their_place(color: str, channels: int) -> None:
    script = [[box_at(10, 10)], [], [box_at(12, 10)], []]
    crop_format = CropFormat(16, color)  # type: ignore[arg-type]
    track = face_track(numbered_frames(4), Scripted(script), FaceTracker(), crop_format)
    assert track.crops.shape == (4, 16, 16, channels)
    assert track.crops.dtype == np.uint8
    assert track.mask.tolist() == [True, False, True, False]
    assert (track.num_found, track.num_missing, track.coverage) == (2, 2, 0.5)
    assert (track.crops[[1, 3]] == 0).all()
    assert (track.crops[[0, 2]] == 50).all()
    assert track.boxes.dtype == np.float32
    assert track.boxes.tolist() == [[10, 10, 20, 20], [0] * 4, [12, 10, 20, 20], [0] * 4]


@pytest.mark.parametrize("num_frames", [0, 3])
def test_no_face_at_all_and_no_frames(num_frames: int) -> None:
    detector = Scripted([[]] * 3)
    track = face_track(numbered_frames(num_frames), detector, FaceTracker(), CropFormat(8))
    assert track.crops.shape == (num_frames, 8, 8, 3)
    assert track.coverage == 0.0
    assert not track.mask.any()
    assert all_face_tracks(numbered_frames(num_frames), detector, CropFormat(8)) == []


def test_reduced_frames_are_searched_and_full_ones_cropped() -> None:
    detector = Scripted([[box_at(10, 5, 10)], [box_at(10, 5, 10)]])
    full = [np.full((120, 200, 3), 90, np.uint8) for _ in range(2)]
    small = numbered_frames(2, (60, 100, 3))
    track = face_track(iter(full), detector, FaceTracker(), CropFormat(8), reduced=iter(small))
    assert track.boxes[0].tolist() == [20, 10, 20, 20]
    assert (track.crops == 90).all()
    with pytest.raises(ValueError, match="equally many"):
        face_track(full, detector, FaceTracker(), CropFormat(8), reduced=small[:1])


def test_tracker_starts_afresh_for_each_clip() -> None:
    tracker = FaceTracker()
    face_track(numbered_frames(1), Scripted([[box_at(60, 10, 10)]]), tracker, CropFormat(8))
    both = Scripted([[box_at(60, 10, 10), box_at(10, 10, 30)]])
    track = face_track(numbered_frames(1), both, tracker, CropFormat(8))
    assert track.boxes[0].tolist() == [10, 10, 30, 30]


def test_all_faces_are_followed_apart_largest_first() -> None:
    left = [box_at(2 + i, 10, 16) for i in range(4)]
    right = [box_at(60 - i, 10, 24) for i in range(4)]
    script = [[right[0], left[0]], [left[1]], [left[2], right[2]], [right[3], left[3]]]
    first, second = all_face_tracks(numbered_frames(4), Scripted(script), CropFormat(8))
    assert first.mask.tolist() == [True, False, True, True]
    assert second.mask.tolist() == [True] * 4
    assert first.boxes[:, 0].tolist() == [60, 0, 58, 57]
    assert second.boxes[:, 0].tolist() == [2, 3, 4, 5]


def test_passing_faces_are_left_out_by_share() -> None:
    script = [[box_at(10, 10)] + ([box_at(60, 10)] if i == 3 else []) for i in range(20)]
    detector = Scripted(script)
    assert len(all_face_tracks(numbered_frames(20), detector, CropFormat(8))) == 1
    assert len(all_face_tracks(numbered_frames(20), detector, CropFormat(8), min_share=0.0)) == 2


# === Real clip ===


@pytest.mark.real
def test_face_that_leaves_the_picture_is_masked_from_there(real_data: Path) -> None:
    with av.open(str(real_data / "clips" / "pyfeat_face_noface.mov")) as container:
        decoded = itertools.islice(container.decode(video=0), 0, None, 10)
        frames = [frame.to_ndarray(format="rgb24") for frame in decoded]
    with open_detector("haar") as haar:
        track = face_track(frames, haar, FaceTracker(), CropFormat(48, "grey"))
    assert len(track.mask) == len(frames) == 17
    assert track.mask[:6].all()
    assert not track.mask[9:].any()
    assert track.crops[:6].std(axis=(1, 2, 3)).min() > 10
    assert 0.3 < track.coverage < 0.6
