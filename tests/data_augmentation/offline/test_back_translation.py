"""Back-translation against a server on this machine: answers, refusals, waits and the cache."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from affectstream.core.errors import UserError
from affectstream.data_augmentation.offline import back_translation
from affectstream.data_augmentation.offline.back_translation import BackTranslator
from affectstream.data_augmentation.offline.translators.google import GoogleTranslator
from affectstream.data_augmentation.offline.translators.translator import (
    EmptyTranslationError,
    RetryableError,
    RetryPolicy,
    TextRefusedError,
    TranslatorUnavailableError,
)
from tests.support import fake_google
from tests.support.fake_google import FakeGoogle, page


@pytest.fixture(scope="module")
def server() -> Iterator[FakeGoogle]:
    with fake_google.serving() as google:
        yield google


@pytest.fixture
def google(server: FakeGoogle) -> FakeGoogle:
    """The server as it answers when all is well."""
    server.asked.clear()
    server.answer = FakeGoogle.answer
    return server


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


class Time:
    """A clock that moves only when one sleeps."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.slept_s: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now_s += seconds

    def retry_policy(self, **settings: float) -> RetryPolicy:
        return RetryPolicy(**settings, clock=lambda: self.now_s, sleep=self.sleep)  # type: ignore[arg-type]


# === Google ===


def test_texts_are_translated_one_by_one(google: FakeGoogle) -> None:
    texts = ["I am glad & <b>here</b>", "Ünïcödé 😀 да"]
    made = google.translator().translate(texts, "en", "fr")
    assert made == ["I-fr am-fr glad-fr &-fr <b>here</b>-fr", "Ünïcödé-fr 😀-fr да-fr"]
    assert google.asked == [("en", "fr", texts[0]), ("en", "fr", texts[1])]


def test_both_forms_of_the_page_are_read(google: FakeGoogle) -> None:
    for body in ('<div class="t0">bon<br>jour</div>', '<div class="result-container">bon jour\n'):
        google.answer = lambda *_, body=body: (200, body, {})
        assert google.translator().translate(["hello"], "en", "fr") == ["bon jour"]


def test_after_429_it_waits_and_goes_on(google: FakeGoogle) -> None:
    answers = [(429, "", {"Retry-After": "7"}), (503, "", {}), (200, page("bonjour"), {})]
    google.answer = lambda *_: answers.pop(0)
    time = Time()
    patient = google.translator(time.retry_policy(min_interval_s=0.0, first_wait_s=2.0))
    assert patient.translate(["hello"], "en", "fr") == ["bonjour"]
    assert time.slept_s == [7.0, 4.0]
    assert len(google.asked) == 3


def test_it_gives_up_in_one_line(google: FakeGoogle) -> None:
    google.answer = lambda *_: (429, "too many", {})
    time = Time()
    with pytest.raises(TranslatorUnavailableError, match="google: answered 429, 4 times") as caught:
        google.translator(time.retry_policy(min_interval_s=0.0)).translate(["hello"], "en", "fr")
    assert time.slept_s == [2.0, 4.0, 8.0]
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


def test_a_refusal_of_the_caller_is_not_repeated(google: FakeGoogle) -> None:
    google.answer = lambda *_: (403, "", {})
    with pytest.raises(TranslatorUnavailableError, match="refuses requests from here"):
        google.translator().translate(["hello"], "en", "fr")
    assert len(google.asked) == 1


def test_no_answer_in_time(google: FakeGoogle) -> None:
    done = threading.Event()

    def late(*_: str) -> tuple[int, str, dict[str, str]]:
        done.wait(10.0)
        return 200, page("too late"), {}

    google.answer = late
    hasty = RetryPolicy(min_interval_s=0.0, max_attempts=2, sleep=lambda seconds: None)
    try:
        with pytest.raises(TranslatorUnavailableError, match=r"no answer within 0\.2 s, 2 times"):
            google.translator(hasty, timeout_s=0.2).translate(["hello"], "en", "fr")
    finally:
        done.set()


def test_a_translator_that_cannot_be_reached_is_an_error() -> None:
    hasty = RetryPolicy(min_interval_s=0.0, max_attempts=2, sleep=lambda seconds: None)
    nobody = GoogleTranslator(retry_policy=hasty, base_url="http://127.0.0.1:9/m")
    with pytest.raises(TranslatorUnavailableError, match="google: cannot be reached, 2 times"):
        nobody.translate(["hello"], "en", "fr")


@pytest.mark.parametrize(
    "body", ["", "<html><p>Before you continue", page(" "), "\x00\x01 not a page <div class"]
)
def test_a_page_without_a_translation_invents_none(google: FakeGoogle, body: str) -> None:
    google.answer = lambda *_: (200, body, {})
    with pytest.raises(EmptyTranslationError, match="an answer without a translation"):
        google.translator().translate(["hello"], "en", "fr")
    assert len(google.asked) == 1


def test_texts_that_cannot_be_asked(google: FakeGoogle) -> None:
    with pytest.raises(TextRefusedError, match="5000 characters, it takes fewer than 5000"):
        google.translator().translate(["x" * 5000], "en", "fr")
    assert google.asked == []
    google.answer = lambda *_: (413, "", {})
    with pytest.raises(TextRefusedError, match="answered 413"):
        google.translator().translate(["hello"], "en", "fr")
    with pytest.raises(UserError, match=r"no language 'klingon'; known: .*fr.*"):
        google.translator().translate(["hello"], "en", "klingon")
    assert len(google.asked) == 1


# === RetryPolicy ===


def test_requests_keep_their_interval() -> None:
    time = Time()
    retry_policy = time.retry_policy(min_interval_s=0.5)
    starts_s = []

    def quick() -> str:
        starts_s.append(time.now_s)
        time.now_s += 0.2
        return "ok"

    for _ in range(3):
        assert retry_policy.call("x", quick) == "ok"
    assert starts_s == pytest.approx([100.0, 100.5, 101.0])
    time.now_s += 60.0
    retry_policy.call("x", quick)
    assert time.slept_s == pytest.approx([0.3, 0.3])


def test_waits_double_up_to_a_limit() -> None:
    time = Time()

    def fails() -> str:
        raise RetryableError("answered 503", 1000.0 if len(time.slept_s) == 2 else 0.0)

    with pytest.raises(TranslatorUnavailableError, match="answered 503, 6 times"):
        time.retry_policy(min_interval_s=0.0, max_attempts=6, max_wait_s=10.0).call("x", fails)
    assert time.slept_s == [2.0, 4.0, 10.0, 10.0, 10.0]


# === There and back ===


def test_each_pivot_gives_one_paraphrase(google: FakeGoogle, tmp_path: Path) -> None:
    back = BackTranslator(google.translator(), ("fr", "de"), cache_dir=tmp_path)
    assert dict(back.paraphrases("I am\n glad")) == {
        "fr": "I am glad via fr",
        "de": "I am glad via de",
    }
    assert google.asked == [
        ("en", "fr", "I am glad"),
        ("fr", "en", "I-fr am-fr glad-fr"),
        ("en", "de", "I am glad"),
        ("de", "en", "I-de am-de glad-de"),
    ]


def test_nothing_is_asked_twice(google: FakeGoogle, tmp_path: Path) -> None:
    def made() -> dict[str, object]:
        back = BackTranslator(google.translator(), ("fr", "de"), cache_dir=tmp_path)
        return dict(back.paraphrases("I am glad"))

    first = made()
    files = sorted(tmp_path.rglob("*.json"))
    assert len(files) == len(google.asked) == 4
    assert {file.relative_to(tmp_path).parts[:2] for file in files} == {
        ("google", pair) for pair in ("en-fr", "fr-en", "en-de", "de-en")
    }
    google.answer = lambda *_: (500, "", {})
    assert made() == first
    assert len(google.asked) == 4


def test_a_damaged_file_of_the_cache_is_asked_again(google: FakeGoogle, tmp_path: Path) -> None:
    back = BackTranslator(google.translator(), ("fr",), cache_dir=tmp_path)
    assert back.paraphrase("hello", "fr") == "hello via fr"
    (there,) = (tmp_path / "google" / "en-fr").rglob("*.json")
    assert json.loads(there.read_text()) == {"text": "hello", "translation": "hello-fr"}
    for broken in ("{", '{"text": "other", "translation": "x"}', '{"text": "hello"}', "[]"):
        there.write_text(broken)
        google.asked.clear()
        assert back.paraphrase("hello", "fr") == "hello via fr"
        assert google.asked == [("en", "fr", "hello")]


def test_an_interrupted_run_goes_on_where_it_stopped(google: FakeGoogle, tmp_path: Path) -> None:
    def dies_on_the_way_back(text: str, source: str, target: str) -> fake_google.Answer:
        return (503, "", {}) if target == "en" else FakeGoogle.answer(text, source, target)

    google.answer = dies_on_the_way_back
    back = BackTranslator(google.translator(), ("fr", "de"), cache_dir=tmp_path)
    with pytest.raises(TranslatorUnavailableError, match="answered 503"):
        list(back.paraphrases("hello"))
    google.asked.clear()
    google.answer = FakeGoogle.answer
    assert len(dict(back.paraphrases("hello"))) == 2
    assert ("en", "fr", "hello") not in google.asked
    assert len(google.asked) == 3


def test_what_says_the_same_is_no_paraphrase(google: FakeGoogle, tmp_path: Path) -> None:
    back_to = {"fr": "I AM glad !", "de": "Glad I am", "es": "glad, I am.", "it": "I'm happy"}
    google.answer = lambda text, source, target: (
        200,
        page(back_to[source] if target == "en" else f"{target} text"),
        {},
    )
    back = BackTranslator(google.translator(), tuple(back_to), cache_dir=tmp_path)
    assert dict(back.paraphrases("I am glad")) == {
        "fr": None,
        "de": "Glad I am",
        "es": None,
        "it": "I'm happy",
    }


def test_a_refusal_leaves_the_other_pivots(google: FakeGoogle, tmp_path: Path) -> None:
    google.answer = lambda text, source, target: (
        (200, "?", {}) if target == "fr" else FakeGoogle.answer(text, source, target)
    )
    back = BackTranslator(google.translator(), ("fr", "de"), cache_dir=tmp_path)
    found = dict(back.paraphrases("hello"))
    assert isinstance(found["fr"], TextRefusedError)
    assert found["de"] == "hello via de"
    assert not list((tmp_path / "google").glob("*fr*"))


def test_many_empty_answers_are_not_the_texts_fault(
    google: FakeGoogle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(back_translation, "MAX_EMPTY_IN_A_ROW", 3)
    google.answer = lambda *_: (200, "please accept our cookies", {})
    back = BackTranslator(google.translator(), ("fr", "de"), cache_dir=tmp_path)
    assert len(dict(back.paraphrases("one"))) == 2
    with pytest.raises(TranslatorUnavailableError, match="3 answers in a row without"):
        list(back.paraphrases("two"))
    long = "x" * 6000
    assert all(isinstance(found, TextRefusedError) for _, found in back.paraphrases(long))


@pytest.mark.parametrize(
    ("pivots", "source"), [((), "en"), (("fr", "fr"), "en"), (("fr", "en"), "en")]
)
def test_languages_are_checked_first(
    google: FakeGoogle, pivots: tuple[str, ...], source: str
) -> None:
    with pytest.raises(UserError, match="name at least one language, each once"):
        BackTranslator(google.translator(), pivots, source)
    with pytest.raises(UserError, match="no language 'xx'"):
        BackTranslator(google.translator(), ("xx",))
    assert google.asked == []


def test_the_cache_lies_in_the_users_cache_folder() -> None:
    assert back_translation.translations_folder().parts[-2:] == ("affectstream", "translations")
