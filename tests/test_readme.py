"""What the README says of the models, against what was measured."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# | what, on which data | classes | parameters | UAR 0.123 | others |
ROW = re.compile(r"^\| [^|]+ \| \d+ \| ([\d,]+) \| (?:UAR|accuracy) (0\.\d{3}) \|", re.MULTILINE)
SCORES = ROW.findall(Path("README.md").read_text(encoding="utf-8"))


def test_there_are_scores() -> None:
    assert len(SCORES) == 4


@pytest.mark.parametrize(("parameters", "score"), SCORES)
def test_a_score_is_that_of_a_table(parameters: str, score: str) -> None:
    text = Path("docs/results.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if f" {parameters} " in line]
    assert any(score in row for row in rows), f"docs/results.md: {parameters} with {score}"
