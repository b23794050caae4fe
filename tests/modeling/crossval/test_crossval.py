"""Cross-validation: folds of whole speakers, predictions out of fold, a report that adds up."""

from __future__ import annotations

import csv
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from affectstream.core.errors import EXIT_FAILURE, EXIT_INTERRUPTED, EXIT_OK, UserError
from affectstream.modeling.crossval import report
from affectstream.modeling.crossval.config import plan_crossval
from affectstream.modeling.crossval.folds import Fold, make_folds, splits_of_fold
from affectstream.modeling.crossval.scores import (
    calibrated_model_ece,
    pooled_scores,
    uar_difference,
)
from affectstream.modeling.metrics import classification
from affectstream.modeling.recipes.recipe import recipe_from_json
from affectstream.modeling.training import trainer
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.dataset.data_folder import (
    ClipRow,
    open_data_folder,
    read_rows,
    read_splits,
    write_rows,
    write_splits,
)
from tests.support import models

LABELS = models.LABELS
HERE = Path("data")
WORDS = (
    *("--recipe", "tfidf-text", "--set", "min_df=1", "--set", "learning_rate=0.05", "--folds", 3),
    *("--epochs", 3, "--batch-size", 7),
)


def clip(speaker: str, take: int = 0, sex: str = "", **changes: Any) -> ClipRow:
    made = models.clip_row_of(models.record(speaker, "happy", take, ("text",)), "0")
    return replace(made, **{"attributes": {"sex": sex} if sex else {}, **changes})


def speakers(count: int) -> list[ClipRow]:
    """Odd ones male, even ones female, as in RAVDESS."""
    return [
        clip(str(i), take, ("female", "male")[i % 2])
        for i in range(1, count + 1)
        for take in (0, 1)
    ]


# === Folds ===


@pytest.mark.parametrize(("count", "folds"), [(20, "5"), (24, "6"), (24, "5"), (7, "3")])
def test_folds_are_whole_speakers_dealt_evenly(count: int, folds: str) -> None:
    rows = speakers(count)
    made = make_folds(rows, folds, HERE)
    assert len(made) == int(folds)
    tested = [speaker for fold in made for speaker in fold.test]
    assert sorted(tested) == sorted({row.speaker for row in rows})
    sizes = [len(fold.test) for fold in made]
    assert max(sizes) - min(sizes) <= 1
    men = [sum(int(name.split("/")[1]) % 2 for name in fold.test) for fold in made]
    assert max(men) - min(men) <= 1
    assert make_folds(rows[::-1], folds, HERE) == made
    for fold, following in zip(made, [*made[1:], made[0]], strict=True):
        assert fold.validation == following.test
        parts = splits_of_fold(rows, fold, len(made)).parts
        sides = [{r.speaker for r in rows if r.id in set(parts[s])} for s in parts]
        assert sum(map(len, sides)) == count == len(set().union(*sides))
        assert sum(map(len, parts.values())) == len(rows)
        assert {r.speaker for r in rows if r.id in set(parts["test"])} == set(fold.test)


def test_loso_tests_one_speaker_at_a_time_in_natural_order_of_each_sex() -> None:
    made = make_folds(speakers(4), "loso", HERE)
    assert [fold.test for fold in made] == [("toy/2",), ("toy/4",), ("toy/1",), ("toy/3",)]
    assert made[-1].validation == ("toy/2",)


def test_copies_train_only_and_excluded_clips_nowhere() -> None:
    rows = speakers(3)
    copies = [replace(row, id=f"{row.id}+", attributes={"copy_of": row.id}) for row in rows]
    left_out = clip("1", 9, excluded="broken")
    folder = [*rows, *copies, left_out, clip("")]
    fold = Fold(1, ("toy/1",), ("toy/2",))
    parts = splits_of_fold(folder, fold, 3).parts
    assert {name: len(ids) for name, ids in parts.items()} == {
        "train": 4,
        "validation": 2,
        "test": 2,
    }
    assert all("-" in name for ids in parts.values() for name in ids)
    assert left_out.id not in {name for ids in parts.values() for name in ids}


@pytest.mark.parametrize(
    ("rows", "folds", "told"),
    [
        ([*speakers(4), clip("", 0)], "3", "1 of 9 clips have no speaker"),
        (speakers(2), "3", "2 speakers; crossval needs 3"),
        (speakers(4), "5", "--folds 5: must be 3 to 4 (the speakers of data), or loso"),
        (speakers(4), "2", "--folds 2: must be 3 to 4"),
        (speakers(4), "six", "--folds six: must be 3 to 4"),
        (
            [*speakers(3), clip("4", recording="toy/1-happy-0")],
            "4",
            "recording toy/1-happy-0 in folds 1 and 3",
        ),
    ],
)
def test_folds_that_cannot_be_are_refused(rows: list[ClipRow], folds: str, told: str) -> None:
    with pytest.raises(UserError) as error:
        make_folds(rows, folds, HERE)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


# === Scores ===


def test_chance_ece_is_what_a_calibrated_model_gets() -> None:
    rng = np.random.default_rng(5)
    probabilities = rng.dirichlet(np.full(8, 0.4), 1200)
    truth = np.array([rng.choice(8, p=row) for row in probabilities])
    own = classification.expected_calibration_error(truth, probabilities)
    by_chance = calibrated_model_ece(probabilities)
    assert by_chance == pytest.approx(own, abs=0.012)
    assert 0.01 < by_chance < 0.05
    assert calibrated_model_ece(probabilities[:100]) > 2 * by_chance
    assert calibrated_model_ece(probabilities) == by_chance
    too_sure = probabilities**4 / (probabilities**4).sum(axis=1, keepdims=True)
    assert classification.expected_calibration_error(truth, too_sure) > 3 * calibrated_model_ece(
        too_sure
    )


def made_up(num_seeds: int = 3, num_clips: int = 60) -> list[dict[str, str]]:
    """Rows of `predictions.csv` with chance in them."""
    rng = np.random.default_rng(1)
    rows = []
    for seed in range(num_seeds):
        for number in range(num_clips):
            label = LABELS[number % 7]
            values = rng.dirichlet(np.ones(7)) + 0.3 * np.eye(7)[number % 7]
            cells = {name: f"{v:.6f}" for name, v in zip(LABELS, values / 1.3, strict=True)}
            known = {"id": str(number), "seed": str(seed), "speaker": f"toy/{number % 10}"}
            known |= {"sex": ("male", "female")[number % 2], "intensity": ""}
            rows.append({**known, "label": label, **cells})
    return rows


def test_scores_of_several_seeds_are_means_over_seeds() -> None:
    rows = made_up()
    found = pooled_scores(rows, LABELS)
    each = [pooled_scores([r for r in rows if r["seed"] == s], LABELS) for s in "012"]
    uars = [one["mean"]["uar"] for one in each]
    assert found["mean"]["uar"] == pytest.approx(np.mean(uars))
    assert found["std"]["uar"] == pytest.approx(np.std(uars, ddof=1))
    assert each[0]["std"]["uar"] is None
    for group in ("per_sex", "per_speaker"):
        for name, score in found[group].items():
            expected = np.mean([one[group][name]["uar"] for one in each])
            assert score["uar"] == pytest.approx(expected)
    assert list(found["per_sex"]) == ["female", "male"]
    assert found["per_intensity"] == {}
    assert found["num_clips"] == 60
    low, high = found["uar_ci95"]
    assert low < found["mean"]["uar"] < high


def test_two_crossvals_are_compared_on_the_same_speakers() -> None:
    one = made_up(num_seeds=1, num_clips=300)
    same, ends = uar_difference(one, one, LABELS)
    assert (same, ends) == (0.0, [0.0, 0.0])
    right = [{**row, **{name: str(float(name == row["label"])) for name in LABELS}} for row in one]
    difference, ends = uar_difference(right, one, LABELS)
    found = pooled_scores(one, LABELS)
    assert difference == pytest.approx(1 - found["mean"]["uar"])
    assert ends is not None and 0 < ends[0] < difference < ends[1]
    low, high = found["uar_ci95"]
    assert ends == pytest.approx([1 - high, 1 - low]), "all is right whoever is drawn"
    back, turned = uar_difference(one, right, LABELS)
    assert turned is not None and [back, *turned] == pytest.approx(
        [-difference, -ends[1], -ends[0]]
    )
    with pytest.raises(ValueError, match="of other clips or seeds"):
        uar_difference(one, [{**row, "speaker": "x"} for row in one], LABELS)


# === The command ===


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Words of four speakers, with the sex of each and an intensity."""
    made = models.records(4, streams=("text",))
    folder = models.write_data(tmp_path_factory.mktemp("words") / "data", made, synthetic=True)
    rows = []
    for number, row in enumerate(read_rows(folder)):
        sex = ("female", "male")[int(row.speaker[-1]) % 2]
        facts = {"sex": sex, "intensity": ("normal", "strong")[number % 2]}
        rows.append(replace(row, attributes=facts))
    splits = read_splits(folder)
    write_rows(folder, rows)
    write_splits(folder, splits)
    return folder


@pytest.fixture(scope="module")
def crossed(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seeds, undisturbed; the second is added to the first."""
    out = tmp_path_factory.mktemp("crossed") / "out"
    for seeds in (1, 2):
        words = ("crossval", *WORDS, "--data", data, "--out", out, "--seeds", seeds)
        assert models.run(*words) == EXIT_OK
    return out


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_each_clip_is_predicted_once_a_seed_by_a_model_that_has_not_met_its_speaker(
    crossed: Path, data: Path
) -> None:
    rows = table(crossed / "predictions.csv")
    ids = {row.id: row for row in read_rows(data)}
    assert Counter((row["seed"], row["id"]) for row in rows) == {
        (seed, name): 1 for seed in "01" for name in ids
    }
    for row in rows:
        run = crossed / f"fold-{row['fold']}-seed-{row['seed']}"
        info = json.loads((run / "run.json").read_text())
        used_for_selection = (
            info["train_footprint"]["speakers"] + info["validation_footprint"]["speakers"]
        )
        assert len(used_for_selection) == len(set(used_for_selection))
        assert row["speaker"] not in used_for_selection
        assert info["finished"] and info["seed"] == int(row["seed"])
        facts = ids[row["id"]].attributes
        assert (row["sex"], row["intensity"]) == (facts["sex"], facts["intensity"])


def test_numbers_are_those_of_sklearn_on_the_predictions(crossed: Path) -> None:
    found = json.loads((crossed / "crossval.json").read_text())
    assert 0.3 < found["mean"]["uar"] <= 1
    rows = table(crossed / "predictions.csv")
    for one in found["per_seed"]:
        own = [row for row in rows if row["seed"] == str(one["seed"])]
        truth, told = ([row[key] for row in own] for key in ("label", "predicted"))
        assert one["uar"] == pytest.approx(balanced_accuracy_score(truth, told))
        assert one["macro_f1"] == pytest.approx(f1_score(truth, told, average="macro"))
        assert one["wa"] == pytest.approx(
            np.mean([a == b for a, b in zip(truth, told, strict=True)])
        )
    truth, told = ([row[key] for row in rows] for key in ("label", "predicted"))
    matrix = confusion_matrix(truth, told, labels=list(LABELS))
    assert found["confusion_matrix"] == matrix.tolist()
    assert found["num_clips"] * 2 == len(rows)
    assert found["data"]["synthetic"] and found["human_performance"] is None
    assert [fold["test"] for fold in found["folds"]] == [
        ["toy/02", "toy/03"],
        ["toy/04"],
        ["toy/01"],
    ]


def test_the_report_holds_the_figures_and_needs_no_other_file(crossed: Path) -> None:
    found = json.loads((crossed / "crossval.json").read_text())
    score = f"{found['mean']['uar']:.3f} ± {found['std']['uar']:.3f}"
    markdown = (crossed / "report.md").read_text()
    assert f"| UAR | {score} |" in markdown
    assert "SYNTHETIC" in markdown and "| strong |" in markdown and "(female)" in markdown
    page = (crossed / "report.html").read_text()
    assert score in page and page.count("data:image/png;base64,") == 4
    assert 'src="' not in page.replace('src="data:', "") and "<link" not in page
    for name in report.PLOTS:
        assert models.picture(crossed / name).size


def test_people_are_a_line_of_the_report_where_their_figure_is_known(
    crossed: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {key[:2] for key in report.HUMAN_PERFORMANCE} == {("ravdess", "ravdess8")}
    assert report.HUMAN_PERFORMANCE["ravdess", "ravdess8", ("audio",)].low == 0.62
    people = report.HumanPerformance(0.6, 0.7, "a paper")
    shutil.copytree(crossed, tmp_path, dirs_exist_ok=True)
    recipe = recipe_from_json(json.loads((crossed / "plan.json").read_text())["recipe"])
    again = plan_crossval(recipe, (), open_data_folder(data), "3", 2, tmp_path)
    # People who chose among other labels, or judged another corpus, are no comparison.
    monkeypatch.setitem(report.HUMAN_PERFORMANCE, ("toy", "ravdess8", ("text",)), people)
    monkeypatch.setitem(report.HUMAN_PERFORMANCE, ("other", recipe.labels, ("text",)), people)
    found = report.write_report(again, table(crossed / "predictions.csv"))
    assert found["human_performance"] is None
    assert "People" not in (tmp_path / "report.md").read_text()
    monkeypatch.setitem(report.HUMAN_PERFORMANCE, ("toy", recipe.labels, ("text",)), people)
    found = report.write_report(again, table(crossed / "predictions.csv"))
    assert found["human_performance"] == {"low": 0.6, "high": 0.7, "source": "a paper"}
    line = "People recognise 0.60 to 0.70 of all recordings of this corpus (a paper): a share"
    assert line in (tmp_path / "report.md").read_text()
    assert line in (tmp_path / "report.html").read_text()
    # The plot is of UAR, their figure is a share of clips.
    plot = "speakers.png"
    assert (tmp_path / plot).read_bytes() == (crossed / plot).read_bytes()


def chosen(found: dict[str, Any]) -> list[dict[str, Any]]:
    """What was chosen in each pair, whatever the program's revision was meanwhile."""
    return [
        {key: value for key, value in pair.items() if key != "git_revision"}
        for pair in found["fold_runs"]
    ]


def test_an_interrupted_one_goes_on_and_ends_alike(
    crossed: Path,
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(crossed / "plan.json", out)
    for name in ("fold-1-seed-0", "fold-3-seed-0"):
        shutil.copytree(crossed / name, out / name)
    words = ("crossval", *WORDS, "--data", data, "--out", out, "--seeds", 1)
    before = (data / data_folder.SPLITS_FILE).read_bytes()
    epochs = 0
    evaluate = trainer.Trainer.evaluate

    def interrupted(self: trainer.Trainer, batches: trainer.EpochDataset) -> dict[str, float]:
        nonlocal epochs
        epochs += 1
        if epochs == 2:
            raise KeyboardInterrupt
        return evaluate(self, batches)

    monkeypatch.setattr(trainer.Trainer, "evaluate", interrupted)
    assert models.run(*words) == EXIT_INTERRUPTED
    assert len(models.history(out / "fold-2-seed-0")) == 1
    assert not (out / "report.md").exists()
    # What is done is not done again; what was damaged is predicted again, not trained.
    (out / "fold-3-seed-0" / "predictions.csv").write_text("damaged")
    capfd.readouterr()
    assert models.run(*words) == EXIT_OK
    assert capfd.readouterr().err.count("done before") == 1
    assert epochs == 2 + 2
    rows = table(out / "predictions.csv")
    assert rows == [row for row in table(crossed / "predictions.csv") if row["seed"] == "0"]
    assert (data / data_folder.SPLITS_FILE).read_bytes() == before
    ours, theirs = (json.loads((path / "crossval.json").read_text()) for path in (out, crossed))
    assert ours["per_seed"] == theirs["per_seed"][:1]
    assert chosen(ours) == chosen(theirs)[:3]


def test_another_crossval_is_not_mixed_with_one_that_is_there(
    crossed: Path, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    def refused(*words: object) -> str:
        capfd.readouterr()
        assert models.run("crossval", *WORDS, "--data", data, *words) == EXIT_FAILURE
        return models.error_line(capfd.readouterr().err)

    other = refused("--out", crossed, "--epochs", 4, "--folds", 4)
    assert "holds a crossval with another recipe and folds" in other
    (tmp_path / "letter.txt").touch()
    assert "not empty and not of crossval" in refused("--out", tmp_path)
    assert "must be 3 to 4" in refused("--out", tmp_path / "new", "--folds", 9)

    def refused_recipe(*words: object) -> str:
        capfd.readouterr()
        typed = ("crossval", "--data", data, "--out", tmp_path / "new", "--recipe", *words)
        assert models.run(*typed) == EXIT_FAILURE
        return models.error_line(capfd.readouterr().err)

    assert "name them with --stream-recipe" in refused_recipe("late-fusion")
    assert "a fusion of one stream each" in refused_recipe(
        "late-fusion", "--stream-recipe", "tfidf-text", "--stream-recipe", "text-cnn"
    )
    assert "--stream-recipe goes with a fusion" in refused_recipe(
        "tfidf-text", "--stream-recipe", "text-cnn"
    )
    assert "no clip has a label" in refused_recipe("elu-cnn-video")
    assert not (tmp_path / "new").exists()
