"""What the README and the summary of the results say of the models, against what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from affectstream.commands.reports.prediction_report import print_prediction
from affectstream.serving import load

# | what, on which data | classes | parameters | UAR 0.123 | others |
ROW = re.compile(r"^\| [^|]+ \| \d+ \| ([\d,]+) \| (?:UAR|accuracy) (0\.\d{3}) \|", re.MULTILINE)
SCORES = ROW.findall(Path("README.md").read_text(encoding="utf-8"))
RESULTS = Path("docs/results.md").read_text(encoding="utf-8")
# What benchmarks wrote: <!-- name --> ... <!-- /name -->
TABLES = "".join(re.findall(r"<!-- [a-z-]+ -->(.*?)<!-- /[a-z-]+ -->", RESULTS, re.DOTALL))
AIMS = RESULTS.partition("| aim | reached |")[2].partition("\n\n")[0].splitlines()[2:]


def test_there_are_scores() -> None:
    assert len(SCORES) == 4


@pytest.mark.parametrize(("parameters", "score"), SCORES)
def test_a_score_is_that_of_a_table(parameters: str, score: str) -> None:
    rows = [line.split(" | ") for line in TABLES.splitlines() if f" {parameters} " in line]
    assert any(score in row for row in rows), f"docs/results.md: {parameters} with {score}"


def test_what_was_reached_stands_in_the_tables() -> None:
    measured = set(re.findall(r"\d\.\d{3}", TABLES + _card_of_the_bundled_model()))
    reached = {line: re.findall(r"\d\.\d{3}", line.split(" | ")[1]) for line in AIMS}
    assert len(reached) == 8 and sum(map(len, reached.values())) > 15
    for line, figures in reached.items():
        assert measured.issuperset(figures), line


# === The sentence of the example ===

PAGES = ("README.md", "docs/quickstart.md", "docs/text.md")


def test_the_example_of_a_text_is_answered_as_the_readme_says(
    capsys: pytest.CaptureFixture[str],
) -> None:
    typed = [
        re.findall(r'cli\.py predict +--text "([^"]+)"', Path(page).read_text(encoding="utf-8"))
        for page in PAGES
    ]
    assert typed == [["I am scared of the dark"]] * len(PAGES)
    answer = load("pretrained/text").predict_text(typed[0][0])
    assert (answer.label, answer.known_word_share, answer.warnings) == ("fearful", 1.0, ())
    assert answer.probabilities["fearful"] > 0.9
    print_prediction(answer, as_json=False)
    printed = capsys.readouterr().out
    assert printed.startswith("text: fearful  (fearful 0.")
    assert f"\n{printed}" in Path("README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "share", "found"),
    [
        ("Ich habe furchtbare Angst vor der Dunkelheit", 1 / 7, "only 14% of the words are"),
        ("Ich bin heute sehr traurig", 0.0, "no word is"),
    ],
)
def test_german_is_warned_of(text: str, share: float, found: str) -> None:
    answer = load("pretrained/text").predict_text(text)
    assert answer.known_word_share == pytest.approx(share)
    assert answer.warnings == (f"{found} known to the model: the answer from words means little",)


def _card_of_the_bundled_model() -> str:
    return Path("pretrained/emotion/MODEL_CARD.md").read_text(encoding="utf-8")
