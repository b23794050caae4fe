"""The tables of single networks on corpora with a split of their own."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
from sklearn.metrics import balanced_accuracy_score

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from benchmarks.accuracy import run_scores
from benchmarks.robustness import training_runs
from benchmarks.robustness.training_runs import Part
from tests.support import models


def words_typed(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The commands that are typed from now on, which run in this process."""
    typed: list[object] = []

    def cli(*words: object) -> None:
        typed.append(words[0])
        assert models.run(*words) == 0

    monkeypatch.setattr(training_runs, "run_cli", cli)
    return typed


def test_the_results_have_each_section() -> None:
    text = Path("docs/results.md").read_text(encoding="utf-8")
    for name in run_scores.SECTIONS:
        assert text.count(f"<!-- {name} -->\n") == 1


def test_a_section_is_the_score_of_its_runs(
    audio_run: Path, toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finished run is scored once and never trained again."""
    runs, typed = tmp_path / "runs", words_typed(monkeypatch)
    shutil.copytree(audio_run, runs / "toy-seed-0")
    shutil.rmtree(runs / "toy-seed-0" / "evaluation", ignore_errors=True)
    part = Part("audio", "relu-cnn-audio", "basic7", ("?",), 2, ("batch_size=7",), "validation")
    section = run_scores.Section(
        "Toys", {"toy": part, "other": part}, "A note.", {"toy": "Toy.", "other": "Other."}
    )
    monkeypatch.setattr(run_scores, "SECTIONS", {"face": section})
    page = tmp_path / "results.md"
    page.write_text("<!-- face -->\n<!-- /face -->\n<!-- more -->\n<!-- /more -->\n")
    words = ["face", "--data", str(toy_data), "--runs", str(runs), "--only", "toy"]
    for _ in range(2):
        assert run_scores.main([*words, "--results", str(page)]) == 0
    assert typed == ["evaluate"]
    text = page.read_text()
    assert "## Toys" in text and "A note. Toy." in text and "are scored" in text
    assert "Other." not in text and text.endswith("<!-- more -->\n<!-- /more -->\n")
    assert run_scores.main([*words, "--results", str(page), "--section", "more"]) == 0
    assert page.read_text().count("A note. Toy.") == 2
    (row,) = [line.split("|")[1:-1] for line in text.splitlines() if "`toy`" in line]
    with open(
        runs / "toy-seed-0" / "evaluation/data-validation/predictions.csv", encoding="utf-8"
    ) as file:
        rows = list(csv.DictReader(file))
    uar = balanced_accuracy_score([r["label"] for r in rows], [r["predicted"] for r in rows])
    assert row[2].strip() == "2"
    assert row[4].strip() == str(len(rows))
    assert row[5].strip() == f"{uar:.3f}"
    with pytest.raises(SystemExit):
        run_scores.main([*words[:-1], "unknown"])
    with pytest.raises(SystemExit, match="trained with another recipe"):
        run_scores.main([*words[:-1], "other", "--runs", str(_renamed(runs))])


def test_several_seeds_are_averaged_too(
    toy_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = words_typed(monkeypatch)
    part = Part("audio", "relu-cnn-audio", "basic7", (str(toy_data),), 1, (), "validation")
    for _ in range(2):
        single, average = run_scores.scored("toy", part, tmp_path, 2)
    assert typed == ["train", "evaluate"] * 3
    assert (single[0], average[0]) == ("`toy`", "`toy`, 2 networks averaged")
    assert single[2] == "1" and average[2:4] == ("", "")
    count, of_both = (int(row[1].replace(",", "")) for row in (single, average))
    assert of_both == 2 * count
    assert "±" in single[5] and "±" not in average[5]
    (tmp_path / "toy-seed-1" / "best.keras").touch()
    with pytest.raises(UserError, match=r"toy-of-2: older than .*toy-seed-1, which it averages"):
        run_scores.scored("toy", part, tmp_path, 2)
    held = atomic_io.read_checksummed_json(tmp_path / "toy-of-2" / "run.json")
    assert [one["seed"] for one in held["ensemble_members"]] == [0, 1]


def _renamed(runs: Path) -> Path:
    """The run under the name of a part of other settings."""
    other = runs / "moved"
    shutil.copytree(runs / "toy-seed-0", other / "other-seed-0")
    file = other / "other-seed-0" / "run.json"
    info = atomic_io.read_checksummed_json(file)
    info["recipe"]["training"]["epochs"] = 9
    atomic_io.write_checksummed_json(file, info)
    return other
