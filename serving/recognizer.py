"""Any recording -> what it says, to a trained run or an exported SavedModel alike."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from errors import MediaError, UserError
from opencv_model.blendshapes import open_blendshapes
from opencv_model.choose import open_detector
from opencv_model.track import CropFormat
from preprocessing.action_units import ActionUnitTable
from preprocessing.blendshapes import BlendshapeFinder
from preprocessing.faces import Face, FaceFinder
from preprocessing.media import MediaFile
from serving.action_units import HOW, ActionUnitInput, with_action_units
from serving.prediction import (
    Prediction,
    Probabilities,
    WindowPrediction,
    mean_probabilities,
    top,
)
from serving.tally import Tally
from serving.windows import People, Window, WindowSettings, windows

Forward = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
Item = TypeVar("Item")
WINDOWS_A_BATCH = 8
# One file at a time: the next frame is decoded while faces are looked for in this one.
DECODING_THREADS = 4


class Recognizer:
    """A loaded model that answers for files.

    Attributes:
      labels: classes, in the order of the model's outputs.
      streams: what the model can use.
      config: all that is known of the model (`assets/config.json`).
    """

    def __init__(
        self, forward: Forward, config: dict[str, Any], weights_dir: Path | None = None
    ) -> None:
        self.config = config
        self.labels: tuple[str, ...] = tuple(config["labels"])
        self.streams: tuple[str, ...] = tuple(config["streams"])
        self._forward = forward
        self._num_frames = int(config["preparation"]["sampling"]["num_frames"])
        self._rate_hz: int | None = config["input"].get("sample_rate_hz")
        self._units = ActionUnitInput.of(config)
        self._finder: FaceFinder | BlendshapeFinder | None = None
        if self._units.from_mediapipe:
            self._finder = BlendshapeFinder(open_blendshapes(weights_dir))
        elif "video" in self.streams and self._units.kind is None:
            detector = config["preparation"]["detector"]
            # Trained on pictures that were faces already: here they must be found first.
            opened = open_detector("auto" if detector == "none" else detector, weights_dir)
            crop_format = CropFormat(**config["preparation"]["face"])
            self._finder = FaceFinder(opened, crop_format)
            self.detector = opened.name

    def __repr__(self) -> str:
        return f"Recognizer({'+'.join(self.streams)} -> {', '.join(self.labels)})"

    def __call__(
        self,
        path: str | Path,
        face: str = "largest",
        window_s: float = 3.0,
        hop_s: float = 1.5,
        action_units: ActionUnitTable | None = None,
    ) -> Prediction:
        """Answers for one recording of any kind and length.

        Args:
          face: "largest" follows the largest face; "all" also answers for every face on its own.
          window_s, hop_s: length and step of the windows in seconds.
          action_units: table of OpenFace, for a model trained on such.
        Raises:
          UserError: no table or one that does not fit, for a model that knows nothing else.
          MediaError: unreadable, or without any stream that the model can use.
          ValueError: `face`, `window_s` or `hop_s` out of range.
        """
        if face not in ("largest", "all"):
            raise ValueError(f"face must be 'largest' or 'all', received {face!r}")
        if not 0 < hop_s <= window_s:
            raise ValueError(f"0 < hop_s <= window_s is needed, received {hop_s}, {window_s}")
        table = self._units.fitting(action_units)
        if self.streams == ("video",) and self._units.from_table and table is None:
            raise UserError(
                "the model knows only action units of OpenFace, which cannot be computed here;"
                f" {HOW}"
            )
        track = self._units.find(table, Path(path))
        settings = WindowSettings(window_s, hop_s, self._num_frames)
        people = People()
        answers: list[WindowPrediction] = []
        tally = Tally()
        with MediaFile(path, num_threads=DECODING_THREADS) as media:
            lacking = self._lacking(media, table)
            shows = media.info.has_video if self._finder is not None else track is not None
            self._require_usable(media, shows, lacking)
            cut = windows(media, settings, self._rate_hz, self._finder, people)
            if track is not None:
                cut = with_action_units(cut, track)
            for batch in _batched(cut):
                tally.add(batch)
                answers += self._answer(batch, shows)
                if face == "all":
                    tally.add_faces(self._answer_faces(batch))
            warnings = tuple(self._warnings(media, answers, tally, lacking))
            return self._whole(media, answers, tally, people, face, shows, lacking, warnings)

    # === Batches of windows ===

    def _answer(self, batch: Sequence[Window], shows: bool) -> list[WindowPrediction]:
        followed = [
            [
                frame.faces.get(frame.followed) if frame.followed is not None else None
                for frame in window.frames
            ]
            for window in batch
        ]
        inputs = self._inputs([window.waveform for window in batch], followed)
        present = self._present(inputs)
        usable = np.any(list(present.values()), axis=0)
        if not usable.any():
            return []
        outputs = self._forward(inputs)
        answers = []
        for row in map(int, np.flatnonzero(usable)):
            window, faces = batch[row], followed[row]
            coverage = None
            if shows and faces:
                coverage = float(np.mean([face is not None for face in faces]))
            answers.append(
                WindowPrediction(
                    window.start_s,
                    window.end_s,
                    self.labels[int(outputs["probabilities"][row].argmax())],
                    self._named(outputs["probabilities"][row]),
                    {
                        stream: self._named(outputs[f"{stream}_probabilities"][row])
                        for stream in self.streams
                        if present[stream][row]
                    },
                    coverage,
                )
            )
        return answers

    def _answer_faces(self, batch: Sequence[Window]) -> Iterator[tuple[int, Probabilities]]:
        """What each person's face alone says in each window that shows it."""
        rows = [
            (person, [frame.faces.get(person) for frame in window.frames])
            for window in batch
            for person in sorted({p for frame in window.frames for p in frame.faces})
        ]
        for few in _batched(iter(rows)):
            faces = [row[1] for row in few]
            outputs = self._forward(self._inputs([None] * len(faces), faces))
            for (person, _), values in zip(few, outputs["video_probabilities"], strict=True):
                yield person, self._named(values)

    def _inputs(
        self, sounds: Sequence[np.ndarray | None], faces: Sequence[Sequence[Face | None]]
    ) -> dict[str, np.ndarray]:
        inputs: dict[str, np.ndarray] = {}
        rows = len(sounds)
        if "audio" in self.streams:
            lengths = [0 if sound is None else len(sound) for sound in sounds]
            audio = np.zeros((rows, max(1, *lengths)), np.float32)
            for row, sound in enumerate(sounds):
                if sound is not None:
                    audio[row, : len(sound)] = sound
            inputs |= {"audio": audio, "audio_length": np.array(lengths, np.int32)}
        if "video" in self.streams:
            shape, kind = self._frame()
            found = [_evenly([f for f in row if f is not None], self._num_frames) for row in faces]
            most = max(1, *(len(row) for row in found))
            video: np.ndarray = np.zeros((rows, most, *shape), kind)
            mask = np.zeros((rows, most), bool)
            for row, crops in enumerate(found):
                for column, face in enumerate(crops):
                    video[row, column], mask[row, column] = face.crop, True
            inputs |= {"video": video, "video_mask": mask}
        return inputs

    def _frame(self) -> tuple[tuple[int, ...], type]:
        """Shape and dtype of what a frame gives: a face crop, or action units."""
        if self._units.kind is not None:
            return (len(self._units.kind.names),), np.float32
        size, channels = (self.config["input"][k] for k in ("face_size_px", "face_channels"))
        return (size, size, channels), np.uint8

    def _present(self, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        amounts = {"audio": "audio_length", "video": "video_mask"}
        there = {}
        for stream in self.streams:
            amount = inputs[amounts[stream]]
            there[stream] = (amount.any(axis=1) if amount.ndim == 2 else amount > 0).astype(bool)
        return there

    def _named(self, values: np.ndarray) -> Probabilities:
        return {label: float(p) for label, p in zip(self.labels, values, strict=True)}

    # === The whole recording ===

    def _lacking(self, media: MediaFile, table: ActionUnitTable | None) -> dict[str, str]:
        """What to say of a stream that turns out to be missing."""
        picture = "no face found" if media.info.has_video else "no picture"
        return {
            "audio": "silent" if media.info.has_audio else "no sound",
            "video": self._units.lack(table) if self._units.from_table else picture,
        }

    def _require_usable(self, media: MediaFile, shows: bool, lacking: dict[str, str]) -> None:
        if self.streams == ("audio",) and not media.info.has_audio:
            raise MediaError(f"{media.name}: no sound, and the model knows sound only; use another")
        if self.streams == ("video",) and not shows:
            knows = "pictures" if self._units.kind is None else "action units"
            raise MediaError(
                f"{media.name}: {lacking['video']}, and the model knows {knows} only;"
                f" {'add one' if self._units.from_table else 'use another model'}"
            )

    def _whole(
        self,
        media: MediaFile,
        answers: list[WindowPrediction],
        tally: Tally,
        people: People,
        face: str,
        shows: bool,
        lacking: dict[str, str],
        warnings: tuple[str, ...],
    ) -> Prediction:
        if not answers:
            unseen = lacking["video"] if self._units.from_table and not shows else "no face"
            lack = " and ".join(
                {"audio": "no sound (or silence)", "video": unseen}[s] for s in self.streams
            )
            raise MediaError(f"{media.name}: {lack} throughout; nothing to answer from")
        probabilities = mean_probabilities([answer.probabilities for answer in answers])
        streams = {}
        for stream in self.streams:
            own = [answer.streams[stream] for answer in answers if stream in answer.streams]
            if own:
                streams[stream] = mean_probabilities(own)
        coverage = tally.num_followed / tally.num_frames if shows and tally.num_frames else None
        return Prediction(
            path=media.name,
            duration_s=media.info.duration_s,
            label=top(probabilities),
            probabilities=probabilities,
            streams=streams,
            face_coverage=coverage if coverage is not None or not shows else 0.0,
            windows=tuple(answers),
            warnings=warnings,
            faces=tuple(tally.faces(people)) if face == "all" else (),
            boxes=tuple(tally.boxes) if self._finder is not None else (),
        )

    def _warnings(
        self,
        media: MediaFile,
        answers: Sequence[WindowPrediction],
        tally: Tally,
        lacking: dict[str, str],
    ) -> Iterator[str]:
        if media.info.truncated:
            yield f"truncated: {media.info.duration_s:.1f} of {media.info.stated_duration_s:.1f} s"
        for stream in self.streams:
            if not any(stream in answer.streams for answer in answers):
                yield f"{lacking[stream]}: answered without {stream}"
        coverage = tally.num_followed / max(tally.num_frames, 1)
        if 0 < coverage < 0.5:
            yield f"a face in only {coverage:.0%} of the frames looked at"
        if len(answers) < tally.num_windows:
            left_out = tally.num_windows - len(answers)
            yield f"{left_out} windows without sound or face are left out"
        if len(tally.followed_people) > 1:
            yield f"the followed face changed {len(tally.followed_people) - 1} times"
        if self.config["synthetic"]:
            yield "the model was trained on SYNTHETIC data"
        if self.config["leak_allowed"]:
            yield "the model was trained with --allow-leak"


def _evenly(items: list[Item], most: int) -> list[Item]:
    """At most so many of them, evenly spread: a window may hold some more than its hops ask for."""
    if len(items) <= most:
        return items
    return [items[i] for i in np.linspace(0, len(items) - 1, most).round().astype(int)]


def _batched(items: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(itertools.islice(items, WINDOWS_A_BATCH)):
        yield batch
