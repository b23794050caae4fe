"""What the README and the summary of the results say of the models, against what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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


def _card_of_the_bundled_model() -> str:
    return Path("pretrained/emotion/MODEL_CARD.md").read_text(encoding="utf-8")
