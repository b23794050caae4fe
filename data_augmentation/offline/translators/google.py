"""Google Translate's public page, by way of the deep-translator library; needs no key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from affectstream.core.errors import UserError
from affectstream.data_augmentation.offline.translators.translator import (
    EmptyTranslationError,
    RetryableError,
    RetryPolicy,
    TextRefusedError,
    TranslatorUnavailableError,
)

# The page takes texts shorter than this, in characters.
MAX_CHARACTERS = 5000
# Elements of the page that hold the translation; Google sends one or the other.
_RESULTS = ({"class": "t0"}, {"class": "result-container"})
_TOO_MANY_REQUESTS = 429


@dataclass
class GoogleTranslator:
    """Translates over the network, one request a text: the texts leave this machine.

    deep-translator (1.11.4) knows the address and the languages. Its own request has no time-out
    and tells a refused text from a refused caller by no sign, so the request is made here.

    Attributes:
      timeout_s: longest wait for the connection, and for each part of an answer.
      retry_policy: interval between requests, and waits after a failure.
      base_url: address of the page; "" for Google's.
    """

    name: ClassVar[str] = "google"

    timeout_s: float = 15.0
    retry_policy: RetryPolicy = field(default_factory=RetryPolicy)
    base_url: str = ""

    def require_language(self, code: str) -> None:
        """Raises UserError unless the page knows the language."""
        from deep_translator.constants import GOOGLE_LANGUAGES_TO_CODES

        codes = GOOGLE_LANGUAGES_TO_CODES.values()
        if code not in codes:
            raise UserError(
                f"translator {self.name}: no language {code!r}; known: {', '.join(sorted(codes))}"
            )

    def translate(self, texts: Sequence[str], source: str, target: str) -> list[str]:
        """Translates each text; see `Translator.translate`.

        Raises:
          TextRefusedError: too long, not accepted, or answered without a translation.
          TranslatorUnavailableError: refused (403), or no answer, 429 or 5xx after all retries.
        """
        self.require_language(source)
        self.require_language(target)
        return [self._translate(text, source, target) for text in texts]

    def _translate(self, text: str, source: str, target: str) -> str:
        if len(text) >= MAX_CHARACTERS:
            raise TextRefusedError(
                f"translator {self.name}: {len(text)} characters, it takes fewer than"
                f" {MAX_CHARACTERS}; shorten the text"
            )
        return self.retry_policy.call(self.name, lambda: self._request(text, source, target))

    def _request(self, text: str, source: str, target: str) -> str:
        import requests
        from deep_translator.constants import BASE_URLS

        url = self.base_url or BASE_URLS["GOOGLE_TRANSLATE"]
        try:
            response = requests.get(
                url, params={"sl": source, "tl": target, "q": text}, timeout=self.timeout_s
            )
        except requests.Timeout as error:
            raise RetryableError(f"no answer within {self.timeout_s:g} s") from error
        except requests.RequestException as error:
            raise RetryableError("cannot be reached") from error
        status = response.status_code
        if status == _TOO_MANY_REQUESTS or status >= 500:
            raise RetryableError(
                f"answered {status}", _retry_after_s(response.headers.get("Retry-After"))
            )
        if status == 403:
            raise TranslatorUnavailableError(
                f"translator {self.name}: refuses requests from here (403); try again later or"
                " from another network, what was translated is kept"
            )
        if not response.ok:
            raise TextRefusedError(f"translator {self.name}: answered {status}; leave the text out")
        return self._translation(response.content)

    def _translation(self, page: bytes) -> str:
        from bs4 import BeautifulSoup

        soup: Any = BeautifulSoup(page.decode("utf-8", "replace"), "html.parser")
        for query in _RESULTS:
            element = soup.find("div", query)
            if element is not None and (found := " ".join(element.get_text(" ").split())):
                return found
        raise EmptyTranslationError(
            f"translator {self.name}: an answer without a translation; leave the text out"
        )


def _retry_after_s(value: str | None) -> float:
    """Seconds of a Retry-After header; 0 where it is absent or a date."""
    return float(value) if value and value.isdecimal() else 0.0
