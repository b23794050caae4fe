"""The sample corpus: deterministic, well-formed, found by the face detectors, marked synthetic."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from affectstream.core.errors import UserError
from affectstream.preprocessing.synthetic.corpus import ClipPlan, render, synthesize
from affectstream.preprocessing.synthetic.emotions import EMOTIONS, FACE, VOICE, mix, sample_take
from affectstream.preprocessing.synthetic.speakers import make_speaker

pytestmark = pytest.mark.slow

NUM_SPEAKERS, DURATION_S = 2, 2.0
# Where the head rests in the frame, pixels; its middle wanders by about 10.
MIDDLE_X, MIDDLE_Y, REACH = 240, 180, 45


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("sample") / "corpus"
    synthesize(out, num_speakers=NUM_SPEAKERS, num_takes=1, seed=3, duration_s=DURATION_S)
    return out


def decode(path: Path) -> tuple[list[np.ndarray], np.ndarray]:
    """Frames (RGB) and waveform of a file."""
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        sound = [frame.to_ndarray()[0] for frame in container.decode(audio=0)]
    return frames, np.concatenate(sound)


@pytest.fixture(scope="module")
def sampled_frames(corpus: Path) -> list[np.ndarray]:
    """Three frames of each clip, RGB."""
    frames = []
    for path in sorted(corpus.rglob("*.mp4")):
        clip, _ = decode(path)
        frames += [clip[i] for i in np.linspace(0, len(clip) - 1, 3).astype(int)]
    return frames


def is_right(box: Sequence[float]) -> bool:
    x, y, width, height = (float(value) for value in box[:4])
    near = abs(x + width / 2 - MIDDLE_X) < REACH and abs(y + height / 2 - MIDDLE_Y) < REACH
    return near and 110 < width < 260


# === Names, tracks, marks ===


def test_names_follow_ravdess(corpus: Path) -> None:
    paths = sorted(corpus.rglob("*.mp4"))
    assert len(paths) == NUM_SPEAKERS * len(EMOTIONS)
    seen = set()
    for path in paths:
        fields = path.stem.split("-")
        modality, channel, emotion, intensity, statement, repetition, actor = fields
        assert (modality, channel, intensity, repetition) == ("01", "01", "01", "01")
        assert statement in ("01", "02")
        assert path.parent.name == f"Actor_{actor}"
        seen.add((actor, emotion))
    codes = {"01", "03", "04", "05", "06", "07", "08"}
    assert seen == {(actor, code) for actor in ("01", "02") for code in codes}
    assert (corpus / "Actor_01" / "01-01-03-01-01-01-01.mp4").is_file()


def test_four_takes_are_four_valid_names() -> None:
    names = {ClipPlan(0, 5, "sad", take, 3.0).name for take in (1, 2, 3, 4)}
    assert names == {
        f"Actor_05/01-01-04-01-{statement}-{repetition}-05.mp4"
        for statement in ("01", "02")
        for repetition in ("01", "02")
    }


def test_tracks_of_a_file(corpus: Path) -> None:
    path = corpus / "Actor_02" / "01-01-05-01-02-01-02.mp4"
    with av.open(str(path)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        assert video.codec_context.pix_fmt == "yuv420p"
        assert (video.average_rate, audio.rate, audio.channels) == (25, 48_000, 1)
        assert "synthetic" in container.metadata["title"]
        assert container.metadata["comment"].startswith("synthetic; generator version")
    frames, waveform = decode(path)
    assert len(frames) == DURATION_S * 25
    assert frames[0].shape == (360, 480, 3)
    assert len(waveform) / 48_000 == pytest.approx(DURATION_S, abs=0.05)
    speech, drawn = render(ClipPlan(3, 2, "angry", 1, DURATION_S))
    assert np.abs(frames[0].astype(int) - next(drawn).astype(int)).mean() < 4
    length = min(len(waveform), len(speech.waveform))
    assert np.corrcoef(waveform[:length], speech.waveform[:length])[0, 1] > 0.98


def test_silence_speech_silence(corpus: Path) -> None:
    for emotion in EMOTIONS:
        speech, _ = render(ClipPlan(3, 1, emotion, 1, 3.0))
        wave = speech.waveform
        assert wave.dtype == np.float32
        assert np.abs(wave).max() < 1
        level = np.sqrt((wave.reshape(-1, 4800) ** 2).mean(1))
        assert level[[0, 1, -1, -2]].max() < 0.004
        assert level.max() > 8 * level[[0, 1, -1, -2]].max()
        assert 1.0 < (level > 0.1 * level.max()).sum() * 0.1 < 2.7


def test_says_that_it_is_synthetic(corpus: Path) -> None:
    readme = (corpus / "README.txt").read_text(encoding="utf-8")
    assert readme.startswith("SYNTHETIC")
    assert "no person was recorded" in readme
    assert "2 speakers x 7 emotions x 1 takes of 2 s" in readme
    about = json.loads((corpus / "SYNTHETIC.json").read_text(encoding="utf-8"))
    assert about["synthetic"] is True
    assert (about["seed"], about["num_speakers"], about["num_takes"]) == (3, 2, 1)


# === Determinism and resuming ===


def test_same_seed_same_content() -> None:
    plan = ClipPlan(9, 1, "happy", 1, 2.0)
    (speech, frames), (again, frames_again) = render(plan), render(plan)
    np.testing.assert_array_equal(speech.waveform, again.waveform)
    for frame, frame_again in zip(frames, frames_again, strict=True):
        np.testing.assert_array_equal(frame, frame_again)
    other, other_frames = render(ClipPlan(10, 1, "happy", 1, 2.0))
    assert not np.array_equal(speech.waveform, other.waveform)
    assert not np.array_equal(frame, next(other_frames))


@pytest.fixture
def two_emotions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes a corpus of two files a speaker, which is enough to see what is kept."""
    monkeypatch.setattr("affectstream.preprocessing.synthetic.corpus.EMOTIONS", EMOTIONS[:2])


@pytest.mark.usefixtures("two_emotions")
def test_two_runs_write_equal_bytes_and_progress(corpus: Path, tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    paths = synthesize(
        tmp_path,
        1,
        1,
        seed=3,
        duration_s=DURATION_S,
        progress=lambda *counts: calls.append(counts),
    )
    assert calls == [(1, 2), (2, 2)]
    for path in paths:
        assert path.read_bytes() == (corpus / path.relative_to(tmp_path)).read_bytes()


@pytest.mark.usefixtures("two_emotions")
def test_resumes_and_keeps_complete_files(tmp_path: Path) -> None:
    first, second = synthesize(tmp_path, 1, 1, duration_s=2.0)
    kept, again = first.stat().st_mtime_ns, second.read_bytes()
    second.unlink()
    leftover = second.with_name(second.stem + ".part-0123abcd.mp4")
    leftover.write_bytes(b"half a file")
    assert synthesize(tmp_path, 1, 1, duration_s=2.0) == [first, second]
    assert first.stat().st_mtime_ns == kept
    assert second.read_bytes() == again
    assert not leftover.exists()


@pytest.mark.usefixtures("two_emotions")
def test_other_seed_replaces_files(tmp_path: Path) -> None:
    first, _ = synthesize(tmp_path, 1, 1, seed=0, duration_s=2.0)
    before = first.read_bytes()
    synthesize(tmp_path, 1, 1, seed=1, duration_s=2.0)
    assert first.read_bytes() != before
    assert json.loads((tmp_path / "SYNTHETIC.json").read_text(encoding="utf-8"))["seed"] == 1


def test_never_touches_other_recordings(corpus: Path, tmp_path: Path) -> None:
    real = tmp_path / "Actor_01" / "01-01-03-01-01-01-01.mp4"
    real.parent.mkdir()
    real.write_bytes(b"somebody's recording")
    with pytest.raises(UserError, match=r"01-01-03-01-01-01-01\.mp4: not a synthetic clip"):
        synthesize(tmp_path, 1, 1)
    assert real.read_bytes() == b"somebody's recording"
    assert not (tmp_path / "README.txt").exists()
    with pytest.raises(UserError, match=r"Actor_02.*other settings"):
        synthesize(corpus, 1, 1, seed=3, duration_s=DURATION_S)


@pytest.mark.parametrize(
    "settings",
    [{"num_speakers": 0}, {"num_takes": 5}, {"seed": -1}, {"duration_s": float("nan")}],
)
def test_settings_out_of_range(tmp_path: Path, settings: dict[str, float]) -> None:
    with pytest.raises(UserError, match="give"):
        synthesize(tmp_path / "new", **settings)  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


# === Emotion ===


def test_mix_is_a_weighted_sum() -> None:
    half = mix([(0.5, FACE["happy"]), (0.25, FACE["sad"])])
    assert half.smile == pytest.approx(0.5 * FACE["happy"].smile)
    assert half.frown == pytest.approx(0.25 * FACE["sad"].frown)
    assert astuple(mix([(1.0, VOICE["angry"])])) == astuple(VOICE["angry"])


def test_takes_and_speakers_differ() -> None:
    takes = [sample_take(0, actor, "fearful", take) for actor in (1, 2) for take in (1, 2)]
    assert len({take.face for take in takes}) == len({take.voice for take in takes}) == 4
    assert takes[0] == sample_take(0, 1, "fearful", 1)
    assert make_speaker(0, 1).f0_hz < make_speaker(0, 2).f0_hz
    assert make_speaker(0, 1) != make_speaker(0, 3)


def test_expressions_change_the_face_by_several_pixels(corpus: Path) -> None:
    """The mean change around mouth and brows, at the size that models see, is no mere noise."""
    faces = {}
    for path in sorted((corpus / "Actor_02").glob("*.mp4")):
        frames, _ = decode(path)
        gray = np.mean([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames[20:40]], axis=0)
        faces[path.stem[6:8]] = cv2.resize(gray[70:280, 135:345], (112, 112))
    for code, face in faces.items():
        if code != "01":
            assert np.abs(face - faces["01"]).max() > 20, code


# === Detectors ===


def test_haar_finds_the_face(sampled_frames: list[np.ndarray]) -> None:
    folder = Path(cv2.__file__).parent / "data"
    cascade = cv2.CascadeClassifier(str(folder / "haarcascade_frontalface_default.xml"))
    found = [
        cascade.detectMultiScale(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), 1.1, 5, minSize=(60, 60))
        for frame in sampled_frames
    ]
    assert np.mean([any(is_right(box) for box in boxes) for boxes in found]) >= 0.95
    assert np.mean([len(boxes) > 1 for boxes in found]) <= 0.05


def test_yunet_finds_the_face(sampled_frames: list[np.ndarray], real_models: Path) -> None:
    weights = real_models / "face" / "face_detection_yunet_2026may.onnx"
    detector = cv2.FaceDetectorYN.create(str(weights), "", (480, 360), 0.6)
    hits = []
    for frame in sampled_frames:
        _, faces = detector.detect(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
        hits.append(faces is not None and any(is_right(tuple(face)) for face in faces))
    assert np.mean(hits) >= 0.9


def test_resnet_ssd_finds_the_face(sampled_frames: list[np.ndarray], real_models: Path) -> None:
    folder = real_models / "face"
    net = cv2.dnn.readNetFromTensorflow(
        str(folder / "opencv_face_detector_uint8.pb"), str(folder / "opencv_face_detector.pbtxt")
    )
    hits = []
    for frame in sampled_frames[::2]:
        blob = cv2.dnn.blobFromImage(frame, 1, (300, 300), (104, 177, 123), swapRB=True)
        net.setInput(blob)
        rows = net.forward()[0, 0]
        corners = [row[3:7] * (480, 360, 480, 360) for row in rows if row[2] > 0.5]
        hits.append(any(is_right((x, y, x2 - x, y2 - y)) for x, y, x2, y2 in corners))
    assert np.mean(hits) >= 0.9


def test_blazeface_finds_the_face(sampled_frames: list[np.ndarray], real_models: Path) -> None:
    mediapipe = pytest.importorskip("mediapipe")
    tasks = mediapipe.tasks
    weights = real_models / "face" / "blaze_face_short_range.tflite"
    options = tasks.vision.FaceDetectorOptions(
        base_options=tasks.BaseOptions(model_asset_path=str(weights)),
        min_detection_confidence=0.5,
    )
    hits = []
    with tasks.vision.FaceDetector.create_from_options(options) as detector:
        for frame in sampled_frames:
            image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)
            boxes = [found.bounding_box for found in detector.detect(image).detections]
            hits.append(any(is_right((b.origin_x, b.origin_y, b.width, b.height)) for b in boxes))
    assert np.mean(hits) >= 0.9
