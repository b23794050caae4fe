"""Which track is read, how channels become one, and pictures seen as a player shows them."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from affectstream.core.errors import EXIT_OK
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.faces.face_finder import FaceFinder
from affectstream.preprocessing.media.media_file import MediaFile, pixel_aspect
from affectstream.preprocessing.media.media_reader import MediaSegment
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.media.video.still_images import read_still_image
from affectstream.serving.inference.annotate import annotate
from affectstream.serving.inference.prediction import Prediction, WindowPrediction
from affectstream.serving.inference.recognizer import Recognizer
from tests.preprocessing.media.test_completeness import CONFIG, forward
from tests.support.factories import clip, number_of, numbered_image, preprocess, tone, write_media

RATE_HZ = 16_000
DEFAULT = av.stream.Disposition.default
X264 = {"preset": "ultrafast"}


def joined(path: Path, *parts: tuple[Path, bool]) -> Path:
    """All streams of several files in one, each of a file the default one or not."""
    with av.open(str(path), "w") as target:
        packets: list[Any] = []
        for part, is_default in parts:
            with av.open(str(part)) as source:
                for stream in source.streams:
                    copy: Any = target.add_stream_from_template(stream)
                    copy.disposition = DEFAULT if is_default else av.stream.Disposition(0)
                    for packet in source.demux(stream):
                        if packet.size:
                            packet.stream = copy
                            packets.append(packet)
        packets.sort(key=lambda packet: float(packet.dts * packet.time_base))
        target.start_encoding()
        for packet in packets:
            target.mux(packet)
    return path


def read(path: Path, sampling: FrameSampling | None = None) -> tuple[MediaSegment, tuple[str, ...]]:
    with MediaFile(path) as media:
        bounds = [(0.0, media.info.duration_s)]
        (tracks,) = media.segments(bounds, RATE_HZ, sampling)
        return tracks, media.info.notes


def peak_hz(wave: np.ndarray | None) -> float:
    assert wave is not None
    return float(np.abs(np.fft.rfft(wave)).argmax() * RATE_HZ / len(wave))


# === Tracks ===


@pytest.mark.parametrize(
    ("peaks", "default", "hz", "note"),
    [
        ((0.5, 0.5), 1, 900, "2 sound tracks: number 2 is used"),
        ((0.5, 0.5), 0, 300, "2 sound tracks: number 1 is used"),
        (
            (0.0, 0.5),
            0,
            900,
            "2 sound tracks: number 2 is used, number 1 is silent throughout",
        ),
        ((0.5, 0.0), 0, 300, "2 sound tracks: number 1 is used"),
        ((0.0, 0.0), 0, None, "2 sound tracks: number 1 is used"),
    ],
)
def test_the_default_sound_track_unless_it_is_silent(
    peaks: tuple[float, float], default: int, hz: float | None, note: str, tmp_path: Path
) -> None:
    parts = [
        write_media(tmp_path / f"{k}.mka", waveform=tone(2.0, 48_000, hz=f, peak=peak))
        for k, (f, peak) in enumerate(zip((300.0, 900.0), peaks, strict=True))
    ]
    path = joined(tmp_path / "x.mkv", (parts[0], default == 0), (parts[1], default == 1))
    tracks, notes = read(path)
    assert notes == (note,)
    if hz is None:
        assert tracks.waveform is not None
        assert np.abs(tracks.waveform).max() < 1e-4
    else:
        assert peak_hz(tracks.waveform) == pytest.approx(hz, abs=2)


@pytest.mark.parametrize("codec", ["png", "mjpeg"])
@pytest.mark.parametrize("is_default", [False, True])
def test_a_still_picture_before_the_video_is_not_it(
    codec: str, is_default: bool, tmp_path: Path
) -> None:
    pixels, suffix = ("rgb24", ".mov") if codec == "png" else ("yuvj420p", ".mkv")
    still = write_media(tmp_path / f"a{suffix}", [numbered_image(200)], codec=codec, pixels=pixels)
    moving = write_media(
        tmp_path / f"b{suffix}", [numbered_image(n) for n in range(50)], options=X264
    )
    path = joined(tmp_path / f"x{suffix}", (still, is_default), (moving, True))
    tracks, notes = read(path, FrameSampling("time", 2))
    assert [number_of(frame) for frame in tracks.frames] == [12, 37]
    assert notes == ("2 video tracks: number 2 is used",)


def test_one_track_of_each_kind_needs_no_words(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "x.mp4", [numbered_image(3)] * 5, options=X264, waveform=tone(0.2, 48_000)
    )
    assert read(path)[1] == ()


# === Channels ===


@pytest.mark.parametrize(("name", "codec"), [("x.wav", "pcm_s16le"), ("x.m4a", "aac")])
def test_stereo_of_opposite_phase_is_heard(name: str, codec: str, tmp_path: Path) -> None:
    one = tone(4.0, 48_000, hz=500, peak=0.5)
    path = write_media(tmp_path / name, waveform=np.stack([0.8 * one, -one], 1), audio_codec=codec)
    (tracks, _) = read(path)
    assert tracks.waveform is not None
    inside = tracks.waveform[2000:-2000]
    assert np.sqrt(np.mean(inside**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)
    with MediaFile(path) as media:
        (late,) = media.segments([(2.0, 3.0)], RATE_HZ, None)
    assert late.waveform is not None
    np.testing.assert_allclose(late.waveform, tracks.waveform[32_000:48_000], atol=1e-3)


def test_stereo_that_is_merely_wide_stays_the_mean(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    left, right = rng.uniform(-0.5, 0.5, (2, 48_000)).astype(np.float32)
    path = write_media(
        tmp_path / "x.wav", waveform=np.stack([left, right], 1), audio_codec="pcm_s16le"
    )
    with MediaFile(path) as media:
        (tracks,) = media.segments([(0.0, 1.0)], 48_000, None)
    assert tracks.waveform is not None
    np.testing.assert_allclose(tracks.waveform, (left + right) / 2, atol=1e-4)


@pytest.mark.parametrize(
    ("channel", "share"),
    [(0, 0.5), (1, 0.5), (2, 0.7071), (3, 0.0), (4, 0.3536), (5, 0.3536)],
)
def test_each_channel_of_surround_sound_counts_as_in_a_player(
    channel: int, share: float, tmp_path: Path
) -> None:
    """Left, right, centre, bass, surround left and right: the centre holds the dialogue."""
    wave = np.zeros((RATE_HZ, 6), np.float32)
    wave[:, channel] = tone(1.0, hz=400, peak=0.5)
    path = write_media(tmp_path / "x.wav", waveform=wave, rate_hz=RATE_HZ, audio_codec="pcm_s16le")
    tracks, _ = read(path)
    assert tracks.waveform is not None
    np.testing.assert_allclose(tracks.waveform, share * wave[:, channel], atol=1e-4)


# === Pictures ===


@pytest.mark.parametrize(
    ("aspect", "rotation", "shape"),
    [
        (Fraction(64, 45), 0, (144, 256)),
        (Fraction(16, 15), 0, (144, 192)),
        (Fraction(8, 9), 0, (144, 160)),
        (Fraction(64, 45), 90, (256, 144)),
        (Fraction(1, 1), 0, (144, 180)),
    ],
)
def test_pixels_are_square(
    aspect: Fraction, rotation: int, shape: tuple[int, int], tmp_path: Path
) -> None:
    path = write_media(
        tmp_path / "x.mp4",
        [np.full((144, 180, 3), 90, np.uint8)] * 3,
        options=X264,
        pixel_aspect=aspect,
        rotation=rotation,
    )
    tracks, _ = read(path, FrameSampling("time", 1))
    assert tracks.frames[0].shape == (*shape, 3)
    finder = FaceFinder(None, CropFormat(32, "grey"))
    with MediaFile(path) as media:
        (seen,) = media.segments(
            [(0.0, 0.1)], RATE_HZ, FrameSampling("time", 1), finder.detect_frame
        )
    (face,) = seen.frames[0].faces
    height, width = shape
    assert (face.box.x, face.box.y) == ((width - min(shape)) / 2, (height - min(shape)) / 2)
    assert face.box.width == min(shape)


def test_what_is_drawn_has_square_pixels_too(tmp_path: Path) -> None:
    path = write_media(
        tmp_path / "x.mp4",
        [np.full((144, 180, 3), 90, np.uint8)] * 5,
        options=X264,
        pixel_aspect=Fraction(64, 45),
    )
    half = {"happy": 0.5, "sad": 0.5}
    window = WindowPrediction(0.0, 0.2, "happy", half, {}, 1.0)
    box = (0.1, (200.0, 100.0, 40.0, 40.0))
    said = Prediction(str(path), 0.2, "happy", half, {}, 1.0, (window,), boxes=(box,))
    annotate(path, said, tmp_path / "y.mp4")
    with av.open(str(tmp_path / "y.mp4")) as drawn:
        assert (drawn.streams.video[0].width, drawn.streams.video[0].height) == (256, 144)
        assert pixel_aspect(drawn.streams.video[0]) == 1.0


def test_boxes_are_drawn_in_step_where_the_clock_does_not_begin_at_0(tmp_path: Path) -> None:
    """As of a cut out of a recording; a prediction counts from the beginning."""
    grey = [np.full((144, 192, 3), 90, np.uint8)] * 10
    times_s = [5 + number / 25 for number in range(10)]
    path = write_media(tmp_path / "x.mkv", grey, times_s, options=X264)
    half = {"happy": 0.5, "sad": 0.5}
    boxes = tuple((number / 25, (120.0, 60.0, 40.0, 40.0)) for number in range(10))
    said = Prediction(str(path), 0.4, "happy", half, {}, 1.0, (), boxes=boxes)
    annotate(path, said, tmp_path / "y.mp4")
    with av.open(str(tmp_path / "y.mp4")) as drawn:
        pictures = [frame.to_ndarray(format="rgb24") for frame in drawn.decode(video=0)]
    assert all(picture[60, 130:150].std(axis=-1).min() > 20 for picture in pictures)


def test_pixels_that_cannot_be_meant_are_square(tmp_path: Path) -> None:
    pictures = [np.full((64, 64, 3), 90, np.uint8)] * 2
    path = write_media(tmp_path / "x.mkv", pictures, options=X264, pixel_aspect=Fraction(1, 200))
    tracks, _ = read(path, FrameSampling("time", 1))
    assert tracks.frames[0].shape == (64, 64, 3)


def corner() -> np.ndarray:
    """A dark picture, light in its upper left corner."""
    picture = np.full((64, 96, 3), 30, np.uint8)
    picture[:24, :24] = 230
    return picture


def light_corner(picture: np.ndarray) -> tuple[bool, bool]:
    """(whether below, whether to the right) of the light corner."""
    light = np.argwhere(picture[..., 0] > 127).mean(axis=0)
    return bool(light[0] > picture.shape[0] / 2), bool(light[1] > picture.shape[1] / 2)


# The matrix a b c d of ISO 14496-12, and whether the light goes below and to the right.
MIRRORED = [
    ((-1, 0, 0, 1), (False, True)),
    ((1, 0, 0, -1), (True, False)),
    ((0, 1, 1, 0), (False, False)),
    ((0, -1, -1, 0), (True, True)),
]


@pytest.mark.parametrize(("matrix", "light"), MIRRORED)
def test_a_mirrored_video_is_shown_as_a_player_does(
    matrix: tuple[int, ...], light: tuple[bool, bool], tmp_path: Path
) -> None:
    """As front cameras store it; by the angle alone it stood upside down."""
    path = write_media(tmp_path / "x.mp4", [corner()] * 3, options=X264, rotation=90)
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 44
    stored = list(struct.unpack(">9i", data[at : at + 36]))
    for place, value in zip((0, 1, 3, 4), matrix, strict=True):
        stored[place] = value << 16
    data[at : at + 36] = struct.pack(">9i", *stored)
    path.write_bytes(bytes(data))
    tracks, _ = read(path, FrameSampling("time", 1))
    assert light_corner(tracks.frames[0]) == light
    assert tracks.frames[0].shape[0] == (96 if matrix[0] == 0 else 64)


@pytest.mark.parametrize("is_full", [False, True])
@pytest.mark.parametrize(
    ("name", "codec"), [("x.mp4", "libx264"), ("x.webm", "libvpx-vp9"), ("x.mkv", "ffv1")]
)
def test_a_known_grey_is_seen_as_such(name: str, codec: str, is_full: bool, tmp_path: Path) -> None:
    """Brightness of video runs over 16-235, or over 0-255 where the file says so."""
    path = tmp_path / name
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        stream.codec_context.color_range = 2 if is_full else 1
        planes = np.full((96, 64), 100 if is_full else round(16 + 100 * 219 / 255), np.uint8)
        planes[64:] = 128
        for number in range(3):
            frame: Any = av.VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.color_range, frame.pts = 2 if is_full else 1, number
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    tracks, _ = read(path, FrameSampling("time", 1))
    assert tracks.frames[0].mean() == pytest.approx(100, abs=1)
    finder = FaceFinder(None, CropFormat(64, "grey"))
    with MediaFile(path) as media:
        (seen,) = media.segments(
            [(0.0, 0.1)], RATE_HZ, FrameSampling("time", 1), finder.detect_frame
        )
    assert seen.frames[0].faces[0].crop.mean() == pytest.approx(100, abs=1)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_upright(orientation: int, tmp_path: Path) -> None:
    """By the orientation in its EXIF (TIFF 6.0): 6 is turned clockwise, 8 counterclockwise."""
    data = cv2.imencode(".jpg", corner())[1].tobytes()
    tag = struct.pack("<HHHIHH", 1, 0x112, 3, 1, orientation, 0)
    exif = b"Exif\0\0II*\0" + struct.pack("<I", 8) + tag + bytes(4)
    made = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    path = tmp_path / "x.jpg"
    path.write_bytes(made)
    light = {
        1: (False, False),
        2: (False, True),
        3: (True, True),
        4: (True, False),
        5: (False, False),
        6: (False, True),
        7: (True, True),
        8: (True, False),
    }[orientation]
    assert light_corner(read_still_image(clip(path))) == light
    if orientation in (1, 3, 6, 8):  # mirrored ones are turned, not mirrored, as a short video
        assert light_corner(read(path, FrameSampling("time", 1))[0].frames[0]) == light


# === What is said ===


def test_predict_says_which_track_was_used(tmp_path: Path) -> None:
    parts = [
        write_media(tmp_path / f"{k}.mka", waveform=tone(2.0, 48_000, hz=hz))
        for k, hz in enumerate((300.0, 900.0))
    ]
    path = joined(tmp_path / "x.mkv", (parts[0], False), (parts[1], True))
    assert "2 sound tracks: number 2 is used" in Recognizer(forward, CONFIG)(path).warnings


def test_preprocess_says_so_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parts = [
        write_media(tmp_path / f"{k}.mka", waveform=tone(2.0, 48_000, hz=hz))
        for k, hz in enumerate((300.0, 900.0))
    ]
    source = tmp_path / "in"
    source.mkdir()
    joined(source / "03-01-05-01-01-01-01.mkv", (parts[0], False), (parts[1], True))
    assert preprocess("ravdess", source, tmp_path / "out", "--detector", "none") == EXIT_OK
    said = capsys.readouterr().err
    assert "several tracks: 1 record, for one ravdess/03-01-05-01-01-01-01.mkv: 2 sound" in said
