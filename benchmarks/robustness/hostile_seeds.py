"""Whole files that hostile ones are made from: short, small, of many codecs, and tables."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import soundfile

Seeds = dict[str, list[bytes]]

FPS = 25
WAV_SUBTYPES = ("PCM_16", "PCM_U8", "PCM_24", "FLOAT", "DOUBLE", "ULAW", "IMA_ADPCM")
# Suffix, video codec and pixel format, audio codec and rate.
CODECS: tuple[tuple[str, str, str, str, int], ...] = (
    ("mp4", "libx264", "yuv420p", "aac", 44_100),
    ("mp4", "mpeg4", "yuv420p", "libmp3lame", 44_100),
    ("mp4", "libx265", "yuv420p", "", 0),
    ("mov", "libx264", "yuv420p", "pcm_s16le", 16_000),
    ("mov", "mjpeg", "yuvj420p", "pcm_f32le", 48_000),
    ("mov", "prores", "yuv422p10le", "alac", 48_000),
    ("mkv", "libx264", "yuv420p", "libopus", 48_000),
    ("mkv", "libvpx-vp9", "yuv420p", "flac", 16_000),
    ("mkv", "ffv1", "yuv444p", "pcm_s16le", 16_000),
    ("flac", "", "", "flac", 16_000),
)
_AUDIO_FRAME = 960
_NUM_PUBLISHED = 5
_NUM_ROWS = 20
_LARGEST_BYTES = 600_000


# === Made of one clip ===


def made(source: Path, folder: Path, duration_s: float, width_px: int) -> Seeds:
    """The beginning of one video with audio, in every format and several codecs of each."""
    pictures, wave, rate_hz = _beginning(source, duration_s, width_px)
    seeds: Seeds = {"wav": [], "flac": [], "mp4": [], "mov": [], "mkv": [], "jpeg": []}
    for subtype in WAV_SUBTYPES:
        stereo = wave if subtype != "FLOAT" else np.stack([wave, wave / 2], 1)
        file = io.BytesIO()
        soundfile.write(file, stereo, rate_hz, subtype, format="WAV")
        seeds["wav"].append(file.getvalue())
    for number, row in enumerate(CODECS):
        path = folder / f"{number}.{row[0]}"
        encode(path, pictures if row[1] else [], row[1], row[2], wave, rate_hz, row[3], row[4])
        seeds[row[0]].append(path.read_bytes())
    first = cv2.cvtColor(pictures[0], cv2.COLOR_RGB2BGR)
    for options in ([], [cv2.IMWRITE_JPEG_PROGRESSIVE, 1], [cv2.IMWRITE_JPEG_RST_INTERVAL, 4]):
        seeds["jpeg"].append(cv2.imencode(".jpg", first, options)[1].tobytes())
    seeds["jpeg"].append(cv2.imencode(".jpg", cv2.cvtColor(first, cv2.COLOR_BGR2GRAY))[1].tobytes())
    return seeds | tables()


def _beginning(
    source: Path, duration_s: float, width_px: int
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Pictures (H, W, 3) uint8 RGB, made smaller, and mono float32 of the same seconds."""
    with av.open(str(source)) as container:
        frames: list[np.ndarray] = []
        for frame in container.decode(video=0):
            if len(frames) >= duration_s * FPS:
                break
            picture = frame.to_ndarray(format="rgb24")
            height_px = round(picture.shape[0] * width_px / picture.shape[1] / 2) * 2
            frames.append(cv2.resize(picture, (width_px, height_px), interpolation=cv2.INTER_AREA))
    resampler = av.AudioResampler("flt", "mono", 16_000)
    with av.open(str(source)) as container:
        pieces = [
            made.to_ndarray().ravel()
            for frame in container.decode(audio=0)
            for made in resampler.resample(frame)
        ]
    return frames, np.concatenate(pieces)[: round(duration_s * 16_000)], 16_000


def encode(
    path: Path,
    pictures: Iterable[np.ndarray],
    codec: str,
    pixels: str,
    wave: np.ndarray,
    wave_rate_hz: int,
    audio_codec: str,
    rate_hz: int,
) -> None:
    """Encodes video and audio with PyAV; an empty codec omits that stream."""
    pictures = list(pictures)
    with av.open(str(path), "w") as container:
        video: Any = None
        audio: Any = None
        if codec:
            fast = {"preset": "ultrafast"} if codec.startswith("libx26") else {}
            fast |= {"x265-params": "log-level=none"} if codec == "libx265" else {}
            video = container.add_stream(codec, rate=FPS, options={"threads": "1", **fast})
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = pixels
        if audio_codec:
            audio = container.add_stream(audio_codec, rate=rate_hz, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            container.mux(video.encode(frame))
        if audio is not None:
            for sound in _resampled(wave, wave_rate_hz, audio, rate_hz):
                container.mux(audio.encode(sound))
            container.mux(audio.encode(None))
        if video is not None:
            container.mux(video.encode(None))


def _resampled(
    wave: np.ndarray, wave_rate_hz: int, audio: Any, rate_hz: int
) -> Iterable[av.AudioFrame]:
    whole = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "flt", "mono")
    whole.sample_rate, whole.pts = wave_rate_hz, 0
    size = audio.codec_context.frame_size or _AUDIO_FRAME
    resampler = av.AudioResampler(audio.codec_context.format, "mono", rate_hz, frame_size=size)
    yield from resampler.resample(whole)
    yield from resampler.resample(None)


def tables() -> Seeds:
    """Tables as the program reads them; `good.wav` is beside each."""
    manifest = (
        "path,label,speaker,start_s,end_s,transcript,split\n"
        "good.wav,sad,me,,,Not today.,train\n"
        'good.wav,happy,"you",0.1,0.6,"He said ""no"", then left",test\n'
        ",angry,,,,Words alone,\n"
    )
    names = [f"AU{number:02d}_r" for number in (1, 2, 4, 12)] + ["AU01_c", "AU45_c"]
    header = ["frame", " face_id", " timestamp", " confidence", " success", *names]
    rows: list[list[object]] = [
        [n, 0, n / 25, 0.9, 1, 0.5 + n / 9, 1, 0, 2.5, 0, 1] for n in range(12)
    ]
    frames = "\n".join([",".join(header), *(",".join(map(str, row)) for row in rows)])
    means = ";".join([*names, "name"]) + "\n" + "0.5;1;0;2.5;0;1;good"
    pixels = " ".join(str(n % 256) for n in range(48 * 48))
    faces = f"emotion,pixels,Usage\n0,{pixels},Training\n3,{pixels[::-1]},PublicTest\n"
    return {
        "manifest": [manifest.encode()],
        "openface": [frames.encode(), means.encode()],
        "fer2013": [faces.encode()],
    }


# === As they were published ===


def published(data: Path) -> Seeds:
    """Real recordings, some of each available format, unchanged."""
    places = {
        "wav": "ravdess_original/**/*.wav",
        "flac": "ravdess/**/*.flac",
        "mp4": "clips/*.mp4",
        "mov": "clips/*.mov",
        "openface": "openface/*.csv",
    }
    seeds: Seeds = {}
    for kind, pattern in places.items():
        found = [p for p in sorted(data.glob(pattern)) if p.stat().st_size <= _LARGEST_BYTES]
        chosen = found[:: max(1, len(found) // _NUM_PUBLISHED)]
        seeds[kind] = [path.read_bytes() for path in chosen]
    seeds["openface"] = [b"".join(one.splitlines(True)[:_NUM_ROWS]) for one in seeds["openface"]]
    with zipfile.ZipFile(data / "fer2013.zip") as archive:
        names = sorted(name for name in archive.namelist() if name.endswith(".jpg"))
        seeds["jpeg"] = [archive.read(name) for name in names[:: len(names) // _NUM_PUBLISHED]]
    for path in sorted((data / "ravdess_stills").glob("*.png"))[:_NUM_PUBLISHED]:
        picture = cv2.imread(str(path))
        if picture is not None:
            seeds["jpeg"].append(cv2.imencode(".jpg", picture)[1].tobytes())
    return seeds


def joined(*many: Seeds) -> Seeds:
    """All seeds of each kind."""
    kinds = sorted({kind for seeds in many for kind in seeds})
    return {kind: [one for seeds in many for one in seeds.get(kind, [])] for kind in kinds}
