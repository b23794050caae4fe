"""The table of sound trained on one corpus and tested on another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.dataset.splits import NOT_DISJOINT
from affectstream.preprocessing.labels import BASIC7
from benchmarks.accuracy import cross_corpus
from tests.support import models


def corpus(home: Path, name: str, num_speakers: int) -> Path:
    """Sound whose speakers and contents are its own."""
    made = [
        replace(
            one,
            id=f"{name}/{one.id}",
            corpus=name,
            speaker=f"{name}/{one.speaker}",
            recording=f"{name}/{one.recording}",
            audio_hash=f"{name}{number:024x}",
        )
        for number, one in enumerate(
            models.records(num_speakers, labels=BASIC7.labels, streams=("audio",))
        )
    ]
    folder = models.write_data(home / name, made)
    data_folder.write_settings(folder, {**data_folder.read_settings(folder), "corpus": name})
    return folder


def test_who_trains_and_who_only_calibrates(tmp_path: Path) -> None:
    many = cross_corpus.train_on_whole_corpus(open_data_folder(corpus(tmp_path, "many", 5)))
    validating = {row.speaker for row in many.subset("validation")}
    assert validating == {"many/toy/04", "many/toy/05"}
    assert len(many.subset("train")) == 21 and not many.subset("test")
    few = cross_corpus.train_on_whole_corpus(open_data_folder(corpus(tmp_path, "few", 2)))
    assert (len(few.subset("train")), len(few.subset("validation"))) == (12, 2)
    assert {row.speaker for row in few.subset("train")} == {"few/toy/01", "few/toy/02"}
    assert few.splits.notes == (NOT_DISJOINT,)


def test_each_way_beside_logistic_regression(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def functionals(folder: Any, rows: Any, kept: Path) -> np.ndarray:
        """The class, but with noise of its own in each corpus."""
        assert kept.name == f"compare-{folder.settings['corpus']}.npz"
        truth = np.eye(7)[[BASIC7.index(row.label) or 0 for row in rows]]
        return truth + np.random.default_rng(len(rows)).normal(size=truth.shape) * 0.1

    monkeypatch.setattr(cross_corpus, "compare_functionals", functionals)
    monkeypatch.setattr(cross_corpus, "STRENGTH", 1.0)
    one, other = corpus(tmp_path, "one", 5), corpus(tmp_path, "other", 2)
    page = tmp_path / "results.md"
    page.write_text("<!-- cross-corpus -->\n<!-- /cross-corpus -->\n")
    quick = ("epochs=1", "cached_augmentations=1", "width=4")
    words = ["--data", str(one), str(other), "--runs", str(tmp_path / "runs")]
    words += [word for value in quick for word in ("--set", value)]
    assert cross_corpus.main([*words, "--results", str(page)]) == 0
    lines = [line.split("|")[1:-1] for line in page.read_text().splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line] for line in lines[2:]]
    assert [row[:4] for row in rows] == [
        ["one: `resnet-asp-audio`", "other", "14", "2"],
        ["one: ComParE 2016 + logistic regression", "other", "14", "2"],
        ["other: `resnet-asp-audio`", "one", "35", "5"],
        ["other: ComParE 2016 + logistic regression", "one", "35", "5"],
    ]
    assert [row[4] for row in rows[1::2]] == ["1.000", "1.000"]
    assert [row[5] == "too few" for row in rows] == [True, True, False, False]
    before = (tmp_path / "runs" / "one-seed-0" / "best.keras").stat().st_mtime_ns
    assert cross_corpus.main(words) == 0
    after = (tmp_path / "runs" / "one-seed-0" / "best.keras").stat().st_mtime_ns
    assert after == before, "what is finished is not trained again"
