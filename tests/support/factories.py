"""What the tests of preprocessing share: small media files that tell their own content."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import soundfile

from affectstream import cli
from affectstream.preprocessing.clip import Clip
from affectstream.preprocessing.dataset.data_folder import ClipRow
from affectstream.preprocessing.synthetic.corpus import synthesize

# Ticks a second in which times of frames are written.
_TICKS_HZ = 90_000
_NUM_BITS = 8
_AUDIO_FRAME = 1024

# === Sound ===


def tone(
    duration_s: float, rate_hz: int = 16_000, hz: float = 440.0, peak: float = 0.5
) -> np.ndarray:
    """(samples,) float32 sine."""
    at_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    return (peak * np.sin(2 * np.pi * hz * at_s)).astype(np.float32)


def clicks(duration_s: float, rate_hz: int, at_s: Sequence[float]) -> np.ndarray:
    """(samples,) float32: silence with a short burst of 1 kHz, full at once, at each moment."""
    wave = np.zeros(round(duration_s * rate_hz), np.float32)
    burst = 0.8 * np.sin(2 * np.pi * 1000 * np.arange(round(0.01 * rate_hz)) / rate_hz)
    for moment in at_s:
        first = round(moment * rate_hz)
        wave[first : first + len(burst)] = burst[: len(wave) - first]
    return wave


def write_sound(path: Path, waveform: np.ndarray, rate_hz: int, subtype: str = "PCM_16") -> Path:
    """Writes (samples,) or (samples, channels) float32 as the ending of `path` says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, waveform, rate_hz, subtype=subtype)
    return path


# === Pictures ===


def numbered_image(number: int, width: int = 128, height: int = 64) -> np.ndarray:
    """(height, width, 3) uint8 that shows `number` as a row of light and dark bars."""
    bits = [(number >> bit) & 1 for bit in range(_NUM_BITS)]
    row = np.repeat(np.array(bits, np.uint8) * 200 + 25, width // _NUM_BITS)
    return np.ascontiguousarray(np.broadcast_to(row[None, :, None], (height, width, 3)))


def number_of(picture: np.ndarray) -> int:
    """Reads `numbered_image` back, also after a lossy codec."""
    bars = picture[..., :3].mean(axis=(0, 2)) if picture.ndim == 3 else picture.mean(axis=0)
    lights = bars.reshape(_NUM_BITS, -1).mean(axis=1) > 127
    return int(sum(1 << bit for bit, light in enumerate(lights) if light))


def textured_image(number: int, width: int = 128, height: int = 64) -> np.ndarray:
    """`numbered_image` with noise of its own, so that motion vectors and references matter."""
    noise = np.random.default_rng(number).integers(0, 25, (height, width, 1))
    return (numbered_image(number, width, height) + noise).astype(np.uint8)


# === Media files ===


def write_media(
    path: Path,
    pictures: Iterable[np.ndarray] = (),
    times_s: Sequence[float] | None = None,
    fps: int = 25,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pixels: str = "yuv420p",
    waveform: np.ndarray | None = None,
    rate_hz: int = 48_000,
    audio_codec: str = "aac",
    audio_start_s: float = 0.0,
    rotation: int = 0,
    container_options: dict[str, str] | None = None,
    pixel_aspect: Fraction | None = None,
) -> Path:
    """Writes pictures and sound with PyAV.

    Args:
      path: its ending says the container.
      pictures: (H, W, 3) uint8 RGB each.
      times_s: when each picture comes on show; evenly by `fps` when left out.
      waveform: (samples,) or (samples, channels) float32.
      audio_start_s: when the sound begins.
      rotation: degrees counterclockwise by which a player is to turn the pictures.
      pixel_aspect: width of a pixel over its height.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = list(pictures)
    with av.open(str(path), "w", options=container_options or {}) as container:
        video: Any = None
        audio: Any = None
        if pictures:
            video = container.add_stream(
                codec, rate=fps, options={"threads": "1", **(options or {})}
            )
            video.height, video.width = pictures[0].shape[:2]
            video.pix_fmt = pixels
            if times_s is not None:
                video.codec_context.time_base = Fraction(1, _TICKS_HZ)
            if pixel_aspect:
                video.codec_context.sample_aspect_ratio = pixel_aspect
            if rotation:
                video.set_display_rotation(rotation)
        if waveform is not None:
            channels = 1 if waveform.ndim == 1 else waveform.shape[1]
            audio = container.add_stream(
                audio_codec, rate=rate_hz, layout={1: "mono", 2: "stereo", 6: "5.1"}[channels]
            )
        packets: list[Any] = []
        if video is not None:
            packets += _encode_pictures(video, pictures, times_s, fps)
        if audio is not None:
            packets += _encode_sound(audio, waveform, rate_hz, audio_start_s)
        packets.sort(key=lambda packet: float((packet.dts or 0) * packet.time_base))
        container.mux(packets)
    return path


def _encode_pictures(
    video: Any, pictures: list[np.ndarray], times_s: Sequence[float] | None, fps: int
) -> list[Any]:
    packets = []
    for index, picture in enumerate(pictures):
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        if times_s is None:
            frame.pts, frame.time_base = index, Fraction(1, fps)
        else:
            frame.pts, frame.time_base = round(times_s[index] * _TICKS_HZ), Fraction(1, _TICKS_HZ)
        packets += video.encode(frame)
    return packets + video.encode(None)


def _encode_sound(audio: Any, waveform: Any, rate_hz: int, start_s: float) -> list[Any]:
    context = audio.codec_context
    rows = np.atleast_2d(waveform.T).astype(np.float32)
    resampler = av.AudioResampler(context.format.name, context.layout, context.sample_rate)
    size = context.frame_size or _AUDIO_FRAME
    packets = []
    for first in range(0, rows.shape[1], size):
        part = np.ascontiguousarray(rows[:, first : first + size])
        frame = av.AudioFrame.from_ndarray(part, format="fltp", layout=context.layout.name)
        frame.sample_rate, frame.time_base = rate_hz, Fraction(1, rate_hz)
        frame.pts = first + round(start_s * rate_hz)
        for converted in resampler.resample(frame):
            packets += audio.encode(converted)
    return packets + audio.encode(None)


# === What preprocessing hands on ===


def row(record_id: str = "x/1", **changes: Any) -> ClipRow:
    """A row of `clips.csv` of which only what matters to a test is told."""
    told: dict[str, Any] = {
        "shard": "00000.tfrecord",
        "corpus": "x",
        "label": "happy",
        "speaker": "x/1",
        "recording": f"{record_id}.wav",
        "path": record_id,
        "start_s": 0.0,
        "end_s": 1.0,
        "num_samples": 16_000,
        "num_frames": 0,
        "num_faces": 0,
        "audio_hash": f"hash of {record_id}",
        "video_hash": "",
    }
    return ClipRow(id=record_id, **{**told, **changes})


def clip(path: Path, **changes: Any) -> Clip:
    """A clip that is the whole of `path`."""
    told: dict[str, Any] = {
        "name": path.name,
        "corpus": "x",
        "label": "happy",
        "speaker": "x/1",
        "recording": f"x/{path.name}",
    }
    return Clip(path, **{**told, **changes})


@functools.cache
def _sample_folder() -> tempfile.TemporaryDirectory[str]:
    folder = tempfile.TemporaryDirectory(prefix="sample-", ignore_cleanup_errors=True)
    synthesize(Path(folder.name) / "sample", num_speakers=3, num_takes=1, duration_s=2.0)
    return folder


def sample_source() -> Path:
    """21 synthetic audio-visual clips of 2 s by 3 speakers, made once; only read them."""
    return Path(_sample_folder().name) / "sample"


def preprocess(corpus: str, source: Path | str, out: Path | str, *words: str) -> int:
    """Runs `preprocess` in one process, unless `words` say otherwise; its exit code."""
    fixed = ["--corpus", corpus, "--source", str(source), "--out", str(out), "--workers", "0"]
    return cli.main(["preprocess", *fixed, *words])


def files_below(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: relative path -> bytes."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
