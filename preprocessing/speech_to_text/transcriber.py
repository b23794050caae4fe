"""The transcriber protocol and its errors. All transcribers use SpeechRecognition."""

from __future__ import annotations

import importlib
import warnings
from typing import Any, ClassVar, Protocol

import numpy as np

from affectstream.core.errors import UserError

SAMPLE_RATE_HZ = 16_000


class NoSpeechRecognizedError(Exception):
    """No words were recognised. This is a result and is cached."""


class TranscriptionFailedError(Exception):
    """This request failed, by a time-out or a refusal; a later one may succeed."""


class TranscriberUnavailableError(UserError):
    """The transcriber cannot work here: its package, model, language or network is missing."""


class Transcriber(Protocol):
    """Transcribes audio. Create one per process, with a language tag such as "en-US".

    Raises:
      TranscriberUnavailableError: on creation, if its package, model or language is missing.

    Attributes:
      packages: required distributions; their versions are stored with the transcripts.
    """

    name: str
    language: str
    packages: ClassVar[tuple[str, ...]]

    def __init__(self, language: str) -> None: ...

    def __call__(self, pcm: np.ndarray, sample_rate_hz: int) -> str:
        """Transcribes audio; the same audio always gives the same text.

        Args:
          pcm: (samples,) int16 mono.
        Raises:
          NoSpeechRecognizedError: no words were found.
          TranscriptionFailedError: this request failed.
        """
        ...


def load_library(name: str, needed_by: str) -> Any:
    """Imports SpeechRecognition or a part of it, or a dependency of one of its transcribers.

    Raises:
      TranscriberUnavailableError: it cannot be imported.
    """
    try:
        with warnings.catch_warnings():
            # Python 3.11 and 3.12 warn of the removal of aifc and audioop, which the library
            # imports; from 3.13 on it has its own.
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(name)
    except (ImportError, OSError) as error:
        raise TranscriberUnavailableError(
            f"transcriber {needed_by}: {name} cannot be imported ({error}); install it again"
        ) from error


def audio_data(pcm: np.ndarray, sample_rate_hz: int) -> Any:
    """The library's `AudioData` at 16 kHz, from (samples,) int16 mono.

    Resampled here, because the library's own resampling has no low-pass filter.
    """
    import speech_recognition

    if sample_rate_hz != SAMPLE_RATE_HZ:
        import soxr

        pcm = soxr.resample(pcm, sample_rate_hz, SAMPLE_RATE_HZ)
    return speech_recognition.AudioData(pcm.astype("<i2").tobytes(), SAMPLE_RATE_HZ, 2)
