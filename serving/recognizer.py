"""Any recording -> what it says, to a trained run or an exported SavedModel alike."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from engines.streaming import Streaming
from errors import MediaError, UserError
from opencv_model.track import CropFormat
from preprocessing.action_units import ActionUnitTable
from preprocessing.blendshapes import BlendshapeFinder
from preprocessing.faces import FaceFinder
from preprocessing.media import MediaFile
from preprocessing.transcripts import Transcriber
from serving.action_units import HOW, ActionUnitInput, with_action_units
from serving.elsewhere import DECODING_THREADS, FileElsewhere, Looker
from serving.listening import Answered, Listener, Opened
from serving.model_inputs import ModelInputs
from serving.prediction import Prediction, Probabilities, WindowPrediction
from serving.recording import Recording, stamps
from serving.windows import Window, WindowSettings, windows
from serving.words import TRANSCRIBING_RATE_HZ, Words, require_text

Forward = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
Item = TypeVar("Item")
WINDOWS_A_BATCH = 8


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
      detector: another than the model's own; "none" takes each picture whole.
      detector_at_once: False opens the face detector with the first file that has pictures.
    Raises:
      UserError: `detector` for a model that is given no pictures; weights absent or wrong.
    """

    def __init__(
        self,
        forward: Forward,
        config: dict[str, Any],
        weights_dir: Path | None = None,
        detector: str | None = None,
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
        self._detector = detector
        self._looks = "video" in self.streams and not self._units.from_table
        self._process: Streaming | None = None
        if detector is not None and (not self._looks or self._units.from_mediapipe):
            raise UserError(
                f"detector {detector}: the model cuts out no faces ({', '.join(self.streams)});"
                " leave it out"
            )
        if self._looks and detector_at_once:
            self._finder  # noqa: B018  (opened, and kept)

    @functools.cached_property
    def _finder(self) -> FaceFinder | BlendshapeFinder:
        """What looks at pictures, for a model that does; opened when it is first needed."""
        return self._looker.open()

    @property
    def _looker(self) -> Looker:
        preparation = self.config["preparation"]
        # Trained on pictures that were faces already: here they must be found first.
        own = "auto" if preparation["detector"] == "none" else preparation["detector"]
        detector = "" if self._units.from_mediapipe else self._detector or own
        return Looker(detector, CropFormat(**preparation["face"]), self._weights_dir)

    def read_in(self, process: Streaming) -> None:
        """Has recordings read in another process from now on, which may die without this one."""
        self._process = process

    def _open(self, path: str | Path, name: str) -> MediaFile | FileElsewhere:
        if self._process is None:
            return MediaFile(path, name, num_threads=DECODING_THREADS)
        return FileElsewhere(self._process, path, name)

    def _finder_in_use(self) -> FaceFinder | BlendshapeFinder | Looker:
        return self._finder if self._process is None else self._looker

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
          MediaError: unreadable, without any stream that the model can use, or more than the
            process of `read_in` could bear.
          ValueError: `face`, `window_s` or `hop_s` out of range.
        """
        _require_settings(face, window_s, hop_s)
        table = self._fitting(action_units)
        track = self._units.find(table, Path(path))
        words = self._words(text, transcriber)
        rate_hz = self._rate_hz or (TRANSCRIBING_RATE_HZ if transcriber is not None else None)
        settings = WindowSettings(window_s, hop_s, self._inputs.num_frames)
        listen = listen or _ignore
        with self._open(path, name) as media:
            listen(_opened(media, rate_hz))
            shows = media.info.has_video if self._looks else track is not None
            recording = Recording(media, self.config, self._units, table, shows, words)
            recording.require_usable()
            finder = self._finder_in_use() if self._looks and shows else None
            cut = windows(media, settings, rate_hz, finder, recording.people)
            for batch in _batched(cut if track is None else with_action_units(cut, track)):
                recording.tally.add(batch)
                said = [words.of(window.waveform, rate_hz) for window in batch]
                new = self._answer(batch, shows, said)
                recording.answers += new
                listen(Answered(batch, new))
                if face == "all":
                    recording.tally.add_faces(self._answer_faces(batch))
            return recording.prediction(every_face=face == "all")

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
            (*warnings, *stamps(self.config)),
        )

    # === What is given beside the recording ===

    def _fitting(self, action_units: ActionUnitTable | None) -> ActionUnitTable | None:
        table = self._units.fitting(action_units)
        if self.streams == ("video",) and self._units.from_table and table is None:
            raise UserError(
                "the model knows only action units of OpenFace, which cannot be computed here;"
                f" {HOW}"
            )
        return table

    def _words(self, text: str | None, transcriber: Transcriber | None) -> Words:
        words = Words(require_text(text), transcriber)
        if words.expected and "text" not in self.streams:
            known = " and ".join(self.streams)
            raise UserError(f"the model knows {known} only, no words; leave them out")
        return words

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


def _require_settings(face: str, window_s: float, hop_s: float) -> None:
    if face not in ("largest", "all"):
        raise ValueError(f"face must be 'largest' or 'all', received {face!r}")
    if not 0 < hop_s <= window_s:
        raise ValueError(f"0 < hop_s <= window_s is needed, received {hop_s}, {window_s}")


def _opened(media: MediaFile | FileElsewhere, rate_hz: int | None) -> Opened:
    info = media.info
    return Opened(info.duration_s, info.has_audio, info.has_video, rate_hz)


def _ignore(event: Opened | Answered) -> None:
    """Listens to nothing."""


def _batched(items: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(itertools.islice(items, WINDOWS_A_BATCH)):
        yield batch
