"""The table of what starting from the model in the box gains on a few recordings."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.labels import BASIC7
from benchmarks.accuracy import adaptation
from tests.support import models


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two people whom no model has met, three recordings of each class."""
    made = [
        replace(
            one,
            id=f"new/{one.id}",
            speaker=f"new/{one.speaker}",
            recording=f"new/{one.recording}",
            audio_hash=f"abc{number:029x}",
        )
        for number, one in enumerate(models.records(2, num_takes=4, streams=("audio",)))
    ]
    return models.write_data(tmp_path_factory.mktemp("users") / "data", made)


@pytest.mark.parametrize(("count", "train", "asked"), [(1, 7, 14), (2, 14, 7), (3, 21, 0)])
def test_a_user_is_divided(data: Path, count: int, train: int, asked: int) -> None:
    user = adaptation.single_user_folder(open_data_folder(data), "new/toy/01", count)
    parts = user.splits.parts
    assert [len(parts[split]) for split in ("train", "validation", "test")] == [train, 7, asked]
    assert len({name for names in parts.values() for name in names}) == 28
    labels = {row.id: BASIC7.index(row.label) for row in user.rows}
    for split in ("train", "validation"):
        assert {labels[name] for name in parts[split]} == set(range(7))


def test_only_the_unmet_are_users(data: Path, toy_data: Path, audio_run: Path) -> None:
    assert adaptation.unseen_speakers(open_data_folder(data), audio_run) == [
        "new/toy/01",
        "new/toy/02",
    ]
    seen = json.loads((audio_run / "run.json").read_text())
    met = {*seen["train_footprint"]["speakers"], *seen["validation_footprint"]["speakers"]}
    assert met and not met & set(adaptation.unseen_speakers(open_data_folder(toy_data), audio_run))


def test_three_models_are_asked_the_same(
    data: Path, audio_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adaptation, "RECIPE", "relu-cnn-audio")
    monkeypatch.setattr(adaptation, "ADAPTING", ("learning_rate=2e-4", "epochs=1"))
    page = tmp_path / "results.md"
    page.write_text("<!-- adaptation -->\n<!-- /adaptation -->\n")
    words = ["--data", str(data), "--model", str(audio_run), "--runs", str(tmp_path / "runs")]
    words += ["--recordings", "2", "--set", "epochs=1", "--results", str(page)]
    assert adaptation.main(words) == 0
    lines = [line.split("|")[1:-1] for line in page.read_text().splitlines() if "|" in line]
    rows = [[cell.strip() for cell in line] for line in lines[2:]]
    assert [row[:4] for row in rows] == [
        ["2", "2 of toy", adaptation.NOT_ADAPTED, "14"],
        ["2", "2 of toy", adaptation.FROM_SCRATCH, "14"],
        ["2", "2 of toy", adaptation.ADAPTED, "14"],
    ]
    uar = [float(row[4].split()[0]) for row in rows]
    assert rows[0][-2:] == ["", ""]
    for row, own in zip(rows[1:], uar[1:], strict=True):
        assert float(row[-2]) == pytest.approx(own - uar[0], abs=2e-3)
        assert row[-1] == "too few"  # two speakers
    (home,) = (tmp_path / "runs").glob("new-toy-01-2-*")
    started = json.loads((home / "adapted" / "run.json").read_text())
    assert started["leak_allowed"] is False
    asked = (home / "as-it-comes" / "predictions.csv").read_text()
    assert asked != (home / "adapted-to-these" / "predictions.csv").read_text()
    with pytest.raises(SystemExit, match="knows every speaker"):
        adaptation.main([*words[:2], "--model", str(home / "adapted"), "--data", str(_one(data))])


def _one(data: Path) -> Path:
    """The folder with the first person alone."""
    made = models.records(1, streams=("audio",))
    made = [replace(one, speaker="new/toy/01", audio_hash="") for one in made]
    return models.write_data(data.parent / "one", made)
