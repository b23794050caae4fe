"""Whisper on this machine, through SpeechRecognition and the package openai-whisper."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from affectstream.preprocessing.speech_to_text.transcriber import (
    TranscriberUnavailableError,
    TranscriptionFailedError,
    audio_data,
    load_library,
)

MODEL = "base"
_LOCAL = "speech_recognition.recognizers.whisper_local."


class WhisperTranscriber:
    """Transcribes with Whisper's multilingual base model, which the package fetches on first use.

    `recognize_whisper` loads the model for every audio; here the same steps use a model loaded
    once. Only temperature 0 is tried, so that the same audio always gives the same text.

    Source: Radford et al. 2022, arXiv:2212.04356.
    """

    name = "whisper"
    packages: ClassVar[tuple[str, ...]] = ("SpeechRecognition", "openai-whisper")

    def __init__(self, language: str) -> None:
        self.language = language
        load_library("speech_recognition", self.name)
        whisper = load_library("whisper", self.name)
        self._code = language.split("-")[0].lower()
        known = load_library("whisper.tokenizer", self.name).LANGUAGES
        if self._code not in known:
            raise TranscriberUnavailableError(
                f"transcriber whisper: no language {language}; it knows {', '.join(sorted(known))}"
            )
        try:
            model = whisper.load_model(MODEL)
        except (OSError, RuntimeError) as error:
            raise TranscriberUnavailableError(
                f"transcriber whisper: its model {MODEL} cannot be fetched or opened ({error});"
                " check the network and the disk, then run again"
            ) from error
        adapter = load_library(_LOCAL + "whisper", self.name).TranscribableAdapter
        base = load_library(_LOCAL + "base", self.name)
        self._recogniser = base.WhisperCompatibleRecognizer(adapter(model))

    def __call__(self, pcm: np.ndarray, sample_rate_hz: int) -> str:
        sound = audio_data(pcm, sample_rate_hz)
        try:
            text = self._recogniser.recognize(sound, language=self._code, temperature=0.0)
        except RuntimeError as error:
            raise TranscriptionFailedError(f"whisper: {error}") from error
        return str(text).strip()
