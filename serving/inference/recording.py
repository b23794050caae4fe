"""One recording: checks that the model can use it, and pools the predictions of its windows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from affectstream.core.errors import MediaError, counted
from affectstream.preprocessing.faces.action_units import ActionUnitTable
from affectstream.preprocessing.media.audio.speech_activity import MIN_SPEECH_SHARE, StreamingVad
from affectstream.preprocessing.media.media_file import MediaFile
from affectstream.preprocessing.pcm import MIN_AUDIO_S
from affectstream.preprocessing.windowing import WindowSettings
from affectstream.serving.inference.action_unit_tables import ActionUnitInput
from affectstream.serving.inference.isolated_reader import IsolatedMediaFile
from affectstream.serving.inference.known_words import KnownWords, known_words_warning
from affectstream.serving.inference.prediction import Prediction, WindowPrediction, pooled, top
from affectstream.serving.inference.recording_stats import Tally
from affectstream.serving.inference.window_text import Words
from affectstream.serving.inference.windows import People

FEW_FACES = 0.5  # share of the frames below which a warning is given


@dataclass
class Recording:
    """A recording while it is being analysed.

    Attributes:
      media: the open file.
      config: all that is known of the model (`assets/config.json`).
      units: the model's action-unit input, if it takes no face crops.
      table: of action units, if one was given.
      shows: whether there is anything for the video stream to look at.
      words: what is said.
      settings: of the windows.
      meter: of speech; None where the model does not listen, or there is no sound.
      answers: of the windows so far, those with anything usable in them.
      tally, people: what was seen in them.
      known_words: the model's, where they are known.
    """

    media: MediaFile | IsolatedMediaFile
    config: Mapping[str, Any]
    units: ActionUnitInput
    table: ActionUnitTable | None
    shows: bool
    words: Words
    settings: WindowSettings
    meter: StreamingVad | None = None
    answers: list[WindowPrediction] = field(default_factory=list)
    tally: Tally = field(init=False)
    people: People = field(default_factory=People)
    known_words: KnownWords | None = None

    def __post_init__(self) -> None:
        """Prepares the reasons that are reported for missing streams."""
        self._streams: tuple[str, ...] = tuple(self.config["streams"])
        self.tally = Tally(self.settings.pooling)
        info = self.media.info
        picture = "no face found" if info.has_video else "no picture"
        self._lacking = {
            "audio": _no_sound(info.has_audio, info.duration_s),
            "video": self.units.lack(self.table) if self.units.from_table else picture,
        }

    def _lack(self, stream: str) -> str:
        return self.words.lack() if stream == "text" else self._lacking[stream]

    def require_usable(self) -> None:
        """Rejects a recording that the model cannot use, before decoding it.

        Raises:
          MediaError: the one stream that the model knows is not there.
        """
        name, only = self.media.name, self._streams[0] if len(self._streams) == 1 else ""
        if only == "text" and not self.words.expected:
            raise MediaError(f"{name}: {self.words.lack()}, and the model knows words only")
        if only == "audio" and not self.media.info.has_audio:
            raise MediaError(f"{name}: no sound, and the model knows sound only; use another")
        if only == "video" and not self.shows:
            knows = "pictures" if self.units.kind is None else "action units"
            raise MediaError(
                f"{name}: {self._lack('video')}, and the model knows {knows} only;"
                f" {'add one' if self.units.from_table else 'use another model'}"
            )

    def prediction(self, every_face: bool) -> Prediction:
        """Pools the predictions of all windows.

        Args:
          every_face: also report each face on its own.
        Raises:
          MediaError: no window holds anything that the model can use.
        """
        if not self.answers:
            raise MediaError(
                f"{self.media.name}: {self._nothing()} throughout; nothing to answer from"
            )
        pooling = self.settings.pooling
        probabilities = pooled([answer.probabilities for answer in self.answers], pooling)
        streams = {}
        for stream in self._streams:
            own = [answer.streams[stream] for answer in self.answers if stream in answer.streams]
            if own:
                streams[stream] = pooled(own, pooling)
        tally = self.tally
        looks = "video" in self._streams and not self.units.from_table
        return Prediction(
            path=self.media.name,
            duration_s=self.media.info.duration_s,
            label=top(probabilities),
            probabilities=probabilities,
            streams=streams,
            face_coverage=tally.face_coverage() if self.shows else None,
            windows=tuple(self.answers),
            warnings=tuple(self._warnings()),
            faces=tuple(tally.faces(self.people)) if every_face else (),
            boxes=tuple(tally.boxes) if looks else (),
            sound_coverage=tally.sound_coverage(self.media.info.duration_s),
            speech_share=self._speech_share(),
            transcript=self.words.transcript(),
            known_word_share=self._known_word_share(),
        )

    def _nothing(self) -> str:
        """The reasons why the model's streams are missing, in one phrase."""
        no_table = self.units.from_table and not self.shows
        lacks = {
            "audio": self._lacking["audio"] if self._is_short() else "no sound (or silence)",
            "video": self._lack("video") if no_table else "no face",
            "text": self.words.lack(),
        }
        return " and ".join(lacks[stream] for stream in self._streams)

    def _is_short(self) -> bool:
        return self.media.info.has_audio and self.media.info.duration_s < MIN_AUDIO_S

    def _speech_share(self) -> float | None:
        return None if self.meter is None else self.meter.share()

    def _known_word_share(self) -> float | None:
        text = self.words.told if self.words.told is not None else self.words.transcript()
        if self.known_words is None or not (text or "").strip():
            return None
        return self.known_words.share(text or "")

    def _warnings(self) -> Iterator[str]:
        info, tally = self.media.info, self.tally
        if info.truncated:
            yield f"truncated: {info.truncation}"
        yield from info.notes
        looks = "video" in self._streams and not self.units.from_table
        yield from self.media.completeness.lines(sound="audio" in self._streams, frames=looks)
        for stream in self._streams:
            yield from self._warnings_of(stream)
        speech = self._speech_share()
        listened = any("audio" in answer.streams for answer in self.answers)
        if listened and speech is not None and speech < MIN_SPEECH_SHARE:
            found = f"speech in only {speech:.0%}" if speech else "no speech in any"
            yield f"{found} of the sound: the voice answer means little"
        yield from known_words_warning(self._known_word_share())
        coverage = tally.face_coverage()
        if 0 < coverage < FEW_FACES:
            yield f"a face in only {coverage:.0%} of the frames looked at"
        if len(self.answers) < tally.num_windows:
            left_out = tally.num_windows - len(self.answers)
            windows = counted(left_out, "window")
            verb = "is" if left_out == 1 else "are"
            yield f"{windows} without sound or face {verb} left out"
        if len(tally.followed_ids) > 1:
            times = counted(len(tally.followed_ids) - 1, "time")
            yield f"the followed face changed {times}"
        yield from stamps(self.config)

    def _warnings_of(self, stream: str) -> Iterator[str]:
        """Warnings of a stream that is missing or has too little coverage."""
        num_short = sum(_is_short(answer, stream) for answer in self.answers)
        covers = f"less than {self.settings.least_coverage:.0%}"
        if any(stream in answer.streams for answer in self.answers):
            if num_short:
                yield (
                    f"{stream} left out of {num_short} of {len(self.answers)} windows, of which it"
                    f" covers {covers}"
                )
        elif num_short:
            yield f"{_NAMES[stream]} in {covers} of each window: answered without {stream}"
        else:
            yield f"{self._lack(stream)}: answered without {stream}"


def _no_sound(has_audio: bool, duration_s: float) -> str:
    if has_audio and duration_s < MIN_AUDIO_S:
        return f"less than {MIN_AUDIO_S:g} s of sound"
    return "silent" if has_audio else "no sound"


_NAMES = {"audio": "sound", "video": "a face"}


def _is_short(answer: WindowPrediction, stream: str) -> bool:
    """Whether a stream is present in a window but has too little coverage to count."""
    shares = {"audio": answer.sound_coverage, "video": answer.face_coverage}
    return bool(shares.get(stream)) and stream not in answer.streams


def stamps(config: Mapping[str, Any]) -> Iterator[str]:
    """Warnings that hold for every answer of a model.

    Args:
      config: all that is known of the model (`assets/config.json`).
    """
    if config["synthetic"]:
        yield "the model was trained on SYNTHETIC data"
    if config["leak_allowed"]:
        yield "the model was trained with --allow-leak"
