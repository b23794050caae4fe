"""Texts whose words a model does not know."""

from __future__ import annotations

import pytest

from affectstream.serving.inference.known_words import LOW_KNOWN_WORD_SHARE, KnownWords

WORDS = ["", "[UNK]", "i", "am", "so", "happy", "dont", "!", "😡", "die", "war"]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "i", "am", "so", "happy", "##py", "cafe", "a", "##b"]


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("I am so happy!", 1.0),
        ("I DON'T", 1.0),
        ("i am glücklich", 2 / 3),
        ("Die Kinder sind im Haus", 0.2),
        ("asdf qwer zxcv", 0.0),
        ("12345", 0.0),
        ("😡😡", 1.0),
        ("😀😀😀", 0.0),
        ("...", 0.0),
        ("", 0.0),
    ],
)
def test_share_of_known_words_is_exact(text: str, share: float) -> None:
    known = KnownWords.from_vocabulary(WORDS)
    assert known is not None
    assert known.share(text) == pytest.approx(share)


@pytest.mark.parametrize(
    ("text", "share"),
    [
        ("So HAPPY, so happy!", 1.0),
        ("a so b happy c", 1.0),  # words of one letter are left out, as the model does
        ("so gut", 0.5),
        ("very happy", 0.5),  # "very" is known beside "so" only
        ("I'm so", 1.0),
        ("Ich bin froh", 0.0),
        ("a b c", 0.0),
    ],
)
def test_terms_of_tfidf_count_single_words(text: str, share: float) -> None:
    known = KnownWords.from_vocabulary(["[UNK]", "happy", "so", "so happy", "so very"])
    assert known is not None
    assert known.words == {"happy", "so"}
    assert known.share(text) == share


def test_word_pieces_count_whole_words_only() -> None:
    known = KnownWords.from_vocabulary(PIECES)
    assert known is not None
    assert known.share("I am so happy, so happy.") == 1.0
    assert known.share("Café!") == 1.0
    assert known.share("ab so") == 0.5  # "a", "##b" would spell it
    assert LOW_KNOWN_WORD_SHARE == 0.5
    assert KnownWords.from_vocabulary([]) is None
