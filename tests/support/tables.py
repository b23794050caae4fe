"""What tests of benchmarks share: the table that was printed."""

from __future__ import annotations

from pathlib import Path

import pytest


def printed_rows(capsys: pytest.CaptureFixture[str], out: Path) -> list[list[str]]:
    """Cells of the rows of the first table that was printed, which must be the one written."""
    text = out.read_text("utf-8")
    assert capsys.readouterr().out.strip() == text.strip()
    assert text.startswith("## ")
    assert "cores" in text.splitlines()[2]
    lines = text[text.index("\n| ") + 1 :].splitlines()
    table = lines[: next(i for i, line in enumerate([*lines, ""]) if not line.startswith("|"))]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    assert {len(row) for row in cells} == {len(cells[0])}
    return cells[2:]
