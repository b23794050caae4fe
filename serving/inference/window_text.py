"""Text of each window: given by the user, or transcribed by speech-to-text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from affectstream.core.errors import UserError
from affectstream.preprocessing.content_hash import content_hash
from affectstream.preprocessing.pcm import to_pcm
from affectstream.preprocessing.speech_to_text.transcript_cache import CachedTranscriber

TRANSCRIBER_RATE_HZ = 16_000


def require_utf8(text: str | None) -> str | None:
    """Returns the text if it is valid UTF-8.

    Raises:
      UserError: the text has bytes that are not UTF-8, which a terminal may pass on.
    """
    try:
        (text or "").encode()
    except UnicodeEncodeError as error:
        raise UserError(f"text: not UTF-8 at letter {error.start + 1}; type it again") from error
    return text


@dataclass
class RecordingText:
    """Provides the text of each window of one recording.

    Attributes:
      given_text: the same text for every window; None if none was given.
      transcriber: transcribes each window if no text is given.
      failures: reasons why windows could not be transcribed, in order.
      transcripts: end in seconds and text of the transcribed windows that do not overlap.
    """

    given_text: str | None = None
    transcriber: CachedTranscriber | None = None
    failures: list[str] = field(default_factory=list)
    transcripts: list[tuple[float, str]] = field(default_factory=list)

    @property
    def is_expected(self) -> bool:
        """Whether any window can have text."""
        return bool((self.given_text or "").strip()) or self.transcriber is not None

    def text_of(self, waveform: np.ndarray | None, sample_rate_hz: int | None) -> str:
        """Text of one window.

        Args:
          waveform: (samples,) float32, None if the window is silent.
        """
        if self.given_text is not None:
            return self.given_text
        if self.transcriber is None or waveform is None or sample_rate_hz is None:
            return ""
        pcm = to_pcm(waveform)
        transcript: Any = self.transcriber(pcm, sample_rate_hz, content_hash(pcm.tobytes()))
        if transcript.failure:
            self.failures.append(transcript.failure)
        return str(transcript.text)

    def transcript_of(self, text: str) -> str | None:
        """Transcript to report for a window; None without a transcriber or with given text."""
        return None if self.transcriber is None or self.given_text is not None else text

    def add_transcript(self, start_s: float, end_s: float, text: str) -> None:
        """Stores the transcript of a window unless it overlaps a stored one."""
        if not self.transcripts or start_s >= self.transcripts[-1][0] - 0.05:
            self.transcripts.append((end_s, text))

    def transcript(self) -> str | None:
        """Transcript of the whole recording; None like `transcript_of`."""
        return self.transcript_of(" ".join(text for _, text in self.transcripts if text))

    def missing_reason(self) -> str:
        """The reason why no window has text."""
        if self.transcriber is not None and not self.failures:
            return "no sound to transcribe"
        if self.failures:
            return f"no words understood ({self.failures[0]})"
        return "no words given (give them as text; predict --transcriber hears them)"
