"""Google Web Speech: sends all audio to Google."""

from __future__ import annotations

import http.client
from typing import ClassVar

import numpy as np

from affectstream.preprocessing.speech_to_text.transcriber import (
    NoSpeechRecognizedError,
    TranscriptionFailedError,
    audio_data,
    load_library,
)

# The library's default address is the same without TLS.
ENDPOINT = "https://www.google.com/speech-api/v2/recognize"
TIMEOUT_S = 30.0


class GoogleTranscriber:
    """Uses the key shipped with SpeechRecognition, which Google may revoke.

    The library turns a refusal and a failed connection into `RequestError`, but not a read
    time-out, a broken connection or an invalid response.
    """

    name = "google"
    packages: ClassVar[tuple[str, ...]] = ("SpeechRecognition",)

    def __init__(self, language: str) -> None:
        self.language = language
        self._library = load_library("speech_recognition", self.name)
        self._recogniser = self._library.Recognizer()
        self._recogniser.operation_timeout = TIMEOUT_S

    def __call__(self, pcm: np.ndarray, sample_rate_hz: int) -> str:
        sound = audio_data(pcm, sample_rate_hz)
        try:
            return str(
                self._recogniser.recognize_google(sound, language=self.language, endpoint=ENDPOINT)
            )
        except self._library.UnknownValueError as error:
            raise NoSpeechRecognizedError from error
        except self._library.RequestError as error:
            raise TranscriptionFailedError(f"google: {error}") from error
        except TimeoutError as error:
            raise TranscriptionFailedError(f"google: no answer within {TIMEOUT_S:g} s") from error
        except (OSError, http.client.HTTPException) as error:
            raise TranscriptionFailedError(f"google: {error or type(error).__name__}") from error
        except (ValueError, LookupError, TypeError) as error:
            raise TranscriptionFailedError(
                f"google: an answer of another form ({error})"
            ) from error
