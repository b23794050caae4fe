"""What was seen over all windows of one recording."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from serving.prediction import Probabilities, mean_probabilities, rounded, top
from serving.windows import MIN_FACE_SHARE, People, SeenFrame, Window


class Tally:
    """Counts over the windows of one recording; frames in two windows count once."""

    def __init__(self) -> None:
        self.num_windows = 0
        self.num_frames = 0
        self.num_followed = 0
        self.followed_people: list[int] = []
        self.boxes: list[tuple[float, tuple[float, float, float, float]]] = []
        self._last_s = -1.0
        self._faces: dict[int, list[Probabilities]] = {}

    def add(self, batch: Sequence[Window]) -> None:
        for window in batch:
            self.num_windows += 1
            for frame in window.frames:
                if frame.time_s > self._last_s:
                    self._count(frame)

    def _count(self, frame: SeenFrame) -> None:
        self._last_s = frame.time_s
        self.num_frames += 1
        if frame.followed is None:
            return
        self.num_followed += 1
        if self.followed_people[-1:] != [frame.followed]:
            self.followed_people.append(frame.followed)
        box = frame.faces[frame.followed].box
        self.boxes.append((frame.time_s, (box.x, box.y, box.width, box.height)))

    def add_faces(self, answers: Iterator[tuple[int, Probabilities]]) -> None:
        for person, probabilities in answers:
            self._faces.setdefault(person, []).append(probabilities)

    def faces(self, people: People) -> Iterator[dict[str, Any]]:
        """Each person who is there long enough, most often seen first."""
        for person, count in sorted(people.num_frames.items(), key=lambda item: -item[1]):
            share = count / max(self.num_frames, 1)
            if share >= MIN_FACE_SHARE and person in self._faces:
                mean = mean_probabilities(self._faces[person])
                yield {
                    "face": person,
                    "label": top(mean),
                    "probabilities": rounded(mean),
                    "face_coverage": round(share, 4),
                    "num_windows": len(self._faces[person]),
                }
