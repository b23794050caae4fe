"""Writes one audio-visual mp4: H.264 and AAC through PyAV, the same bytes every time."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np
from numpy.typing import NDArray

from affectstream.core.errors import UserError

_AUDIO_BIT_RATE = 96_000
_AAC_FRAME = 1024
_VIDEO_OPTIONS = {"preset": "ultrafast", "crf": "23", "threads": "1"}


def write_mp4(
    path: Path,
    frames: Iterable[NDArray[np.uint8]],
    waveform: NDArray[np.float32],
    fps: int,
    sample_rate_hz: int,
    metadata: dict[str, str],
) -> None:
    """Encodes frames and sound.

    Args:
      path: ends in .mp4.
      frames: (H, W, 3) uint8 RGB, H and W even.
      waveform: (samples,) float32 mono in [-1, 1].
      fps: frames per second.
      sample_rate_hz: of the waveform.
      metadata: container tags, such as title and comment.

    Raises:
      UserError: this build of PyAV has no H.264 encoder.
      OSError: the file cannot be written.
    """
    options = {"movflags": "+faststart", "fflags": "+bitexact"}
    with av.open(str(path), "w", format="mp4", container_options=options) as container:
        container.metadata.update(metadata)
        try:
            video = container.add_stream("libx264", rate=fps, options=_VIDEO_OPTIONS)
        except (av.error.FFmpegError, ValueError) as error:
            raise UserError(
                f"{path}: this PyAV cannot encode H.264 ({error}); install the wheel of `av`"
            ) from error
        audio = container.add_stream(
            "aac", rate=sample_rate_hz, layout="mono", options={"aac_coder": "fast"}
        )
        video.pix_fmt, video.thread_count = "yuv420p", 1
        audio.bit_rate = _AUDIO_BIT_RATE  # the first packet of either stream opens both encoders
        _encode_video(container, video, frames, fps)
        _encode_audio(container, audio, waveform, sample_rate_hz)
        container.mux(video.encode(None))
        container.mux(audio.encode(None))


def _encode_video(
    container: Any, video: Any, frames: Iterable[NDArray[np.uint8]], fps: int
) -> None:
    for index, picture in enumerate(frames):
        if index == 0:
            video.height, video.width = picture.shape[:2]
        planes = np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420), np.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = index, Fraction(1, fps)
        container.mux(video.encode(frame))


def _encode_audio(
    container: Any, audio: Any, waveform: NDArray[np.float32], sample_rate_hz: int
) -> None:
    for start in range(0, len(waveform), _AAC_FRAME):
        part = np.ascontiguousarray(waveform[None, start : start + _AAC_FRAME])
        sound = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
        sound.sample_rate, sound.pts = sample_rate_hz, start
        sound.time_base = Fraction(1, sample_rate_hz)
        container.mux(audio.encode(sound))


def read_metadata(path: Path) -> dict[str, str]:
    """Container tags of a media file, {} where it is none."""
    try:
        with av.open(str(path)) as container:
            return dict(container.metadata)
    except (av.error.FFmpegError, OSError):
        return {}
