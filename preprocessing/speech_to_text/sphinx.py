"""CMU PocketSphinx: offline; its English model is shipped with SpeechRecognition."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from affectstream.preprocessing.speech_to_text.transcriber import (
    SAMPLE_RATE_HZ,
    NoSpeechRecognizedError,
    TranscriberUnavailableError,
    TranscriptionFailedError,
    audio_data,
    load_library,
)


class SphinxTranscriber:
    """Transcribes with the language folders of SpeechRecognition's `pocketsphinx-data`.

    `recognize_sphinx` creates a decoder for every recording, which takes 0.3 s. This class keeps
    the decoder that it creates for a silent first one. The cepstral mean is computed for each
    recording, so results do not depend on the order. PocketSphinx finds words in digital silence.

    Source: Huggins-Daines et al. 2006, ICASSP.
    """

    name = "sphinx"
    packages: ClassVar[tuple[str, ...]] = ("SpeechRecognition", "pocketsphinx")

    def __init__(self, language: str) -> None:
        self.language = language
        self._library = load_library("speech_recognition", self.name)
        self._decoder = self._open()

    def __call__(self, pcm: np.ndarray, sample_rate_hz: int) -> str:
        if not len(pcm):
            raise NoSpeechRecognizedError
        raw = audio_data(pcm, sample_rate_hz).get_raw_data()
        try:
            self._decoder.start_utt()
            self._decoder.process_raw(raw, False, True)
            self._decoder.end_utt()
        except RuntimeError as error:
            self._decoder = self._open()  # the old decoder is in the middle of an utterance
            raise TranscriptionFailedError(f"sphinx gave up on it ({error})") from error
        best = self._decoder.hyp()
        if best is None or not best.hypstr:
            raise NoSpeechRecognizedError
        return str(best.hypstr)

    def _open(self) -> Any:
        folder = Path(self._library.__file__).parent / "pocketsphinx-data"
        silence = audio_data(np.zeros(SAMPLE_RATE_HZ // 10, np.int16), SAMPLE_RATE_HZ)
        try:
            return self._library.Recognizer().recognize_sphinx(
                silence, language=self.language, show_all=True
            )
        except (self._library.RequestError, RuntimeError, ValueError) as error:
            languages = sorted(path.name for path in folder.glob("*") if path.is_dir())
            raise TranscriberUnavailableError(
                f"transcriber sphinx: no working model of {self.language} ({error}); there is"
                f" {', '.join(languages) or 'none'}: choose --language, or put a model into"
                f" {folder}"
            ) from error
