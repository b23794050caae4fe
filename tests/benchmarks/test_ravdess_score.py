"""The benchmark of the score: baselines that never see the tested speakers, a section rewritten."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import affectstream.modeling.crossval.config
import affectstream.modeling.crossval.run
from affectstream.core import atomic_io, registry
from affectstream.modeling.crossval.folds import make_folds
from affectstream.modeling.crossval.scores import pooled_scores
from affectstream.preprocessing.dataset.data_folder import ClipRow, open_data_folder
from affectstream.preprocessing.labels import BASIC7
from benchmarks import report
from benchmarks.accuracy import classical, ravdess_score
from benchmarks.accuracy.scores import as_predictions
from tests.support import models

LABELS = BASIC7.labels
BOTH = "both: calibrated_late"


@pytest.fixture(scope="module")
def rows() -> list[ClipRow]:
    made = models.records(5, 2, streams=("text",))
    return [models.clip_row_of(one, "0") for one in made]


def features_of(rows: list[ClipRow], noise: float) -> np.ndarray:
    """A number a class, and noise."""
    truth = np.eye(len(LABELS))[[LABELS.index(row.label) for row in rows]]
    return truth + np.random.default_rng(0).normal(0, noise, truth.shape)


def test_logistic_regression_learns_what_carries_over(rows: list[ClipRow]) -> None:
    folds = make_folds(rows, "5", Path("data"), 1)
    logs = classical.log_probabilities(features_of(rows, 0.05), rows, BASIC7, folds)
    assert np.exp(logs).sum(axis=1) == pytest.approx(1, abs=1e-4)
    assert [LABELS[i] for i in logs.argmax(axis=1)] == [row.label for row in rows]


def test_turning_the_features_changes_no_answer(rows: list[ClipRow]) -> None:
    """More features than clips, which are turned into the space that the clips span."""
    truth = np.array([LABELS.index(row.label) for row in rows])
    noise = np.random.default_rng(1).normal(size=(len(rows), 200))
    features = np.concatenate([features_of(rows, 1.0), noise], axis=1)
    learnt, asked = np.arange(len(rows)) % 2 == 0, np.arange(len(rows)) % 2 == 1
    assert learnt.sum() < features.shape[1]
    ours = classical.fit_logistic_regression(features[learnt], truth[learnt], 0.01)
    plain = make_pipeline(
        StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", tol=1e-8)
    ).fit(features[learnt], truth[learnt])
    np.testing.assert_allclose(
        ours.predict_proba(features[asked]), plain.predict_proba(features[asked]), atol=2e-3
    )


def test_labels_of_the_tested_speakers_change_nothing_for_them(rows: list[ClipRow]) -> None:
    folds = make_folds(rows, "5", Path("data"), 1)
    features = features_of(rows, 1.0)
    honest = classical.log_probabilities(features, rows, BASIC7, folds)
    tested = np.isin([row.speaker for row in rows], folds[0].test)
    changed = [
        replace(row, label=LABELS[(LABELS.index(row.label) + 1) % 7]) if is_tested else row
        for row, is_tested in zip(rows, tested, strict=True)
    ]
    again = classical.log_probabilities(features, changed, BASIC7, folds)
    assert again[tested] == pytest.approx(honest[tested])
    assert not np.allclose(again[~tested], honest[~tested])


def test_action_units_are_averaged_over_the_frames_that_count(tmp_path: Path) -> None:
    made = models.records(3, 1)
    made[0].face_mask[0] = False
    data = open_data_folder(models.write_data(tmp_path / "data", made))
    found = classical.action_unit_means(data, data.rows)
    assert found.shape[0] == len(made)
    (place,) = [i for i, row in enumerate(data.rows) if row.id == made[0].id]
    assert found[place] == pytest.approx(made[0].faces[1:].mean(axis=0))


def test_functionals_are_found_again_or_need_opensmile(
    tmp_path: Path, rows: list[ClipRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "compare.npz"
    values = np.arange(2 * len(rows), dtype=np.float32).reshape(-1, 2)
    np.savez(kept, ids=[row.id for row in rows], values=values)
    data: Any = None  # not looked at
    assert (classical.compare_functionals(data, rows, kept) == values).all()
    monkeypatch.setattr(classical.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(classical.UserError, match=r"requirements-benchmarks\.txt"):
        classical.compare_functionals(data, rows[1:], kept)


def test_a_section_is_rewritten_and_nothing_else(tmp_path: Path) -> None:
    page = tmp_path / "results.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- /a -->\nafter\n")
    for text in ("## new\n", "## newer"):
        report.write_section(page, "a", text)
    assert page.read_text() == "before\n<!-- a -->\n\n## newer\n\n<!-- /a -->\nafter\n"
    for broken in ("<!-- a -->\n", "<!-- /a -->\n<!-- a -->\n", ""):
        page.write_text(broken)
        with pytest.raises(ValueError, match=r"results\.md: needs the lines <!-- a -->"):
            report.write_section(page, "a", "text")


def test_the_results_have_the_section() -> None:
    text = Path("docs/results.md").read_text(encoding="utf-8")
    assert text.count(f"<!-- {ravdess_score.SECTION} -->\n") == 1


def test_the_table_names_every_model(
    tmp_path: Path, rows: list[ClipRow], monkeypatch: pytest.MonkeyPatch
) -> None:
    folds = make_folds(rows, "5", Path("data"), 1)
    crossval = SimpleNamespace(
        streams=("audio", "video"),
        stream_recipes=[
            SimpleNamespace(
                stream="audio", name="voice", ensemble_size=1, tta_speeds="", ensemble_label=""
            ),
            SimpleNamespace(
                stream="video", name="face", ensemble_size=1, tta_speeds="", ensemble_label=""
            ),
        ],
        recipe=SimpleNamespace(fusion="calibrated_late"),
        out=tmp_path / "late-fusion",
        rows=rows,
        labels=BASIC7,
        folds=folds,
        data=None,
    )
    keys = ("uar", "wa", "macro_f1", "ece", "calibrated_model_ece")
    scores: dict[str, Any] = {
        "mean": dict(zip(keys, (0.8, 0.81, 0.82, 0.05, 0.03), strict=True)),
        "std": dict.fromkeys(keys, 0.01),
        "uar_ci95": [0.7, 0.9],
    }
    streams = [
        {"kind": kind, "stream": stream, **scores}
        for kind in ("alone", "only")
        for stream in ("audio", "video")
    ]
    right = np.eye(len(LABELS))[[LABELS.index(row.label) for row in rows]]
    wrong = np.roll(right, 1, axis=1)
    given = {
        stream: as_predictions(rows, shares, BASIC7)
        for stream, shares in {"audio": right, "video": wrong}.items()
    }
    for predicted in given.values():
        for index, row in enumerate(predicted):
            row["sex"] = "male" if index % 2 else "female"
    monkeypatch.setattr(
        affectstream.modeling.crossval.run, "predictions_of_streams", lambda *_: dict(given)
    )
    atomic_io.write_csv(crossval.out / "predictions.csv", list(given["audio"][0]), given["audio"])
    told = {"per_stream": streams, "folds": folds, "num_clips": 70, "num_speakers": 5}
    told |= pooled_scores(given["audio"], LABELS)
    told |= {
        "num_seeds": 3,
        "fold_runs": [{"git_revision": "abc"}],
        "data": {"digest": "d", "licence": "none"},
    }
    monkeypatch.setattr(ravdess_score, "_crossvals", lambda chosen: [(crossval, told | scores)])
    of_three = SimpleNamespace(
        **{
            **vars(crossval),
            "stream_recipes": [
                SimpleNamespace(**{**vars(p), "ensemble_label": ", 3 networks averaged"})
                for p in crossval.stream_recipes
            ],
        }
    )
    monkeypatch.setattr(ravdess_score, "_composed", lambda *_: (of_three, told | scores))
    monkeypatch.setattr(ravdess_score, "_parameters", lambda crossval, stream="": 1234)
    strong, weak = features_of(rows, 0.05), features_of(rows, 2.0)
    monkeypatch.setattr(classical, "compare_functionals", lambda *_: strong)
    monkeypatch.setattr(classical, "action_unit_means", lambda *_: weak)
    page = tmp_path / "results.md"
    page.write_text("<!-- ravdess -->\n<!-- /ravdess -->\n")
    words = ["--data", "data", "--runs", str(tmp_path), "--results", str(page)]
    assert ravdess_score.main(words) == 0
    lines = [line for line in page.read_text().splitlines() if line.startswith("| ")]
    second = lines.index("|  | audio | video | audio + video |")
    third = lines.index("|  | against | above | 95 % |")
    above = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[third + 2 : second]]
    single = ["audio: `voice`", "video: `face`", BOTH]
    averaged = [f"{name}, 3 networks averaged" for name in single]
    assert [name for name, *_ in above] == [*single, *averaged]
    for name, _, difference, ends in above:
        low, high = map(float, ends.split(" - "))
        assert low <= float(difference) <= high, name
    assert above[0][1:3] == ["ComParE 2016 + logistic regression", "+0.000"]
    last = next(place for place, line in enumerate(lines) if line.startswith("|  | answered, "))
    assert lines[last + 2] == "| 0.3 and above | 1.000 | 1.000 | 1.000 | 1.000 | 0.000 | 1.000 |"
    assert lines[-1] == "| AURC |  |  |  | 0.000 | 1.000 | 0.000 |"
    split = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[second + 2 : last]]
    cells_of = {name: cells for name, *cells in split}
    assert list(cells_of) == [
        *("UAR, female", "UAR, male"),
        *(f"recall, {label}" for label in LABELS),
        "people, share right",
    ]
    assert cells_of["UAR, male"] == cells_of["recall, sad"] == ["1.000", "0.000", "1.000"]
    assert cells_of["people, share right"] == ["0.62 - 0.67", "0.75", "0.80"]
    assert "(calibrated_late, 3 networks averaged)" in page.read_text()
    table = {cells[1].strip(): cells for cells in (line.split("|") for line in lines[2:third])}
    assert list(table) == [
        *("audio: `voice`", "video: `face`"),
        *(f"{BOTH}{only}" for only in ("", ", audio only", ", video only")),
        *(f"{stream}, 3 networks averaged" for stream in ("audio: `voice`", "video: `face`")),
        *(f"{BOTH}, 3 networks averaged{only}" for only in ("", ", audio only", ", video only")),
        "audio: ComParE 2016 + logistic regression",
        "video: action units + logistic regression",
        "both: these two, log-probabilities added",
    ]
    assert table[BOTH][2:5] == [" 1,234 ", " 0.800 ± 0.010 ", " 0.700 - 0.900 "]
    assert table["audio: ComParE 2016 + logistic regression"][3] == " 1.000 "
    regression = float(table["video: action units + logistic regression"][3])
    assert regression < 0.6
    assert float(above[1][2]) == pytest.approx(-regression, abs=1e-3), "the network is always wrong"


@pytest.mark.parametrize(
    ("seeds", "speeds", "made"),
    [
        (1, "", []),
        (3, "", [(3, "")]),
        (1, "0.9,1", [(1, "0.9,1")]),
        (3, "0.9,1", [(3, ""), (1, "0.9,1"), (3, "0.9,1")]),
    ],
)
def test_what_is_put_together(seeds: int, speeds: str, made: list[tuple[int, str]]) -> None:
    chosen = SimpleNamespace(seeds=seeds, tta_speeds=speeds)
    assert ravdess_score._compositions(chosen) == made


def test_speeds_are_of_the_voice_and_name_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planned: list[tuple[Any, ...]] = []

    def plan(*given: Any, reuse_ensemble: Path) -> Any:
        planned.append((*given, reuse_ensemble))
        return SimpleNamespace(out=given[5])

    monkeypatch.setattr(affectstream.modeling.crossval.config, "plan_crossval", plan)
    monkeypatch.setattr(ravdess_score, "_run", lambda *_: {})
    parts = [registry.load("recipes", name) for name in ravdess_score.PARTS]
    first = SimpleNamespace(
        recipe="late", stream_recipes=parts, data="data", out=tmp_path / "late-fusion"
    )
    chosen = SimpleNamespace(runs=tmp_path, folds="5", seeds=3, workers=0)
    for members, speeds in ((1, "0.9,1"), (3, "0.9,1"), (3, "")):
        ravdess_score._composed(chosen, first, members, speeds)
    told = [
        (one[5].name, one[4], [(p.ensemble_size, p.tta_speeds) for p in one[1]], one[-1])
        for one in planned
    ]
    assert told == [
        ("late-fusion-at-0.9-1", 3, [(1, "0.9,1"), (1, "")], first.out),
        ("late-fusion-of-3-at-0.9-1", 1, [(3, "0.9,1"), (3, "")], first.out),
        ("late-fusion-of-3", 1, [(3, ""), (3, "")], first.out),
    ]


def test_wrong_speeds_are_refused_before_anything_is_trained(tmp_path: Path) -> None:
    words = ["--data", str(tmp_path), "--runs", str(tmp_path), "--tta-speeds", "0.9,fast"]
    with pytest.raises(SystemExit, match=r"tta_speeds=0\.9,fast: must be"):
        ravdess_score.main(words)
