"""The table of what each part of the sound recipe is worth."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from affectstream.core import registry
from benchmarks.accuracy import ravdess_ablation
from benchmarks.accuracy.ravdess_ablation import BASE, Variant, variants
from tests.support import models


def test_each_variant_changes_one_thing() -> None:
    base = registry.load("recipes", ravdess_ablation.RECIPE)
    made = variants()
    for name, one in made.items():
        changed = base.with_settings(list(one.settings))
        is_same = changed == base and one == Variant()
        assert is_same == (name == BASE), name
    assert "speed" not in base.with_settings(list(made["without speed"].settings)).transforms
    wide = base.with_settings(list(made["with wide speed"].settings)).transforms
    assert "speed:min_speed=0.8:max_speed=1.25:probability" in wide
    assert len(wide.split(",")) == len(base.transforms.split(","))
    assert base.with_settings(list(made["with VTLP"].settings)).transforms.endswith(",vtlp")


def test_rows_stand_beside_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a recipe that trains in a moment."""
    made = models.records(6, streams=("text",))
    data = models.write_data(tmp_path / "data", made)
    other = [
        replace(
            r,
            id=f"o/{r.id}",
            speaker="o/1",
            recording=f"o/{r.recording}",
            transcript=f"{r.transcript} o",
        )
        for r in made[:7]
    ]
    also = models.write_data(tmp_path / "also", other)
    known: dict[str, Any] = {
        BASE: Variant(("min_df=1",)),
        "fewer words": Variant(("min_df=3",)),
        "with TESS": Variant(("min_df=1",), is_with_other=True),
    }
    monkeypatch.setattr(ravdess_ablation, "variants", lambda: known)
    monkeypatch.setattr(ravdess_ablation, "RECIPE", "tfidf-text")
    monkeypatch.setattr(ravdess_ablation, "LABELS", "basic7")
    page = tmp_path / "results.md"
    page.write_text("<!-- ablation -->\n<!-- /ablation -->\n<!-- more -->\n<!-- /more -->\n")
    words = ["--data", str(data), "--runs", str(tmp_path / "runs"), "--folds", "3", "--epochs", "1"]
    words += ["--results", str(page)]
    assert ravdess_ablation.main(words) == 0
    assert "with TESS" not in page.read_text(), "no other corpus was named"
    assert ravdess_ablation.main([*words, "--also", str(also), "--section", "more"]) == 0
    by_default, more = page.read_text().split("<!-- more -->")
    assert "fewer words" in by_default and "with TESS" not in by_default
    lines = [line.split("|")[1:-1] for line in more.splitlines() if "|" in line]
    rows = {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines[2:]}
    assert list(rows) == list(known)
    assert rows[BASE][3:5] == ["", ""]
    for name in ("fewer words", "with TESS"):
        difference, low, high = (float(x) for x in [rows[name][3], *rows[name][4].split(" - ")])
        assert low <= difference <= high
        assert 0 <= float(rows[name][5]) <= 1
        assert difference == pytest.approx(float(rows[name][1]) - float(rows[BASE][1]), abs=0.002)
