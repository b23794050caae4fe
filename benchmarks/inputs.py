"""What the benchmarks measure on: real recordings at 720p, long videos, or the synthetic corpus."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import soundfile

from affectstream.core import atomic_io
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.records.record_settings import RecordSettings

DATA_VARIABLE = "EMOTION_DATA"
SOUND_RATE_HZ = 48_000
# As x264 encodes by default: three B frames, keyframes up to 250 frames apart.
ENCODING = {"preset": "medium", "crf": "18", "threads": "1"}
_AAC_FRAME = 1024


@dataclass(frozen=True)
class ClipFormat:
    """Size, rate and length of made clips."""

    width_px: int
    height_px: int
    fps: int
    duration_s: float


FULL = ClipFormat(1280, 720, 30, 4.0)
QUICK = ClipFormat(320, 180, 30, 1.0)


@dataclass(frozen=True)
class GeneratedClip:
    """An mp4 (H.264, AAC) and a 48 kHz WAV with the same audio."""

    path: Path
    wav: Path

    @property
    def clip(self) -> Clip:
        name = self.path.name
        return Clip(
            self.path,
            name,
            corpus="benchmark",
            label="neutral",
            speaker="benchmark/1",
            recording=f"benchmark/{name}",
        )


# === Clips ===


def data_folder() -> Path | None:
    """The folder of real recordings in `EMOTION_DATA`, if it exists."""
    named = os.environ.get(DATA_VARIABLE)
    return Path(named) if named and Path(named).is_dir() else None


def clips(work: Path, is_quick: bool) -> tuple[list[GeneratedClip], str]:
    """Clips of equal shape, generated once, and one line that describes them."""
    shape = QUICK if is_quick else FULL
    data = None if is_quick else data_folder()
    if data is not None:
        sources = sorted(p for p in (data / "clips").iterdir() if p.suffix in (".mp4", ".mov"))
        sounds = sorted((data / "ravdess_original").rglob("*.wav"))
        origin = "real clips, enlarged, with RAVDESS sound"
    else:
        sources = synthetic_corpus(work, is_quick)[: 2 if is_quick else 5]
        sounds = []
        origin = "the SYNTHETIC sample corpus, enlarged"
    made = []
    for index, source in enumerate(sources):
        path = work / f"{shape.height_px}p" / f"{source.stem}.mp4"
        sound = sounds[index % len(sounds)] if sounds else source
        made.append(_make(source, sound, path, shape))
    kbps = sum(one.path.stat().st_size for one in made) * 8 / 1000 / len(made) / shape.duration_s
    return made, (
        f"{len(made)} clips of {shape.duration_s:g} s, {shape.width_px}x{shape.height_px},"
        f" {shape.fps} a second, H.264 (x264 {ENCODING['preset']}, {kbps:,.0f} kbit/s with sound),"
        f" AAC: {origin}"
    )


def synthetic_corpus(work: Path, is_quick: bool) -> list[Path]:
    """The clips of a small sample corpus, written to `work` unless they exist."""
    from affectstream.preprocessing.synthetic.corpus import synthesize

    speakers, duration_s = (1, 2.0) if is_quick else (4, 4.0)
    return sorted(synthesize(work / "sample", speakers, num_takes=1, duration_s=duration_s))


def _make(source: Path, sound: Path, path: Path, shape: ClipFormat) -> GeneratedClip:
    made = GeneratedClip(path, path.with_suffix(".wav"))
    if not (made.path.is_file() and made.wav.is_file()):
        wave = _sound(sound, round(shape.duration_s * SOUND_RATE_HZ))
        with atomic_io.atomic_write(made.wav) as temporary:
            soundfile.write(temporary, wave, SOUND_RATE_HZ)
        with atomic_io.atomic_write(path) as temporary:
            _encode(temporary, _enlarged(source, shape), wave, shape, ENCODING)
    return made


def _enlarged(source: Path, shape: ClipFormat) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 RGB at the wanted rate, there and back where the source is too short.

    The picture keeps its proportions; what that leaves free repeats its edge.
    """
    with av.open(str(source)) as container:
        rate = float(container.streams.video[0].average_rate or 25)
        frames = [_fitted(f.to_ndarray(format="rgb24"), shape) for f in container.decode(video=0)]
    for number in range(round(shape.duration_s * shape.fps)):
        place = round(number * rate / shape.fps) % max(1, 2 * len(frames) - 2)
        yield frames[min(place, 2 * len(frames) - 2 - place) if place else 0]


def _fitted(picture: np.ndarray, shape: ClipFormat) -> np.ndarray:
    height_px, width_px = picture.shape[:2]
    scale = min(shape.width_px / width_px, shape.height_px / height_px)
    width, height = round(width_px * scale), round(height_px * scale)
    large = cv2.resize(picture, (width, height), interpolation=cv2.INTER_CUBIC)
    free_x, free_y = shape.width_px - width, shape.height_px - height
    left, top = free_x // 2, free_y // 2
    return cv2.copyMakeBorder(large, top, free_y - top, left, free_x - left, cv2.BORDER_REPLICATE)


def _sound(source: Path, num_samples: int) -> np.ndarray:
    """(samples,) float32 at 48 kHz, repeated where the source is too short."""
    resampler = av.AudioResampler(format="flt", layout="mono", rate=SOUND_RATE_HZ)
    with av.open(str(source)) as container:
        decoded = [f for frame in container.decode(audio=0) for f in resampler.resample(frame)]
    wave = np.concatenate([frame.to_ndarray().ravel() for frame in decoded])
    return np.resize(wave, num_samples).astype(np.float32)


def _encode(
    path: Path,
    pictures: Iterable[np.ndarray],
    wave: np.ndarray,
    shape: ClipFormat,
    options: dict[str, str],
) -> None:
    with av.open(str(path), "w", format="mp4") as container:
        video: Any = container.add_stream("libx264", rate=shape.fps, options=options)
        video.width, video.height, video.pix_fmt = shape.width_px, shape.height_px, "yuv420p"
        audio: Any = container.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, shape.fps)
            container.mux(video.encode(frame))
        for first in range(0, len(wave), _AAC_FRAME):
            part = np.ascontiguousarray(wave[None, first : first + _AAC_FRAME])
            sound = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
            sound.sample_rate, sound.pts = SOUND_RATE_HZ, first
            sound.time_base = Fraction(1, SOUND_RATE_HZ)
            container.mux(audio.encode(sound))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


# === Long videos ===


def long_video(source: GeneratedClip, work: Path, shape: ClipFormat, duration_s: float) -> Path:
    """A video of any length: one clip encoded once, its packets written again and again."""
    short = work / f"loop-{shape.height_px}p.mp4"
    if not short.is_file():
        wave = _sound(source.wav, round(shape.duration_s * SOUND_RATE_HZ))
        with atomic_io.atomic_write(short) as temporary:
            _encode(temporary, _enlarged(source.path, shape), wave, shape, {"preset": "veryfast"})
    path = work / f"{shape.height_px}p-{duration_s:.0f}s.mp4"
    if not path.is_file():
        with atomic_io.atomic_write(path) as temporary:
            _repeat(short, temporary, max(1, round(duration_s / shape.duration_s)))
    return path


def _repeat(short: Path, path: Path, times: int) -> None:
    period_s = _longest_stream_s(short)
    with av.open(str(path), "w", format="mp4") as target:
        streams: dict[int, Any] = {}
        for turn in range(times):
            with av.open(str(short)) as source:
                for stream in source.streams:
                    if turn == 0:
                        streams[stream.index] = target.add_stream_from_template(stream)
                for packet in source.demux():
                    if packet.dts is None or packet.pts is None:
                        continue
                    later = round(turn * period_s / packet.time_base)
                    packet.pts += later
                    packet.dts += later
                    packet.stream = streams[packet.stream.index]
                    target.mux(packet)


def _longest_stream_s(path: Path) -> float:
    """Seconds from the first packet of a stream to the end of its last, of the longest stream."""
    with av.open(str(path)) as source:
        spans: dict[int, tuple[float, float]] = {}
        for packet in source.demux():
            if packet.dts is not None:
                begin_s = float(packet.dts * packet.time_base)
                first_s, _ = spans.get(packet.stream.index, (begin_s, 0.0))
                length_s = float((packet.duration or 0) * packet.time_base)
                spans[packet.stream.index] = (first_s, begin_s + length_s)
    return max(end - begin for begin, end in spans.values())


# === Settings ===


def default_settings(detector: str) -> RecordSettings:
    """As `preprocess` takes them without options."""
    return RecordSettings(detector)
