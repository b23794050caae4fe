"""One recording: checks that the model can use it, and pools the predictions of its windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from affectstream.core.errors import MediaError, pluralize
from affectstream.preprocessing.faces.action_units import ActionUnitTable
from affectstream.preprocessing.media.audio.speech_activity import MIN_SPEECH_SHARE, StreamingVad
from affectstream.preprocessing.media.media_reader import MediaReader
from affectstream.preprocessing.pcm import MIN_AUDIO_S, missing_audio_reason
from affectstream.preprocessing.windowing import WindowSettings
from affectstream.serving.inference.action_unit_tables import ActionUnitInput
from affectstream.serving.inference.known_words import KnownWords, known_words_warning
from affectstream.serving.inference.prediction import (
    Prediction,
    WindowPrediction,
    low_percent,
    pooled,
    top_label,
)
from affectstream.serving.inference.recording_stats import RecordingStats
from affectstream.serving.inference.window_text import RecordingText
from affectstream.serving.inference.windows import FaceIdentities

FEW_FACES = 0.5  # share of the frames below which a warning is given


@dataclass
class Recording:
    """State of a recording during its analysis.

    Attributes:
      media: the open file.
      config: config of the model (`assets/config.json`).
      units: the model's action-unit input, if it uses no face crops.
      table: action-unit table, if given.
      has_video_input: whether there is input for the video stream.
      text: transcript.
      settings: of the windows.
      meter: of speech; None if the recording or the model has no audio.
      known_words: vocabulary of the model, if available.
      predictions: of the windows so far that have usable input.
      stats, identities: statistics and faces of these windows.
    """

    media: MediaReader
    config: Mapping[str, Any]
    units: ActionUnitInput
    table: ActionUnitTable | None
    has_video_input: bool
    text: RecordingText
    settings: WindowSettings
    meter: StreamingVad | None = None
    known_words: KnownWords | None = None
    predictions: list[WindowPrediction] = field(default_factory=list)
    stats: RecordingStats = field(init=False)
    identities: FaceIdentities = field(default_factory=FaceIdentities)

    def __post_init__(self) -> None:
        """Prepares the reasons that are reported for missing streams."""
        self._streams: tuple[str, ...] = tuple(self.config["streams"])
        self.stats = RecordingStats(self.settings.pooling)
        info = self.media.info
        picture = "no face found" if info.has_video else "no picture"
        self._missing_reasons = {
            "audio": missing_audio_reason(info.has_audio, info.duration_s),
            "video": self.units.missing_reason(self.table) if self.units.from_table else picture,
        }

    def _missing_reason(self, stream: str) -> str:
        return self.text.missing_reason() if stream == "text" else self._missing_reasons[stream]

    def require_usable(self) -> None:
        """Rejects a recording that the model cannot use, before decoding it.

        Raises:
          MediaError: the model's only stream is missing.
        """
        name, only = self.media.name, self._streams[0] if len(self._streams) == 1 else ""
        if only == "text" and not self.text.is_expected:
            raise MediaError(
                f"{name}: {self.text.missing_reason()}, and the model knows words only"
            )
        if only == "audio" and not self.media.info.has_audio:
            raise MediaError(f"{name}: no sound, and the model knows sound only; use another")
        if only == "video" and not self.has_video_input:
            knows = "pictures" if self.units.kind is None else "action units"
            raise MediaError(
                f"{name}: {self._missing_reason('video')}, and the model knows {knows} only;"
                f" {'add one' if self.units.from_table else 'use another model'}"
            )

    def prediction(self, every_face: bool) -> Prediction:
        """Pools the predictions of all windows.

        Args:
          every_face: also report each face on its own.
        Raises:
          MediaError: no window has input that the model can use.
        """
        if not self.predictions:
            raise MediaError(
                f"{self.media.name}: {self._nothing()} throughout; nothing to answer from"
            )
        pooling = self.settings.pooling
        probabilities = pooled([answer.probabilities for answer in self.predictions], pooling)
        streams = {}
        for stream in self._streams:
            own = [
                answer.streams[stream] for answer in self.predictions if stream in answer.streams
            ]
            if own:
                streams[stream] = pooled(own, pooling)
        stats = self.stats
        looks = "video" in self._streams and not self.units.from_table
        return Prediction(
            path=self.media.name,
            duration_s=self.media.info.duration_s,
            label=top_label(probabilities),
            probabilities=probabilities,
            streams=streams,
            face_coverage=stats.face_coverage() if self.has_video_input else None,
            windows=tuple(self.predictions),
            warnings=tuple(self._warnings()),
            faces=tuple(stats.faces(self.identities)) if every_face else (),
            boxes=tuple(stats.boxes) if looks else (),
            sound_coverage=stats.sound_coverage(self.media.info.duration_s),
            speech_share=self._speech_share(),
            transcript=self.text.transcript(),
            known_word_share=self._known_word_share(),
        )

    def _nothing(self) -> str:
        """The reasons why the model's streams are missing, in one phrase."""
        no_table = self.units.from_table and not self.has_video_input
        lacks = {
            "audio": self._missing_reasons["audio"]
            if self._is_short()
            else "no sound (or silence)",
            "video": self._missing_reason("video") if no_table else "no face",
            "text": self.text.missing_reason(),
        }
        return " and ".join(lacks[stream] for stream in self._streams)

    def _is_short(self) -> bool:
        return self.media.info.has_audio and self.media.info.duration_s < MIN_AUDIO_S

    def _speech_share(self) -> float | None:
        return None if self.meter is None else self.meter.share()

    def _known_word_share(self) -> float | None:
        text = self.text.given_text if self.text.given_text is not None else self.text.transcript()
        if self.known_words is None or not (text or "").strip():
            return None
        return self.known_words.share(text or "")

    def _warnings(self) -> Iterator[str]:
        info, stats = self.media.info, self.stats
        if info.truncated:
            yield f"truncated: {info.truncation}"
        yield from info.notes
        looks = "video" in self._streams and not self.units.from_table
        yield from self.media.completeness.loss_messages(
            sound="audio" in self._streams, frames=looks
        )
        for stream in self._streams:
            yield from self._warnings_of(stream)
        if self._is_sparse_sound():
            covers = f"less than {self.settings.min_coverage:.0%}"
            yield f"sound in {covers} of each window: the voice answer means little"
        speech = self._speech_share()
        listened = any("audio" in answer.streams for answer in self.predictions)
        if listened and speech is not None and speech < MIN_SPEECH_SHARE:
            found = f"speech in {low_percent(speech)}" if speech else "no speech in any"
            yield f"{found} of the sound: the voice answer means little"
        yield from known_words_warning(self._known_word_share())
        coverage = stats.face_coverage()
        if 0 < coverage < FEW_FACES:
            yield f"a face in {low_percent(coverage)} of the frames looked at"
        if len(self.predictions) < stats.num_windows:
            left_out = stats.num_windows - len(self.predictions)
            windows = pluralize(left_out, "window")
            verb = "is" if left_out == 1 else "are"
            yield f"{windows} without sound or face {verb} left out"
        if len(stats.followed_ids) > 1:
            times = pluralize(len(stats.followed_ids) - 1, "time")
            yield f"the followed face changed {times}"
        yield from model_warnings(self.config)

    def _is_sparse_sound(self) -> bool:
        """Whether sound alone answers, and covers too little of each window to count elsewhere."""
        return all(
            answer.streams.keys() == {"audio"}
            and (answer.sound_coverage or 0.0) < self.settings.min_coverage
            for answer in self.predictions
        )

    def _warnings_of(self, stream: str) -> Iterator[str]:
        """Warnings of a stream that is missing or has too little coverage."""
        num_short = sum(_is_short(answer, stream) for answer in self.predictions)
        covers = f"less than {self.settings.min_coverage:.0%}"
        if any(stream in answer.streams for answer in self.predictions):
            if num_short:
                yield (
                    f"{stream} left out of {num_short} of {len(self.predictions)} windows, of which"
                    f" it covers {covers}"
                )
        elif num_short:
            yield f"{_NAMES[stream]} in {covers} of each window: answered without {stream}"
        else:
            yield f"{self._missing_reason(stream)}: answered without {stream}"


_NAMES = {"audio": "sound", "video": "a face"}


def _is_short(answer: WindowPrediction, stream: str) -> bool:
    """Whether a stream is present in a window but has too little coverage to count."""
    shares = {"audio": answer.sound_coverage, "video": answer.face_coverage}
    return bool(shares.get(stream)) and stream not in answer.streams


def model_warnings(config: Mapping[str, Any]) -> Iterator[str]:
    """Warnings that hold for every prediction of a model.

    Args:
      config: config of the model (`assets/config.json`).
    """
    if config["synthetic"]:
        yield "the model was trained on SYNTHETIC data"
    if config["leak_allowed"]:
        yield "the model was trained with --allow-leak"
