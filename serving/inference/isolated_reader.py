"""Reads recordings in an isolated process; rejects a file that crashes it or exceeds limits."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av

from affectstream.core import storage_paths
from affectstream.core.atomic_io import TEMPORARY_MARK
from affectstream.core.errors import MediaError
from affectstream.opencv_model.blendshapes import open_blendshapes
from affectstream.opencv_model.detectors.auto_detector import open_detector
from affectstream.opencv_model.tracking import CropFormat
from affectstream.parallel.isolated_worker import IsolatedWorker, WorkerDiedError
from affectstream.parallel.tasks import TaskLimits
from affectstream.preprocessing.faces.blendshapes import BlendshapeFinder
from affectstream.preprocessing.faces.face_finder import FaceFinder, FrameFaces, PictureAnalyzer
from affectstream.preprocessing.media.completeness import Completeness
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.media.media_reader import MediaInfo, MediaSegment
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.media.video.stream_decoders import FrameCallback

# One file at a time: the next frame is decoded while the faces of this one are detected.
NUM_DECODING_THREADS = 4


@dataclass(frozen=True)
class FrameAnalyzerSpec:
    """Picklable `FrameAnalyzer`, which is sent to the isolated process and opened there.

    Attributes:
      detector: its name, "none" if each image is a face and is used whole, or "" if the video
        stream holds MediaPipe's blendshapes.
      face: how faces are cropped.
      weights_dir: folder of the weights; None uses the cache.
    """

    detector: str
    face: CropFormat
    weights_dir: Path | None

    def detect_frame(self, frame: av.VideoFrame) -> FrameFaces:
        """Faces of a decoded frame; opens the analyzer with the first one."""
        return _opened(self).detect_frame(frame)

    def open(self) -> PictureAnalyzer:
        """Opens the analyzer.

        Raises:
          UserError: weights are missing or wrong.
        """
        if not self.detector:
            return BlendshapeFinder(open_blendshapes(self.weights_dir))
        if self.detector == "none":
            return FaceFinder(None, self.face)
        return FaceFinder(open_detector(self.detector, self.weights_dir), self.face)


@functools.lru_cache(1)
def _opened(spec: FrameAnalyzerSpec) -> PictureAnalyzer:
    return spec.open()


class IsolatedMediaFile:
    """A recording that is read in another process (a `MediaReader`).

    Args:
      process: the process that reads the file.
      path, name: as for `MediaFile`.
    Raises:
      MediaError: as for `MediaFile`, or the process died.
    """

    def __init__(self, process: IsolatedWorker, path: str | Path, name: str = "") -> None:
        self.name = name or str(path)
        self._process = process
        self._path = storage_paths.storage_path(path)
        self.completeness = Completeness()
        (self.info,) = self._run(_info)

    def __enter__(self) -> IsolatedMediaFile:
        return self

    def __exit__(self, *_: object) -> None:
        """The process closes the file after its last segment, or when the next file is opened."""

    def segments(
        self,
        bounds_s: Sequence[tuple[float, float]],
        sample_rate_hz: int,
        sampling: FrameSampling | None,
        on_frame: FrameCallback,
    ) -> Iterator[MediaSegment]:
        """See `MediaReader`; each segment is a step of the process.

        Args:
          on_frame: from a `FrameAnalyzerSpec` if frames are requested.
        """
        wanted = on_frame if sampling is not None else None
        arguments = tuple(bounds_s), sample_rate_hz, sampling, wanted
        for tracks in self._run(_tracks, *arguments):
            self.completeness += tracks.completeness
            yield tracks

    def _run(self, work: Any, *arguments: Any) -> Iterator[Any]:
        with (
            worker_death_as_media_error(self.name),
            contextlib.closing(
                self._process(work, self._path, self.name, *arguments)  # type: ignore[type-var]
            ) as pieces,
        ):
            yield from pieces


def start_reader_process(limits: TaskLimits) -> IsolatedWorker:
    """Starts a process that reads recordings; it imports no TensorFlow."""
    return IsolatedWorker(limits, (_info,))


@contextlib.contextmanager
def worker_death_as_media_error(name: str) -> Iterator[None]:
    """Turns the death of a process into the rejection of the file that it was reading.

    Raises:
      MediaError: the process died.
    """
    try:
        yield
    except WorkerDiedError as error:
        reason = str(error)
        remedy = "leave it out"
        if reason.startswith(("took", "needs")):
            remedy += ", or give a larger --timeout-s or --memory-limit-gb"
        raise MediaError(f"{name}: {reason}; {remedy}") from error


def annotate_isolated(process: IsolatedWorker, path: Path, prediction: Any, out: Path) -> None:
    """`annotate` in another process; each frame is a step.

    Raises:
      MediaError: as for `annotate`, or the process died.
    """
    try:
        with worker_death_as_media_error(str(path)):
            for _ in process(_annotated, path, prediction, out):
                pass
    finally:  # left by a process that died
        for left in out.parent.glob(f"{out.stem}{TEMPORARY_MARK}*{out.suffix}"):
            left.unlink(missing_ok=True)


# === In the process ===

# The file that was opened to read its info and will be decoded next.
_held: list[MediaFile] = []


def _info(path: Path, name: str) -> Iterator[MediaInfo]:
    before = _taken()
    if before is not None:
        before.__exit__(None, None, None)
    _held.append(MediaFile(path, name, num_threads=NUM_DECODING_THREADS))
    yield _held[0].info


def _taken() -> MediaFile | None:
    """Takes the open file; the caller must close it."""
    return _held.pop() if _held else None


def _tracks(
    path: Path,
    name: str,
    bounds_s: Sequence[tuple[float, float]],
    sample_rate_hz: int,
    sampling: FrameSampling | None,
    look: FrameCallback,
) -> Iterator[MediaSegment]:
    # The process may have been restarted since the file was opened to read its info.
    with _taken() or MediaFile(path, name, num_threads=NUM_DECODING_THREADS) as media:
        for tracks in media.segments(bounds_s, sample_rate_hz, sampling, look):
            yield replace(tracks, frames=[replace(seen, content=b"") for seen in tracks.frames])


def _annotated(path: Path, prediction: Any, out: Path) -> Iterator[None]:
    from affectstream.serving.inference.annotate import annotate_frames

    yield from annotate_frames(path, prediction, out)
