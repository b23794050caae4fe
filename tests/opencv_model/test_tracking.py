"""Square crops, and which face is followed."""

from __future__ import annotations

import numpy as np
import pytest

from affectstream.opencv_model.crops import square_crop
from affectstream.opencv_model.detectors.detector import FaceBox
from affectstream.opencv_model.tracking import CropFormat, FaceTracker, assign_boxes


def box_at(x: float, y: float, side: float = 20.0) -> FaceBox:
    return FaceBox(x, y, side, side, 1.0)


def gradient(height_px: int = 60, width_px: int = 100) -> np.ndarray:
    """(H, W, 3) uint8 whose red is the column, green the row, blue 200."""
    picture = np.full((height_px, width_px, 3), 200, np.uint8)
    picture[..., 0] = np.arange(width_px)
    picture[..., 1] = np.arange(height_px)[:, None]
    return picture


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
    last_boxes = [box_at(0, 0), box_at(10, 0)]
    assert assign_boxes(last_boxes, [box_at(9, 0), box_at(4, 0)]) == [1, 0]
    assert assign_boxes(last_boxes, [box_at(15, 0), box_at(11, 0)]) == [None, 1]
    assert assign_boxes(last_boxes, [box_at(90, 0)]) == [None]
    assert assign_boxes([], [box_at(0, 0)]) == [None]
    assert assign_boxes(last_boxes, []) == []


def test_crop_format_gives_the_channels_it_promises() -> None:
    for color, channels in (("rgb", 3), ("grey", 1)):
        crop_format = CropFormat(16, color)  # type: ignore[arg-type]
        assert crop_format.num_channels == channels
        assert crop_format.crop(gradient(), box_at(10, 10)).shape == (16, 16, channels)
