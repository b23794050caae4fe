"""Transcribes recordings without a transcript, with a cache on disk."""

from __future__ import annotations

import contextlib
import importlib.metadata
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from affectstream.core import atomic_io, registry
from affectstream.core.errors import UserError, from_os_error
from affectstream.opencv_model.weights import cache_folder
from affectstream.preprocessing.speech_to_text.transcriber import (
    SAMPLE_RATE_HZ,
    NoSpeechRecognizedError,
    Transcriber,
    TranscriberUnavailableError,
    TranscriptionFailedError,
)

DEFAULT_LANGUAGE = "en-US"
NO_SPEECH_RECOGNIZED = "nothing understood"
# Attributes of a record.
TRANSCRIBED_BY = "transcribed_by"
FAILURE_ATTRIBUTE = "transcript_failure"
# After this number of consecutive failed requests transcription stops.
MAX_CONSECUTIVE_FAILURES = 10

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*")


@dataclass(frozen=True)
class Transcript:
    """The text, or the reason why there is none; one of the two is ""."""

    text: str
    failure: str = ""


class CachedTranscriber:
    """Transcribes each audio once; open one per process.

    The transcriber is created for the first audio that is not in the cache. The cache has one small
    JSON file per audio, `transcripts/RECOGNISER-LANGUAGE/ab/abcd...json` in the program's cache
    folder (set by `AFFECTSTREAM_CACHE`), named by the content hash. It stores results only: a
    transcript, or that no words were recognised. Damaged files, and files of other package
    versions, are computed again.

    Args:
      transcriber_name: entry of `registry.TABLE["transcribers"]`.
      language: language tag, such as "en-US".
      cache_dir: replaces `transcripts` in the program's cache folder.
    Raises:
      TranscriberUnavailableError: a package of the transcriber is not installed.
      UserError: no such transcriber, or not a language tag.
    """

    def __init__(
        self, transcriber_name: str, language: str = DEFAULT_LANGUAGE, cache_dir: Path | None = None
    ) -> None:
        if not _LANGUAGE.fullmatch(language):
            raise UserError(f"{language!r} is not a language tag; give one such as en-US or de-DE")
        self._kind: Any = registry.load("transcribers", transcriber_name)
        self.name = transcriber_name
        self.language = language
        self.versions = _versions(transcriber_name, self._kind.packages)
        cache = cache_folder() / "transcripts" if cache_dir is None else cache_dir
        self._folder = cache / f"{transcriber_name}-{language}"
        self._recogniser: Transcriber | None = None
        self._num_failed_running = 0

    def check(self) -> None:
        """Transcribes half a second of silence as a test, before any recording is decoded.

        Raises:
          TranscriberUnavailableError: its model or language is missing, or it does not respond.
          UserError: the cache folder cannot be created.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise from_os_error(error, self._folder) from error
        with contextlib.suppress(NoSpeechRecognizedError):
            try:
                self._opened()(np.zeros(SAMPLE_RATE_HZ // 2, np.int16), SAMPLE_RATE_HZ)
            except TranscriptionFailedError as error:
                raise TranscriberUnavailableError(
                    f"transcriber {self.name} does not work here: {error};"
                    " check the network, or leave --transcriber out"
                ) from error

    def __call__(self, pcm: np.ndarray, sample_rate_hz: int, audio_hash: str) -> Transcript:
        """Transcript of (samples,) int16 mono with the content hash `audio_hash`.

        Raises:
          TranscriberUnavailableError: the transcriber cannot be created, or failed ten times in a
            row.
          UserError: the cache cannot be written.
        """
        path = self._folder / audio_hash[:2] / f"{audio_hash}.json"
        known = {
            "transcriber": self.name,
            "language": self.language,
            "versions": self.versions,
            "sample_rate_hz": sample_rate_hz,
        }
        transcript = _cached(path, known)
        if transcript is None:
            transcript = self._ask(pcm, sample_rate_hz)
            if transcript.failure in ("", NO_SPEECH_RECOGNIZED):
                told = {"text": transcript.text, "failure": transcript.failure}
                atomic_io.write_json(path, known | told)
        return transcript

    def _ask(self, pcm: np.ndarray, sample_rate_hz: int) -> Transcript:
        try:
            text = self._opened()(pcm, sample_rate_hz).strip()
        except NoSpeechRecognizedError:
            text = ""
        except TranscriptionFailedError as error:
            self._num_failed_running += 1
            if self._num_failed_running >= MAX_CONSECUTIVE_FAILURES:
                raise TranscriberUnavailableError(
                    f"transcriber {self.name} failed {MAX_CONSECUTIVE_FAILURES} times running,"
                    f" last: {error}; run the same command again later, what is done is kept"
                ) from error
            return Transcript("", str(error) or "failed without a reason")
        self._num_failed_running = 0
        return Transcript(text, "" if text else NO_SPEECH_RECOGNIZED)

    def _opened(self) -> Transcriber:
        if self._recogniser is None:
            self._recogniser = self._kind(self.language)
        return self._recogniser


def _versions(name: str, packages: tuple[str, ...]) -> str:
    """ "SpeechRecognition 3.17.0, pocketsphinx 5.1.1"."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError as error:
            raise TranscriberUnavailableError(
                f"transcriber {name} needs the package {package}, which is not installed;"
                f" pip install {package}"
            ) from error
    return ", ".join(found)


def _cached(path: Path, known: dict[str, Any]) -> Transcript | None:
    """Cached result; None if it is absent, damaged or from other package versions."""
    value = atomic_io.read_cached_json(path)
    if any(value.get(key) != known[key] for key in known):
        return None
    text, failure = value.get("text"), value.get("failure")
    if not isinstance(text, str) or failure != ("" if text else NO_SPEECH_RECOGNIZED):
        return None
    return Transcript(text, failure)
