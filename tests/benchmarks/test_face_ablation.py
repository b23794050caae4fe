"""The table of what each part of the face recipe is worth."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import pytest

from affectstream.core import registry
from affectstream.parallel.tasks import ReportStep
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from benchmarks.accuracy import face_ablation, half_ablation, text_ablation
from benchmarks.accuracy.face_ablation import variants
from benchmarks.accuracy.half_ablation import BASE, RowTask, Variant, accuracy_difference, halves
from tests.support import models


def _data(folder: Path) -> Path:
    """Faces of nobody in particular, eight of each class, two of them officially test."""
    made = [
        models.record("", label, take, streams=("video",), num_frames=1, split=split)
        for label in models.LABELS
        for take, split in enumerate(["train"] * 6 + ["test"] * 2)
    ]
    return models.write_data(folder, made)


def test_the_results_have_the_section() -> None:
    text = Path("docs/results.md").read_text(encoding="utf-8")
    for study in (face_ablation.STUDY, text_ablation.STUDY):
        assert text.count(f"<!-- {study.section} -->\n") == 1


def test_each_variant_changes_one_thing() -> None:
    base = registry.load("recipes", face_ablation.STUDY.recipe)
    for name, one in variants().items():
        changed = base.with_settings(list(one.settings))
        is_same = changed == base and one == Variant()
        assert is_same == (name == BASE), name
        assert name == "without mirror images" or len(one.settings) <= 1, name
    for name in ("mixup", "cutout", "crop_jitter"):
        row = f"without {'jitter of the crop' if name == 'crop_jitter' else name}"
        left = base.with_settings(list(variants()[row].settings)).transforms.split(",")
        own = base.transforms.split(",")
        assert [one for one in own if one not in left] == [
            one for one in own if one.startswith(name)
        ]


def test_each_variant_of_words_changes_one_thing() -> None:
    study = text_ablation.STUDY
    base = registry.load("recipes", study.recipe).with_settings(list(study.settings))
    for name, one in text_ablation.VARIANTS.items():
        is_same = base.with_settings(list(one.settings)) == base and one == Variant()
        assert is_same == (name == BASE), name
        changes = len(one.settings) + (one.share_of_epochs != 1)
        assert changes == (0 if name == BASE else 1 + (", " in name and "too" not in name)), name


def test_what_words_are_scored_on_elsewhere_stays_closed(tmp_path: Path) -> None:
    made = [
        models.record("", label, take, streams=("text",), split=split)
        for label in models.LABELS
        for take, split in enumerate(["train"] * 4 + ["validation", "test"])
    ]
    folder = open_data_folder(models.write_data(tmp_path / "data", made))
    dealt = halves(folder, text_ablation.STUDY.splits)
    given = {name for part in dealt.splits.parts.values() for name in part}
    assert given == {row.id for row in folder.subset("train")}


def test_the_official_test_part_stays_closed(tmp_path: Path) -> None:
    folder = open_data_folder(_data(tmp_path / "data"))
    closed = {row.id for row in folder.subset("test")}
    dealt = halves(folder, face_ablation.STUDY.splits).splits.parts
    given = [name for part in dealt.values() for name in part]
    assert len(closed) == 2 * len(models.LABELS)
    assert len(given) == len(set(given)) == 6 * len(models.LABELS)
    assert not closed & set(given)
    assert len(dealt["test"]) == len(dealt["train"]) + len(dealt["validation"])
    scored = [name.split("-")[1] for name in dealt["test"]]
    assert {label: scored.count(label) for label in models.LABELS} == dict.fromkeys(
        models.LABELS, 3
    )


def test_a_difference_has_the_interval_of_its_pictures() -> None:
    def answers(right: int, wrong: int) -> list[dict[str, str]]:
        told = ["a"] * right + ["b"] * wrong
        return [{"id": str(i), "label": "a", "recognised": one} for i, one in enumerate(told)]

    mean, (low, high) = accuracy_difference(answers(300, 100), answers(280, 120))
    assert mean == pytest.approx(0.05)
    assert (high - low) / 2 == pytest.approx(1.96 * (0.05 * 0.95 / 399) ** 0.5)
    assert (low + high) / 2 == pytest.approx(mean)
    with pytest.raises(ValueError, match="other examples"):
        accuracy_difference(answers(3, 1), answers(2, 1))


def test_rows_stand_beside_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nets that train in a moment; asked again, nothing is trained again."""
    known: dict[str, Any] = {
        BASE: Variant(("width=8",)),
        "half as wide": Variant(("width=4",), share_of_epochs=0.5),
    }
    monkeypatch.setattr(face_ablation, "variants", lambda: known)
    page, runs = tmp_path / "results.md", tmp_path / "runs"
    page.write_text("<!-- face-ablation -->\n<!-- /face-ablation -->\n")
    words = ["--data", str(_data(tmp_path / "data")), "--runs", str(runs), "--epochs", "2"]
    words += ["--results", str(page)]
    assert face_ablation.main(words) == 0
    text = page.read_text()
    assert "19 pictures" in text and "2 fit" in text and "21 others" in text
    lines = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("|")]
    rows = {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines[2:]}
    assert list(rows) == list(known)
    assert rows[BASE][2:4] == ["", ""]
    narrow = rows["half as wide"]
    difference, low, high = (float(cell) for cell in [narrow[2], *narrow[3].split(" - ")])
    assert low <= difference <= high
    assert difference == pytest.approx(float(narrow[1]) - float(rows[BASE][1]), abs=0.002)
    count = {}
    for name in known:
        history = runs / name.replace(" ", "-") / "history.csv"
        with open(history, newline="", encoding="utf-8") as file:
            count[name] = len(list(csv.DictReader(file)))
    assert count == {BASE: 2, "half as wide": 1}
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("*.keras")}
    assert face_ablation.main(words) == 0
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("*.keras")} == before


def test_a_row_whose_process_ends_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(half_ablation, "run_row", _die)
    words = ["--data", str(_data(tmp_path / "data")), "--runs", str(tmp_path), "--workers", "1"]
    with pytest.raises(SystemExit, match=r"as-it-is: its training .*; the same command goes on"):
        face_ablation.main(words)


def _die(task: RowTask, tell: ReportStep) -> None:
    os._exit(7)
