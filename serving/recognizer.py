"""Any recording -> what it says, to a trained run or an exported SavedModel alike."""

from __future__ import annotations

import functools
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
from preprocessing.faces import FaceFinder
from preprocessing.media import MediaFile
from preprocessing.transcripts import Transcriber
from serving.action_units import HOW, ActionUnitInput, with_action_units
from serving.listening import Answered, Listener, Opened
from serving.model_inputs import ModelInputs
from serving.prediction import (
    Prediction,
    Probabilities,
    WindowPrediction,
    mean_probabilities,
    top,
)
from serving.tally import Tally
from serving.windows import People, Window, WindowSettings, windows
from serving.words import TRANSCRIBING_RATE_HZ, Words, require_text

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

    Args:
      forward: a batch of inputs -> outputs.
      config: see above.
      weights_dir: where the face detector's weights lie, if not in the cache.
      detector_at_once: False opens the face detector with the first file that has pictures.
    """

    def __init__(
        self,
        forward: Forward,
        config: dict[str, Any],
        weights_dir: Path | None = None,
        detector_at_once: bool = True,
    ) -> None:
        self.config = config
        self.labels: tuple[str, ...] = tuple(config["labels"])
        self.streams: tuple[str, ...] = tuple(config["streams"])
        self._forward = forward
        self._rate_hz: int | None = config["input"].get("sample_rate_hz")
        self._units = ActionUnitInput.of(config)
        num_units = len(self._units.kind.names) if self._units.kind is not None else 0
        self._inputs = ModelInputs(self.streams, config, num_units)
        self._weights_dir = weights_dir
        self._looks = "video" in self.streams and not self._units.from_table
        if self._looks and detector_at_once:
            self._finder  # noqa: B018  (opened, and kept)

    @functools.cached_property
    def _finder(self) -> FaceFinder | BlendshapeFinder:
        """What looks at pictures, for a model that does; opened when it is first needed."""
        if self._units.from_mediapipe:
            return BlendshapeFinder(open_blendshapes(self._weights_dir))
        detector = self.config["preparation"]["detector"]
        # Trained on pictures that were faces already: here they must be found first.
        opened = open_detector("auto" if detector == "none" else detector, self._weights_dir)
        return FaceFinder(opened, CropFormat(**self.config["preparation"]["face"]))

    def __repr__(self) -> str:
        return f"Recognizer({'+'.join(self.streams)} -> {', '.join(self.labels)})"

    def __call__(
        self,
        path: str | Path,
        face: str = "largest",
        window_s: float = 3.0,
        hop_s: float = 1.5,
        action_units: ActionUnitTable | None = None,
        text: str | None = None,
        transcriber: Transcriber | None = None,
        name: str = "",
        listen: Listener | None = None,
    ) -> Prediction:
        """Answers for one recording of any kind and length.

        Args:
          face: "largest" follows the largest face; "all" also answers for every face on its own.
          window_s, hop_s: length and step of the windows in seconds.
          action_units: table of OpenFace, for a model trained on such.
          text: what is said, for a model that knows words.
          transcriber: hears what is said where `text` is None, window by window.
          name: how the answer and messages call the file; the path when left out.
          listen: called when the file is open and after each batch of windows; what it raises ends
            the work.
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
        words = Words(require_text(text), transcriber)
        if words.expected and "text" not in self.streams:
            known = " and ".join(self.streams)
            raise UserError(f"the model knows {known} only, no words; leave them out")
        rate_hz = self._rate_hz or (TRANSCRIBING_RATE_HZ if transcriber is not None else None)
        settings = WindowSettings(window_s, hop_s, self._inputs.num_frames)
        people = People()
        answers: list[WindowPrediction] = []
        tally = Tally()
        listen = listen or _ignore
        with MediaFile(path, name, num_threads=DECODING_THREADS) as media:
            listen(_opened(media, rate_hz))
            lacking = self._lacking(media, table)
            if self.streams == ("text",) and not words.expected:
                raise MediaError(f"{media.name}: {words.lack()}, and the model knows words only")
            shows = media.info.has_video if self._looks else track is not None
            self._require_usable(media, shows, lacking)
            finder = self._finder if self._looks and shows else None
            cut = windows(media, settings, rate_hz, finder, people)
            if track is not None:
                cut = with_action_units(cut, track)
            for batch in _batched(cut):
                tally.add(batch)
                said = [words.of(window.waveform, rate_hz) for window in batch]
                new = self._answer(batch, shows, said)
                answers += new
                listen(Answered(batch, new))
                if face == "all":
                    tally.add_faces(self._answer_faces(batch))
            lacking["text"] = words.lack()
            warnings = tuple(self._warnings(media, answers, tally, lacking))
            return self._whole(media, answers, tally, people, face, shows, lacking, warnings)

    def read(self, text: str, name: str = "text") -> Prediction:
        """Answers for words alone.

        Args:
          text: one utterance, of any length; the model looks at its beginning only.
          name: shown as the path of the answer.
        Raises:
          MediaError: the model knows no words, or there are none.
        """
        if "text" not in self.streams:
            known = " and ".join(self.streams)
            raise MediaError(f"{name}: words, and the model knows {known} only; use another")
        require_text(text)
        window = Window(0.0, 0.0, None, ())
        answers = self._answer([window], False, [text])
        if not answers:
            raise MediaError(f"{name}: no words in it; leave it out")
        answer = answers[0]
        others = [stream for stream in self.streams if stream != "text"]
        warnings = [f"words only: answered without {stream}" for stream in others]
        return Prediction(
            name,
            0.0,
            answer.label,
            answer.probabilities,
            answer.streams,
            None,
            tuple(answers),
            (*warnings, *self._stamps()),
        )

    # === Batches of windows ===

    def _answer(
        self, batch: Sequence[Window], shows: bool, said: Sequence[str]
    ) -> list[WindowPrediction]:
        followed = [
            [
                frame.faces.get(frame.followed) if frame.followed is not None else None
                for frame in window.frames
            ]
            for window in batch
        ]
        inputs = self._inputs.batch([window.waveform for window in batch], followed, said)
        present = self._inputs.present(inputs)
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
            outputs = self._forward(
                self._inputs.batch([None] * len(faces), faces, [""] * len(faces))
            )
            for (person, _), values in zip(few, outputs["video_probabilities"], strict=True):
                yield person, self._named(values)

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
                {"audio": "no sound (or silence)", "video": unseen, "text": lacking["text"]}[s]
                for s in self.streams
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
            boxes=tuple(tally.boxes) if self._looks else (),
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
        yield from self._stamps()

    def _stamps(self) -> Iterator[str]:
        if self.config["synthetic"]:
            yield "the model was trained on SYNTHETIC data"
        if self.config["leak_allowed"]:
            yield "the model was trained with --allow-leak"


def _opened(media: MediaFile, rate_hz: int | None) -> Opened:
    info = media.info
    return Opened(info.duration_s, info.has_audio, info.has_video, rate_hz)


def _ignore(event: Opened | Answered) -> None:
    """Listens to nothing."""


def _batched(items: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(itertools.islice(items, WINDOWS_A_BATCH)):
        yield batch
