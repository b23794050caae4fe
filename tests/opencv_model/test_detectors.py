"""Contract of every face detector in the registry, and each one's own peculiarities."""

from __future__ import annotations

import itertools
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.opencv_model.detectors.auto_detector import (
    AUTO_ORDER,
    open_detector,
    resolve_auto,
)
from affectstream.opencv_model.detectors.detector import (
    SMALLEST_SIDE_PX,
    FaceBox,
    FaceDetector,
    limit_image_size,
)
from affectstream.opencv_model.detectors.resnet_ssd import ResNetSsdDetector
from affectstream.opencv_model.weights import CACHE_VARIABLE
from tests import ROOT

pytestmark = pytest.mark.slow

DETECTORS = registry.names("detectors")
NEEDING_WEIGHTS = [name for name in DETECTORS if name != "haar"]


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))


@pytest.fixture(scope="module", params=DETECTORS)
def detector(request: pytest.FixtureRequest) -> Iterator[FaceDetector]:
    folder = None
    if registry.load("detectors", request.param).needs_weights:
        folder = request.getfixturevalue("real_models") / "face"
    with open_detector(request.param, folder, download=False) as opened:
        yield opened


@pytest.fixture(scope="module")
def stills(real_data: Path) -> list[np.ndarray]:
    paths = sorted((real_data / "ravdess_stills").glob("*.png"))
    return [cv2.cvtColor(read_bgr(path), cv2.COLOR_BGR2RGB) for path in paths]


def read_bgr(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path))
    assert picture is not None
    return picture


def frames_of(path: Path, step: int) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        frames = itertools.islice(container.decode(video=0), 0, None, step)
        return [frame.to_ndarray(format="rgb24") for frame in frames]


def drawn_face(width_px: int = 640, height_px: int = 360) -> np.ndarray:
    """(height, width) uint8 grey: a face of ellipses, about half as high as the picture."""
    picture = np.full((height_px, width_px), 150, np.uint8)
    side, x_centre, y_centre = height_px * 2 / 3, width_px * 0.35, height_px / 2

    def ellipse(x: float, y: float, a: float, b: float, value: int) -> None:
        centre = (round(x_centre + x * side), round(y_centre + y * side))
        axes = (round(a * side), round(b * side))
        cv2.ellipse(picture, centre, axes, 0, 0, 360, value, -1, cv2.LINE_AA)

    ellipse(0, 0, 0.28, 0.38, 190)
    ellipse(0, -0.36, 0.28, 0.12, 40)
    for sign in (-1, 1):
        ellipse(sign * 0.12, -0.1, 0.09, 0.045, 110)
        ellipse(sign * 0.12, -0.09, 0.05, 0.025, 70)
        ellipse(sign * 0.12, -0.16, 0.08, 0.018, 60)
    ellipse(0, 0.03, 0.03, 0.1, 215)
    ellipse(0, 0.11, 0.05, 0.02, 140)
    ellipse(0, 0.2, 0.11, 0.03, 100)
    return cv2.GaussianBlur(picture, (0, 0), side / 80)


# === Box ===


def test_box_overlap_and_clipping() -> None:
    box = FaceBox(10, 20, 30, 40, 0.5)
    assert box.area == 1200
    assert box.iou(box) == 1.0
    assert box.iou(FaceBox(25, 20, 30, 40, 1.0)) == pytest.approx(15 / 45)
    assert box.iou(FaceBox(100, 100, 5, 5, 1.0)) == 0.0
    assert FaceBox(0, 0, 0, 0, 1).iou(FaceBox(0, 0, 0, 0, 1)) == 0.0
    assert FaceBox(-5, -5, 20, 20, 0.5).clipped(10, 8) == FaceBox(0, 0, 10, 8, 0.5)
    assert FaceBox(50, 50, 20, 20, 0.5).clipped(10, 8).area == 0
    assert box.scaled(2, 0.5) == FaceBox(20, 10, 60, 20, 0.5)


def test_reduction_keeps_the_shape_and_never_enlarges() -> None:
    assert limit_image_size(np.zeros((720, 1280, 3), np.uint8), 320).shape == (180, 320, 3)
    assert limit_image_size(np.zeros((1000, 3), np.uint8), 320).shape == (320, 1)
    assert limit_image_size(np.zeros((48, 48), np.uint8), 320).shape == (48, 48)


# === Contract without real data (every detector whose files are at hand) ===


def test_table_is_complete() -> None:
    assert set(DETECTORS) == {"haar", "resnet_ssd", "yunet", "blazeface"} == set(AUTO_ORDER)
    for name in DETECTORS:
        assert registry.load("detectors", name).name == name


def test_nothing_in_noise_or_flat_pictures(detector: FaceDetector) -> None:
    rng = np.random.default_rng(0)
    for _ in range(8):
        assert detector.detect(rng.integers(0, 256, (360, 640, 3), dtype=np.uint8)) == []
    for value in (0, 128, 255):
        assert detector.detect(np.full((360, 640, 3), value, np.uint8)) == []


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (5, 3, 3), (2, 900, 3), (900, 2), (33, 31), (30, 400)]
)
def test_small_and_odd_pictures_do_no_harm(detector: FaceDetector, shape: tuple[int, ...]) -> None:
    assert detector.detect(np.full(shape, 100, np.uint8)) == []


def test_strips_are_not_searched(detector: FaceDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = FaceBox(0, 0, 5, 5, 0.9)
    monkeypatch.setattr(detector, "_find", lambda picture: [whole])
    assert detector.detect(np.zeros((SMALLEST_SIDE_PX - 1, 200, 3), np.uint8)) == []
    assert detector.detect(np.zeros((1000, SMALLEST_SIDE_PX, 3), np.uint8)) == []
    assert detector.detect(np.zeros((SMALLEST_SIDE_PX, 320, 3), np.uint8)) == [whole]


def test_small_pictures_are_enlarged_for_the_search(
    detector: FaceDetector, monkeypatch: pytest.MonkeyPatch
) -> None:
    searched = []

    def found(picture: np.ndarray) -> list[FaceBox]:
        searched.append(picture.shape[:2])
        return [FaceBox(40, 20, 80, 80, 0.9)]

    monkeypatch.setattr(detector, "_find", found)
    assert detector.detect(np.zeros((40, 80, 3), np.uint8)) == [FaceBox(10, 5, 20, 20, 0.9)]
    reduced = np.zeros((40, 80), np.uint8)
    assert detector.detect_reduced(reduced, 640, 320) == [FaceBox(80, 40, 160, 160, 0.9)]
    assert searched == [(160, 320), (160, 320)]


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((10, 10, 3), np.float32),
        np.zeros((10, 10, 4), np.uint8),
        np.zeros((0, 10, 3), np.uint8),
        np.zeros(10, np.uint8),
    ],
)
def test_what_is_no_picture_is_refused(detector: FaceDetector, picture: np.ndarray) -> None:
    with pytest.raises(ValueError, match="received"):
        detector.detect(picture)


def test_threads_of_the_caller_stay(detector: FaceDetector) -> None:
    before = cv2.getNumThreads()
    try:
        cv2.setNumThreads(1)
        detector.detect(np.zeros((90, 160, 3), np.uint8))
        assert cv2.getNumThreads() == 1
    finally:
        cv2.setNumThreads(before)


@pytest.mark.parametrize("size", [(640, 360), (1280, 720)])
def test_haar_finds_a_drawn_face_and_answers_in_full_pixels(size: tuple[int, int]) -> None:
    width_px, height_px = size
    picture = drawn_face(*size)
    scale = height_px / 360
    expected = FaceBox(130 * scale, 87 * scale, 188 * scale, 188 * scale, 1.0)
    with open_detector("haar") as haar:
        (box,) = haar.detect(picture)
        assert box.iou(expected) > 0.8
        (rgb_box,) = haar.detect(cv2.cvtColor(picture, cv2.COLOR_GRAY2RGB))
        assert rgb_box == box
        small = limit_image_size(picture, 320)
        assert haar.detect_reduced(small, width_px, height_px) == [box]
        right = np.concatenate([picture[:, width_px // 2 :], picture[:, : width_px // 2]], axis=1)
        assert all(found.iou(box) < 0.5 for found in haar.detect(right))


def test_unknown_detector_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UserError, match=r"no detectors named 'dlib'; known: .*haar"):
        open_detector("dlib")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("yunet", ("face_detection_yunet_test.onnx",)),
        ("blazeface", ("blaze_face_test.tflite",)),
        ("resnet_ssd", ("opencv_face_detector_test.pb", "opencv_face_detector_test.pbtxt")),
        ("resnet_ssd", ("res10_300x300_ssd_test.caffemodel", "deploy.prototxt")),
    ],
)
def test_damaged_weights_are_one_line(
    name: str, files: tuple[str, ...], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for file in files:
        (tmp_path / file).write_bytes(b"not a network " * 50)
    with pytest.raises(UserError, match=f"{files[0]}: .* cannot read this") as caught:
        open_detector(name, tmp_path, download=False)
    assert "\n" not in str(caught.value)


# === Caffe form ===

TINY_LAYERS = """
layer { name: "pool" type: "Pooling" bottom: "data" top: "pool"
        pooling_param { pool: AVE global_pooling: true } }
layer { name: "slice" type: "Slice" bottom: "pool" top: "b" top: "g" top: "r"
        slice_param { axis: 1 slice_point: 1 slice_point: 2 } }
"""


def tiny_caffe_net(folder: Path, row: tuple[float, ...]) -> None:
    """A Caffe network that answers one fixed row, scored by the blue mean it was fed."""
    lines = ['name: "tiny"', 'input: "data"', "input_dim: 1", "input_dim: 3"]
    lines += ["input_dim: 300", "input_dim: 300", TINY_LAYERS]
    for index, value in enumerate(row):
        lines.append(
            f'layer {{ name: "v{index}" type: "Power" bottom: "b" top: "v{index}" '
            f"power_param {{ power: 1 scale: {0.01 if index == 2 else 0} shift: {value} }} }}"
        )
    bottoms = " ".join(f'bottom: "v{index}"' for index in range(7))
    lines.append(f'layer {{ name: "all" type: "Concat" {bottoms} top: "all" }}')
    (folder / "deploy.prototxt").write_text("\n".join(lines))
    (folder / "res10_300x300_ssd_tiny.caffemodel").write_bytes(b"\x0a\x04tiny")


def test_caffe_form_is_opened_and_fed_bgr_less_its_mean(tmp_path: Path) -> None:
    tiny_caffe_net(tmp_path, (0, 1, 0.0, 0.25, 0.5, 0.75, 1.5))
    with open_detector("resnet_ssd", tmp_path, download=False) as detector:
        assert detector.paths[0].suffix == ".caffemodel"
        blue = np.zeros((100, 200, 3), np.uint8)
        blue[..., 2] = 194
        (box,) = detector.detect(blue)
        assert box.score == pytest.approx((194 - 104) * 0.01, abs=1e-5)
        assert (box.x, box.y, box.width, box.height) == pytest.approx((50, 50, 100, 50))
        assert detector.detect(blue[..., ::-1]) == []


# === Contract on real stills and clips ===


@pytest.mark.real
def test_every_still_has_its_one_face(detector: FaceDetector, stills: list[np.ndarray]) -> None:
    assert len(stills) == 20
    for still in stills:
        boxes = detector.detect(still)
        assert len(boxes) == 1
        box = boxes[0]
        assert min(box.x, box.y) >= 0
        assert 0 <= box.score <= 1
        assert box.x + box.width <= 398 and box.y + box.height <= 224
        assert 0.15 < box.width / 398 < 0.45
        assert 0.35 < (box.x + box.width / 2) / 398 < 0.65
        assert detector.detect(still) == boxes


@pytest.mark.real
def test_grey_and_enlarged_stills_give_the_same_face(
    detector: FaceDetector, stills: list[np.ndarray]
) -> None:
    for still in stills[::4]:
        (box,) = detector.detect(still)
        (grey,) = detector.detect(cv2.cvtColor(still, cv2.COLOR_RGB2GRAY))
        assert grey.iou(box) > 0.7
        large = cv2.resize(still, (1280, 720), interpolation=cv2.INTER_CUBIC)
        (found,) = detector.detect(large)
        assert found.scaled(398 / 1280, 224 / 720).iou(box) > 0.7
        small = limit_image_size(large, detector.max_side_px)
        assert detector.detect_reduced(small, 1280, 720) == [found]


@pytest.mark.real
def test_stills_of_64_px_have_the_same_face(
    detector: FaceDetector, stills: list[np.ndarray]
) -> None:
    for still in stills:
        (box,) = detector.detect(still)
        small = cv2.resize(still, (64, 36), interpolation=cv2.INTER_AREA)
        (found,) = detector.detect(small)
        assert found.scaled(398 / 64, 224 / 36).iou(box) > 0.5


@pytest.mark.real
def test_two_faces_come_largest_first(detector: FaceDetector, stills: list[np.ndarray]) -> None:
    picture = np.concatenate([stills[1][:, 60:320], stills[0][:, 100:300]], axis=1)
    half = cv2.resize(stills[1][:, 60:320], None, fx=0.75, fy=0.75)
    picture[:, :260] = 128
    picture[: half.shape[0], : half.shape[1]] = half
    first, second = detector.detect(picture)
    assert first.area > second.area
    assert first.x > second.x


@pytest.mark.real
def test_no_face_where_none_is(detector: FaceDetector, real_data: Path) -> None:
    for frame in frames_of(real_data / "clips" / "pyfeat_no_face.mp4", 3):
        assert detector.detect(frame) == []


@pytest.mark.real
def test_a_face_that_leaves_is_lost_and_never_invented(
    detector: FaceDetector, real_data: Path
) -> None:
    frames = frames_of(real_data / "clips" / "pyfeat_face_noface.mov", 10)
    found = [bool(detector.detect(frame)) for frame in frames]
    assert all(found[:6])
    assert not any(found[9:])


@pytest.mark.real
def test_detectors_agree(real_models: Path, stills: list[np.ndarray]) -> None:
    detectors = [open_detector(n, real_models / "face", download=False) for n in DETECTORS]
    for still in stills[::3]:
        boxes = {detector.name: detector.detect(still)[0] for detector in detectors}
        for (one, box), (other, other_box) in itertools.combinations(boxes.items(), 2):
            assert box.iou(other_box) > 0.5, (one, other)
    for detector in detectors:
        detector.close()


# === Processes ===


def open_and_detect(name: str, folder: Path, picture: np.ndarray) -> tuple[list[FaceBox], bool]:
    with open_detector(name, folder, download=False) as detector:
        return detector.detect(picture), "tensorflow" in sys.modules


@pytest.mark.real
def test_spawned_workers_find_the_same_without_tensorflow(
    real_models: Path, stills: list[np.ndarray]
) -> None:
    folder = real_models / "face"
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        jobs = [(name, folder, stills[0]) for name in DETECTORS]
        answers = dict(zip(DETECTORS, pool.starmap(open_and_detect, jobs), strict=True))
    for name, (boxes, has_tensorflow) in answers.items():
        assert not has_tensorflow
        with open_detector(name, folder, download=False) as detector:
            assert detector.detect(stills[0]) == boxes


@pytest.mark.real
@pytest.mark.parametrize("ending", ["d.close()", "d.close(); d.close()", ""])
def test_blazeface_says_nothing_on_standard_error(real_models: Path, ending: str) -> None:
    code = (
        "import numpy as np, sys\n"
        "from affectstream.opencv_model.detectors.auto_detector import open_detector\n"
        "d = open_detector('blazeface', sys.argv[1], download=False)\n"
        f"d.detect(np.zeros((180, 320, 3), np.uint8)); print('heard', file=sys.stderr)\n{ending}"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(real_models / "face")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
    )
    assert done.stderr == "heard\n"


# === auto ===


def test_auto_without_weights_is_haar_and_says_why(tmp_path: Path) -> None:
    choice = resolve_auto(tmp_path)
    assert choice.name == "haar"
    assert "yunet" in choice.reason
    assert "resnet_ssd" in choice.reason


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (("face_detection_yunet_x.onnx", "blaze_face_x.tflite"), "yunet"),
        (("blaze_face_x.tflite", "opencv_face_detector.pbtxt"), "blazeface"),
        (("opencv_face_detector_x.pb", "opencv_face_detector.pbtxt"), "resnet_ssd"),
        (("opencv_face_detector_x.pb",), "haar"),
        (("res10_300x300_ssd_x.caffemodel", "deploy.prototxt"), "resnet_ssd"),
    ],
)
def test_auto_takes_the_best_complete_one(
    files: tuple[str, ...], expected: str, tmp_path: Path
) -> None:
    for file in files:
        (tmp_path / file).write_bytes(b"x")
    choice = resolve_auto(tmp_path)
    assert choice.name == expected
    if expected != "haar":
        assert str(tmp_path) in choice.reason


def test_auto_does_not_pass_over_wrong_weights(tmp_path: Path) -> None:
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"x")
    with pytest.raises(UserError, match="wrong checksum"):
        resolve_auto(tmp_path)


def test_auto_without_mediapipe_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "blaze_face_x.tflite").write_bytes(b"x")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    choice = resolve_auto(tmp_path)
    assert choice.name == "haar"
    assert "MediaPipe is not installed" in choice.reason


@pytest.mark.real
def test_auto_opens_yunet_where_all_weights_are(real_models: Path) -> None:
    with open_detector("auto", real_models / "face") as detector:
        assert detector.name == "yunet"


def test_opencv_without_cascades_or_caffe_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(cv2, "data")
    with pytest.raises(UserError, match="below 5"):
        open_detector("haar")
    monkeypatch.delattr(cv2.dnn, "readNetFromCaffe")
    with pytest.raises(UserError, match="below 5"):
        ResNetSsdDetector((tmp_path / "a.caffemodel", tmp_path / "a.prototxt"))
