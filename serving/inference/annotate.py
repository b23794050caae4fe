"""`predict --annotate`: draws the face box and the predictions onto the recording."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np

from affectstream.core import atomic_io, progress
from affectstream.core.errors import MediaError
from affectstream.preprocessing.media.containers import open_container
from affectstream.preprocessing.media.media_file import pixel_aspect, rgb
from affectstream.preprocessing.media.track_selection import ChosenTracks, choose_tracks
from affectstream.preprocessing.media.video.stream_decoders import to_square_pixels
from affectstream.serving.inference.prediction import Prediction, WindowPrediction

BOX_COLOR = (86, 180, 233)
BAR_COLOR = (230, 159, 0)
ABSTAINED_COLOR = (150, 150, 150)
# A box older than this is no longer drawn: the face has left.
MAX_BOX_AGE_S = 0.5
SOUND_RATE_HZ = 48000
# Time base of the written video; fine enough for any frame rate, also a variable one.
TIME_BASE = Fraction(1, 90_000)


def annotate(path: Path, prediction: Prediction, out: Path) -> None:
    """Writes `out` (.mp4, H.264 and AAC): face box, label and the probability of each class.

    Args:
      prediction: for this file.
    Raises:
      MediaError: no video in the file, or it cannot be decoded completely.
    """
    for _ in annotate_frames(path, prediction, out):
        pass


def annotate_frames(path: Path, prediction: Prediction, out: Path) -> Iterator[None]:
    """As `annotate`, but yields after each video or audio frame."""
    try:
        with open_container(path) as source, atomic_io.atomic_write(out) as temporary:
            chosen = choose_tracks(source, lambda: open_container(path))
            if chosen.video is None:
                raise MediaError(f"{path}: no picture to draw on; --annotate needs a video")
            with av.open(str(temporary), "w", format="mp4") as target:
                yield from _copied(path, source, chosen, target, prediction)
    except av.error.FFmpegError as error:
        raise MediaError(
            f"{path}: damaged, so that nothing can be drawn on it ({error.strerror});"
            " leave --annotate out, or convert it"
        ) from error


def _copied(
    path: Path, source: Any, chosen: ChosenTracks, target: Any, prediction: Prediction
) -> Iterator[None]:
    video = chosen.video
    aspect = pixel_aspect(video)
    video.thread_type = "AUTO"
    # All streams must exist before the first packet is written; the first frame sets the size.
    first = next(source.decode(video), None)
    if first is None:
        raise MediaError(f"{path}: no picture can be decoded; leave --annotate out, or convert it")
    height_px, width_px = rgb(to_square_pixels(first, aspect)).shape[:2]
    source.seek(0)
    drawn = target.add_stream("libx264", rate=video.average_rate or 25, options={"crf": "20"})
    drawn.width, drawn.height = width_px - width_px % 2, height_px - height_px % 2
    drawn.pix_fmt = "yuv420p"
    drawn.codec_context.time_base = TIME_BASE
    sounds = [chosen.audio] if chosen.audio is not None else []
    sound: Any = target.add_stream("aac", rate=SOUND_RATE_HZ) if sounds else None
    resampler = av.AudioResampler("fltp", "stereo", SOUND_RATE_HZ)
    overlay, zero_s = _Overlay(prediction), (source.start_time or 0) / av.time_base
    with progress.bar(video.frames or None, "annotate", "frame") as bar:
        for frame in source.decode([video, *sounds]):
            yield
            if isinstance(frame, av.AudioFrame):
                for piece in resampler.resample(frame):
                    target.mux(sound.encode(piece))
                continue
            time_s = float(frame.time or 0.0)
            picture = overlay.draw(rgb(to_square_pixels(frame, aspect)), time_s - zero_s)[
                : drawn.height, : drawn.width
            ]
            made = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            made.pts, made.time_base = round(time_s / TIME_BASE), TIME_BASE
            target.mux(drawn.encode(made))
            bar.update()
    for stream in (drawn, sound):
        if stream is not None:
            target.mux(stream.encode(None))


class _Overlay:
    """Draws the prediction for one time onto a frame."""

    def __init__(self, prediction: Prediction) -> None:
        self._prediction = prediction
        self._box_times_s = [time_s for time_s, _ in prediction.boxes]

    def draw(self, picture: np.ndarray, time_s: float) -> np.ndarray:
        picture = np.ascontiguousarray(picture)
        scale = max(picture.shape[0] / 480, 0.4)
        index = bisect_right(self._box_times_s, time_s + 1e-6) - 1
        if index >= 0 and time_s - self._box_times_s[index] <= MAX_BOX_AGE_S:
            x, y, width, height = (round(v) for v in self._prediction.boxes[index][1])
            corners = (x, y), (x + width, y + height)
            cv2.rectangle(picture, *corners, BOX_COLOR, max(1, round(2 * scale)))
        window = self._window(time_s)
        if window is not None:
            _bars(picture, window, scale)
        return picture

    def _window(self, time_s: float) -> WindowPrediction | None:
        """The window around `time_s` with the nearest middle."""
        inside = [w for w in self._prediction.windows if w.start_s <= time_s <= w.end_s]
        return min(inside, key=lambda w: abs(w.start_s + w.end_s - 2 * time_s), default=None)


def _bars(picture: np.ndarray, window: WindowPrediction, scale: float) -> None:
    row, wide = round(18 * scale), round(90 * scale)
    ordered = sorted(window.probabilities.items(), key=lambda item: -item[1])
    num_rows = len(ordered) + int(window.abstained)
    panel = picture[: row * num_rows + row // 2, : 2 * wide + row]
    panel[:] = panel // 3
    color = ABSTAINED_COLOR if window.abstained else BAR_COLOR
    for index, (label, probability) in enumerate(ordered):
        base = row * (index + 1)
        end = (wide + round(wide * probability), base)
        cv2.rectangle(picture, (wide, base - row + 4), end, color, -1)
        _write(picture, label, base, scale)
    if window.abstained:
        _write(picture, "abstained", row * num_rows, scale)


def _write(picture: np.ndarray, text: str, base: int, scale: float) -> None:
    """Draws text above the pixel row `base`, at the left edge."""
    cv2.putText(
        picture,
        text,
        (4, base - 3),
        cv2.FONT_HERSHEY_SIMPLEX,
        0.42 * scale,
        (255, 255, 255),
        max(1, round(scale)),
        cv2.LINE_AA,
    )
