"""Statistics over all windows of one recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from affectstream.serving.inference.prediction import Probabilities, pooled, rounded, top_label
from affectstream.serving.inference.windows import (
    MIN_FACE_SHARE,
    FaceIdentities,
    TrackedFrame,
    Window,
)


class RecordingStats:
    """Counts frames, faces and audio; overlapping segments of windows count once.

    Args:
      pooling: of the model, see `WindowSettings`.
    """

    def __init__(self, pooling: str) -> None:
        self._pooling = pooling
        self.num_windows = 0
        self.num_frames = 0
        self.num_followed_frames = 0
        self.followed_ids: list[int] = []
        self.boxes: list[tuple[float, tuple[float, float, float, float]]] = []
        self._last_s = -1.0
        self._sounding_s: float | None = None
        self._faces: dict[int, list[Probabilities]] = {}

    def add_windows(self, batch: Sequence[Window]) -> None:
        for window in batch:
            self.num_windows += 1
            if window.sound_coverage is not None:
                self._sounding_s = (self._sounding_s or 0.0) + window.new_sound_s
            for frame in window.frames:
                if frame.time_s > self._last_s:
                    self._count(frame)

    def _count(self, frame: TrackedFrame) -> None:
        self._last_s = frame.time_s
        self.num_frames += 1
        if frame.followed_id is None:
            return
        self.num_followed_frames += 1
        if self.followed_ids[-1:] != [frame.followed_id]:
            self.followed_ids.append(frame.followed_id)
        box = frame.faces[frame.followed_id].box
        self.boxes.append((frame.time_s, (box.x, box.y, box.width, box.height)))

    def face_coverage(self) -> float:
        """Share of the analysed frames that show the followed face."""
        return self.num_followed_frames / max(self.num_frames, 1)

    def sound_coverage(self, duration_s: float) -> float | None:
        """Share of the recording that has audio; None for a model without audio."""
        if self._sounding_s is None:
            return None
        return min(self._sounding_s / duration_s, 1.0) if duration_s > 0 else 0.0

    def add_faces(self, answers: Iterator[tuple[int, Probabilities]]) -> None:
        for person, probabilities in answers:
            self._faces.setdefault(person, []).append(probabilities)

    def faces(self, identities: FaceIdentities) -> Iterator[dict[str, Any]]:
        """Each person who is visible long enough, most often seen first."""
        for person, count in sorted(identities.num_frames.items(), key=lambda item: -item[1]):
            share = count / max(self.num_frames, 1)
            if share >= MIN_FACE_SHARE and person in self._faces:
                mean = pooled(self._faces[person], self._pooling)
                yield {
                    "face": person,
                    "label": top_label(mean),
                    "probabilities": rounded(mean),
                    "face_coverage": round(share, 4),
                    "num_windows": len(self._faces[person]),
                }
