"""`Recognizer`: predicts emotions for recordings with a trained run or an exported model."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from affectstream.core.errors import MediaError, UserError
from affectstream.opencv_model.tracking import CropFormat
from affectstream.parallel.isolated_worker import IsolatedWorker
from affectstream.preprocessing.faces.action_units import ActionUnitTable
from affectstream.preprocessing.faces.face_finder import Face, FrameAnalyzer
from affectstream.preprocessing.media.audio.speech_activity import StreamingVad
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.media.media_reader import MediaReader
from affectstream.preprocessing.media.video.frame_sampling import FrameSampling
from affectstream.preprocessing.windowing import WindowSettings, select_streams
from affectstream.serving.inference.action_unit_tables import (
    TABLE_HINT,
    ActionUnitInput,
    rows_between,
)
from affectstream.serving.inference.isolated_reader import (
    NUM_DECODING_THREADS,
    FrameAnalyzerSpec,
    IsolatedMediaFile,
)
from affectstream.serving.inference.known_words import KnownWords, known_words_warning
from affectstream.serving.inference.model_inputs import ModelInputs
from affectstream.serving.inference.predict_options import PredictOptions
from affectstream.serving.inference.prediction import Prediction, Probabilities, WindowPrediction
from affectstream.serving.inference.progress_events import FileOpened, ProgressCallback, WindowsDone
from affectstream.serving.inference.recording import Recording, model_warnings
from affectstream.serving.inference.window_text import (
    TRANSCRIBER_RATE_HZ,
    RecordingText,
    require_utf8,
)
from affectstream.serving.inference.windows import ReadSettings, Window, iter_windows

Forward = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]
Item = TypeVar("Item")
WINDOWS_PER_BATCH = 8


class Recognizer:
    """A loaded model that predicts for files.

    Attributes:
      labels: classes, in the order of the model's outputs.
      streams: input streams of the model.
      config: config of the model (`assets/config.json`).
      window_settings: how recordings are cut into windows.
      known_words: the vocabulary, if known; used to warn of text with few known words.

    Args:
      forward: maps a batch of inputs to outputs.
      config: see above.
      weights_dir: folder of the face detector's weights; None uses the cache.
      detector: replaces the model's own; "none" uses each image whole.
      eager_detector: False opens the face detector with the first file that has video.
      reader: process that reads the recordings, so that a crash there does not end this process;
        None reads them here.
    Raises:
      UserError: `detector` for a model without face crops; weights missing or wrong.
    """

    def __init__(
        self,
        forward: Forward,
        config: dict[str, Any],
        weights_dir: Path | None = None,
        detector: str | None = None,
        eager_detector: bool = True,
        reader: IsolatedWorker | None = None,
    ) -> None:
        self.config = config
        self.labels: tuple[str, ...] = tuple(config["labels"])
        self.streams: tuple[str, ...] = tuple(config["streams"])
        self.window_settings = WindowSettings(**config["windows"])
        self.known_words: KnownWords | None = None
        self._forward = forward
        self._rate_hz: int | None = config["input"].get("sample_rate_hz")
        self._units = ActionUnitInput.from_config(config)
        num_units = len(self._units.kind.names) if self._units.kind is not None else 0
        self._inputs = ModelInputs(self.streams, config, num_units)
        self._weights_dir = weights_dir
        self._detector = detector
        self._looks = "video" in self.streams and not self._units.from_table
        self._reader = reader
        if detector is not None and (not self._looks or self._units.from_mediapipe):
            raise UserError(
                f"detector {detector}: the model cuts out no faces ({', '.join(self.streams)});"
                " leave it out"
            )
        if self._looks and eager_detector:
            self._finder  # noqa: B018  (opened, and kept)

    @functools.cached_property
    def _finder(self) -> FrameAnalyzer:
        """Analyses video frames; opened on first use."""
        return self._frame_analyzer.open()

    @property
    def _frame_analyzer(self) -> FrameAnalyzerSpec:
        preparation = self.config["preparation"]
        # The model was trained on still images of faces; here faces must be detected first.
        own = "auto" if preparation["detector"] == "none" else preparation["detector"]
        detector = "" if self._units.from_mediapipe else self._detector or own
        return FrameAnalyzerSpec(detector, CropFormat(**preparation["face"]), self._weights_dir)

    def _open(self, path: str | Path, name: str) -> MediaReader:
        if self._reader is None:
            return MediaFile(path, name, num_threads=NUM_DECODING_THREADS)
        return IsolatedMediaFile(self._reader, path, name)

    def _finder_in_use(self) -> FrameAnalyzer:
        return self._finder if self._reader is None else self._frame_analyzer

    def __repr__(self) -> str:
        return f"Recognizer({'+'.join(self.streams)} -> {', '.join(self.labels)})"

    def __call__(
        self,
        path: str | Path,
        options: PredictOptions | None = None,
        name: str = "",
        on_progress: ProgressCallback | None = None,
    ) -> Prediction:
        """Predicts for one recording of any kind and length.

        Args:
          options: options of the user; None for the defaults.
          name: name of the file in the prediction and in messages; None uses the path.
          on_progress: called when the file is open and after each batch of windows; an exception
            from it ends the work.
        Raises:
          UserError: a missing or unsuitable table for a model that uses nothing else; a `hop_s`
            above the model's own window.
          MediaError: unreadable, without any stream that the model can use, or above the limits of
            the `reader` process.
          ValueError: `window_s` or `hop_s` out of range.
        """
        options = options or PredictOptions()
        reading = self._reading(options)
        table = self._action_unit_table(options.action_units)
        track = self._units.find_track(table, Path(path))
        words = self._words(options)
        on_progress = on_progress or _ignore
        with self._open(path, name) as media:
            info = media.info
            on_progress(
                FileOpened(info.duration_s, info.has_audio, info.has_video, reading.sample_rate_hz)
            )
            recording = Recording(
                media,
                self.config,
                self._units,
                table,
                info.has_video if self._looks else track is not None,
                words,
                reading.settings,
                self._speech_meter(media, reading),
                self.known_words,
            )
            recording.require_usable()
            finder = self._finder_in_use() if self._looks and info.has_video else None
            frame_lookup = functools.partial(rows_between, track) if track is not None else None
            windows = iter_windows(
                media, reading, finder, recording.identities, frame_lookup, recording.meter
            )
            for batch in _batched(windows):
                new = self._answer_batch(batch, recording, reading)
                on_progress(WindowsDone(batch, new))
                if options.face == "all":
                    recording.stats.add_faces(self._answer_faces(batch))
            return recording.prediction(every_face=options.face == "all")

    def _speech_meter(self, media: MediaReader, reading: ReadSettings) -> StreamingVad | None:
        if "audio" not in self.streams or not media.info.has_audio:
            return None
        return None if reading.sample_rate_hz is None else StreamingVad(reading.sample_rate_hz)

    def _answer_batch(
        self, batch: Sequence[Window], recording: Recording, reading: ReadSettings
    ) -> list[WindowPrediction]:
        """Predicts some windows and adds them to the results of the recording."""
        recording.stats.add_windows(batch)
        words, rate_hz = recording.text, reading.sample_rate_hz
        said = [words.text_of(window.asr_waveform, rate_hz) for window in batch]
        whole_s = recording.media.info.duration_s
        is_whole = reading.is_one_record(whole_s)  # each window transcribes all of it
        for window, text in zip(batch, said, strict=True):
            words.add_transcript(window.start_s, whole_s if is_whole else window.end_s, text)
        new = self._answer(batch, recording.has_video_input, said, words.transcript_of)
        recording.predictions += new
        return new

    def predict_text(self, text: str, name: str = "text") -> Prediction:
        """Predicts from text alone.

        Args:
          text: one utterance of any length; the model reads only its beginning.
          name: shown as the path of the prediction.
        Raises:
          MediaError: the model has no text stream, or the text is empty.
        """
        if "text" not in self.streams:
            known = " and ".join(self.streams)
            raise MediaError(f"{name}: words, and the model knows {known} only; use another")
        require_utf8(text)
        window = Window(0.0, 0.0, None, ())
        answers = self._answer([window], False, [text])
        if not answers:
            raise MediaError(f"{name}: no words in it; leave it out")
        answer = answers[0]
        others = [stream for stream in self.streams if stream != "text"]
        warnings = [f"words only: answered without {stream}" for stream in others]
        share = self._known_word_share(text)
        return Prediction(
            name,
            0.0,
            answer.label,
            answer.probabilities,
            answer.streams,
            None,
            tuple(answers),
            (*warnings, *known_words_warning(share), *model_warnings(self.config)),
            known_word_share=share,
        )

    # === Inputs beside the recording ===

    def _action_unit_table(self, action_units: ActionUnitTable | None) -> ActionUnitTable | None:
        table = self._units.select_columns(action_units)
        if self.streams == ("video",) and self._units.from_table and table is None:
            raise UserError(
                "the model knows only action units of OpenFace, which cannot be computed here;"
                f" {TABLE_HINT}"
            )
        return table

    def _words(self, options: PredictOptions) -> RecordingText:
        words = RecordingText(require_utf8(options.text), options.transcriber)
        if words.is_expected and "text" not in self.streams:
            known = " and ".join(self.streams)
            raise UserError(f"the model knows {known} only, no words; leave them out")
        return words

    # === Batches of windows ===

    def _reading(self, options: PredictOptions) -> ReadSettings:
        own, window_s, hop_s = self.window_settings, options.window_s, options.hop_s
        if window_s is None and hop_s is not None and hop_s > own.window_s:
            raise UserError(
                f"hop_s={hop_s:g} must not be above window_s, of this model {own.window_s:g}"
            )
        preparation = self.config["preparation"]
        given = preparation["sampling"]
        sampling = FrameSampling(given["mode"], max(1, int(given["num_frames"])))
        is_own = window_s is None and hop_s is None
        longest_s = float(preparation.get("max_clip_s", 0.0)) if is_own else 0.0
        rate_hz = self._rate_hz or (TRANSCRIBER_RATE_HZ if options.transcriber else None)
        return ReadSettings(own.with_overrides(window_s, hop_s), rate_hz, sampling, longest_s)

    def _answer(
        self,
        batch: Sequence[Window],
        has_video_input: bool,
        said: Sequence[str],
        transcript_of: Callable[[str], str | None] = lambda text: None,
    ) -> list[WindowPrediction]:
        rows = [self._row(window, text) for window, text in zip(batch, said, strict=True)]
        rows = [row for row in rows if row.streams]
        if not rows:
            return []
        inputs = self._inputs.batch(
            [row.window.waveform if "audio" in row.streams else None for row in rows],
            [row.faces if "video" in row.streams else [] for row in rows],
            [row.text if "text" in row.streams else "" for row in rows],
        )
        outputs = self._forward(inputs)
        return [
            WindowPrediction(
                row.window.start_s,
                row.window.end_s,
                self.labels[int(outputs["probabilities"][number].argmax())],
                self._named(outputs["probabilities"][number]),
                {
                    stream: self._named(outputs[f"{stream}_probabilities"][number])
                    for stream in self.streams
                    if stream in row.streams
                },
                row.face_coverage if has_video_input and row.faces else None,
                sound_coverage=row.window.sound_coverage if "audio" in self.streams else None,
                speech_share=row.window.speech_share,
                transcript=transcript_of(row.text),
                known_word_share=self._known_word_share(row.text),
            )
            for number, row in enumerate(rows)
        ]

    def _known_word_share(self, text: str) -> float | None:
        """None where there is no text, or the vocabulary is not known."""
        if self.known_words is None or not text.strip():
            return None
        return self.known_words.share(text)

    def _row(self, window: Window, text: str) -> _Row:
        """The model's inputs from one window, and the streams with enough coverage."""
        faces = [
            frame.faces.get(frame.followed_id) if frame.followed_id is not None else None
            for frame in window.frames
        ]
        seen = sum(face is not None for face in faces) / max(len(faces), 1)
        heard = window.sound_coverage if window.waveform is not None else None
        covers = {"audio": heard or 0.0, "video": seen, "text": float(bool(text.strip()))}
        own = {stream: covers[stream] for stream in self.streams}
        count = select_streams(own, self.window_settings.min_coverage)
        return _Row(window, faces, text, seen, count)

    def _answer_faces(self, batch: Sequence[Window]) -> Iterator[tuple[int, Probabilities]]:
        """Predicts from each person's face alone, for each window that shows it."""
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


@dataclass(frozen=True)
class _Row:
    """Model inputs of one window.

    Attributes:
      faces: the followed face in each analysed frame; None where it is not visible.
      face_coverage: share of the frames that show it.
      streams: streams with enough coverage.
    """

    window: Window
    faces: list[Face | None]
    text: str
    face_coverage: float
    streams: frozenset[str]


def _ignore(event: FileOpened | WindowsDone) -> None:
    """Ignores all progress events."""


def _batched(items: Iterator[Item]) -> Iterator[list[Item]]:
    while batch := list(itertools.islice(items, WINDOWS_PER_BATCH)):
        yield batch
