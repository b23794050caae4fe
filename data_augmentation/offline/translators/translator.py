"""Interface of translation services, and their errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from affectstream.core.errors import UserError

# === Refusals ===


class TranslatorUnavailableError(UserError):
    """The service is unavailable; finished translations are kept."""


class TextRefusedError(UserError):
    """The service gives no translation of this one text; others may still work."""


class EmptyTranslationError(TextRefusedError):
    """An answer without a translation in it; many in a row mean another page than expected."""


class RetryableError(Exception):
    """One request failed in a way that waiting may mend; inside translators only.

    Attributes:
      retry_after_s: waiting time requested by the service, 0 if it states none.
    """

    def __init__(self, reason: str, retry_after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.retry_after_s = retry_after_s


# === Translator ===


class Translator(Protocol):
    """A translation service; a class of the registry's `translators`, made without arguments."""

    @property
    def name(self) -> str:
        """As in the registry; names its part of the cache."""

    def require_language(self, code: str) -> None:
        """Raises UserError unless the service knows the language; opens no connection."""

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Translates each text.

        Args:
          texts: not empty, without line breaks.
          source, target: language codes such as "en" and "fr".
        Returns:
          as many texts, none of them empty.
        Raises:
          TextRefusedError: no translation of one of the texts.
          TranslatorUnavailableError: the service refuses or does not answer, after its retries.
        """


# === RetryPolicy ===


@dataclass
class RetryPolicy:
    """Asks no faster than a service allows, and waits twice as long after each failure.

    Attributes:
      min_interval_s: least time between the starts of two requests.
      first_wait_s: wait after a first failure; doubled after each further one.
      max_wait_s: longest wait, even if the service requests a longer one.
      max_attempts: requests for one answer before giving up.
      clock, sleep: of the `time` module; tests put their own here.
    """

    min_interval_s: float = 0.5
    first_wait_s: float = 2.0
    max_wait_s: float = 60.0
    max_attempts: int = 4
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    _last_s: float | None = field(default=None, init=False, repr=False)

    def call(self, name: str, request: Callable[[], str]) -> str:
        """The answer of `request`, which raises RetryableError where another attempt may do.

        Args:
          name: of the service, for the message.
        Raises:
          TranslatorUnavailableError: every attempt failed.
        """
        for attempt in range(1, self.max_attempts + 1):
            self._keep_interval()
            try:
                return request()
            except RetryableError as busy:
                if attempt == self.max_attempts:
                    raise TranslatorUnavailableError(
                        f"translator {name}: {busy}, {attempt} times; run the same command again"
                        " later, what was translated is kept"
                    ) from busy
                wait_s = max(self.first_wait_s * 2 ** (attempt - 1), busy.retry_after_s)
                self.sleep(min(wait_s, self.max_wait_s))
        raise ValueError(f"max_attempts must be at least 1, received {self.max_attempts!r}")

    def _keep_interval(self) -> None:
        if self._last_s is not None:
            left_s = self._last_s + self.min_interval_s - self.clock()
            if left_s > 0:
                self.sleep(left_s)
        self._last_s = self.clock()
