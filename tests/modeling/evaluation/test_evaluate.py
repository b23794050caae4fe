"""`evaluate`: the numbers, where they come from, and what stops it."""

from __future__ import annotations

import contextlib
import csv
import dataclasses
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import accuracy_score, balanced_accuracy_score, confusion_matrix, f1_score

from affectstream.core import atomic_io, storage_paths
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.modeling.data.subset import select_records
from affectstream.modeling.data.training_data import TrainingData
from affectstream.modeling.evaluation import evaluate as evaluation
from affectstream.modeling.evaluation import subset_predictions
from affectstream.modeling.evaluation.evaluate import evaluate
from affectstream.modeling.metrics import classification
from affectstream.modeling.runs import score_store
from affectstream.modeling.runs.checkpoints import load_model
from affectstream.modeling.runs.run_folder import BEST, read_run
from affectstream.modeling.training.train_fusion import _split_outputs
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.labels import BASIC7
from affectstream.preprocessing.records.record import read_records
from tests.support.models import LABELS, error_line, picture, records, run, write_data
from tests.support.stubs import Pictures

CONTRACT = {
    *(
        "uar",
        "wa",
        "macro_f1",
        "weighted_f1",
        "ece",
        "uar_ci95",
        "num_clips",
        "num_speakers",
        "per_class",
    ),
    *("per_speaker", "confusion_matrix", "labels", "split", "leak_allowed"),
}
OURS = {"per_corpus", "synthetic", "notes", "run", "streams", "data", "skipped", "risk_coverage"}
OURS |= {"uar_ci95_note", "num_clips_of_unknown_speakers", "leaks", "used_for_selection"}
OURS |= {"data_digest", "model_sha256"}


def read_scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "metrics.json").read_text(encoding="utf-8"))


def predictions(folder: Path) -> tuple[list[str], list[str], np.ndarray, list[str]]:
    """Truth, answer, probabilities and speaker of each row of `predictions.csv`."""
    with open(folder / "predictions.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    shares = np.array([[float(row[label]) for label in LABELS] for row in rows])
    columns = ([row[key] for row in rows] for key in ("label", "predicted", "speaker"))
    truth, answers, speakers = columns
    return truth, answers, shares, speakers


def refused(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    capfd.readouterr()
    assert run("evaluate", *words) == EXIT_FAILURE
    return error_line(capfd.readouterr().err)


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four speakers of another corpus; calm is neutral here, love in no set, one has no face."""
    made = records(4, corpus="strangers", labels=("calm", *LABELS[1:], "love"))
    made[1] = dataclasses.replace(made[1], faces=np.zeros((0, 0, 0, 0), np.uint8))
    made[1] = dataclasses.replace(made[1], face_mask=np.zeros(0, bool), video_hash="")
    return write_data(tmp_path_factory.mktemp("strangers") / "data", made)


@pytest.fixture(scope="module")
def scored(
    video_run: Path,
    strangers: Path,
    pictures: Pictures,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, str]:
    """An evaluation of 27 clips by 4 speakers, and what was printed."""
    out = tmp_path_factory.mktemp("evaluation") / "scores"
    words = ("--run", video_run, "--data", strangers, "--split", "all", "--out", out)
    with contextlib.redirect_stdout(io.StringIO()) as printed, pictures.drawn():
        assert run("evaluate", *words) == EXIT_OK
    return out, printed.getvalue()


# === Numbers ===


def test_the_keys_are_those_of_the_contract(scored: tuple[Path, str]) -> None:
    scores = read_scores(scored[0])
    assert set(scores) == CONTRACT | OURS
    assert scores["labels"] == list(LABELS)
    assert set(scores["per_class"]) == set(LABELS)
    for one in scores["per_class"].values():
        assert set(one) == {"recall", "precision", "f1", "num_clips"}
    for one in scores["per_speaker"].values():
        assert set(one) == {"uar", "wa", "num_clips"}
    assert (scores["split"], scores["leak_allowed"], scores["synthetic"]) == ("all", False, False)
    assert (scores["num_clips"], scores["num_speakers"]) == (27, 4)
    assert scores["per_class"]["neutral"]["num_clips"] == 4  # calm merged
    assert scores["skipped"] == {"love": 4, "happy": 1}


def test_predictions_reproduce_the_scores(scored: tuple[Path, str]) -> None:
    scores = read_scores(scored[0])
    truth, answers, shares, speakers = predictions(scored[0])
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    assert answers == [LABELS[i] for i in shares.argmax(axis=1)]
    assert scores["uar"] == pytest.approx(balanced_accuracy_score(truth, answers))
    assert scores["wa"] == pytest.approx(accuracy_score(truth, answers))
    expected = f1_score(truth, answers, average="macro", labels=LABELS, zero_division=0)
    assert scores["macro_f1"] == pytest.approx(expected)
    matrix = confusion_matrix(truth, answers, labels=LABELS).tolist()
    assert scores["confusion_matrix"] == matrix
    numbers = np.array([LABELS.index(label) for label in truth])
    guesses = shares.argmax(axis=1)
    ece = classification.expected_calibration_error(numbers, shares)
    assert scores["ece"] == pytest.approx(ece, abs=1e-4)
    assert scores["uar_ci95"] == classification.uar_confidence_interval(numbers, guesses, speakers)
    for speaker, one in scores["per_speaker"].items():
        own = [i for i, name in enumerate(speakers) if name == speaker]
        assert one["num_clips"] == len(own)
        assert one["wa"] == pytest.approx(np.mean([truth[i] == answers[i] for i in own]))
    assert 0 < scores["uar"] < 1  # learnt something, not everything: the numbers can be wrong


def test_the_table_and_the_pictures(scored: tuple[Path, str]) -> None:
    folder, printed = scored
    scores = read_scores(folder)
    low, high = scores["uar_ci95"]
    assert f"UAR       {scores['uar']:.3f}  95 % [{low:.3f}, {high:.3f}] over speakers" in printed
    assert "clips     27, speakers 4" in printed
    assert "left out: 4 of love" in printed
    for label in LABELS:
        assert f"  {label:<12}{scores['per_class'][label]['recall']:>8.3f}" in printed
    for name in ("confusion_matrix.png", "reliability.png"):
        shown = picture(folder / name)
        assert min(shown.shape[:2]) > 300
        assert shown.std() > 10


def test_the_same_again_as_json(
    scored: tuple[Path, str],
    video_run: Path,
    strangers: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    words = ("--run", video_run, "--data", strangers, "--split", "all", "--out", tmp_path, "--json")
    capfd.readouterr()
    assert run("evaluate", *words) == EXIT_OK
    assert json.loads(capfd.readouterr().out) == read_scores(tmp_path) == read_scores(scored[0])


# === Splits ===


@pytest.mark.parametrize("split", ["validation", "test"])
def test_evaluate_scores_the_split_that_is_named(
    split: str,
    audio_run: Path,
    toy_data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    audio_run = shutil.copytree(audio_run, tmp_path / "run")
    assert run("evaluate", "--run", audio_run, "--data", toy_data, "--split", split) == EXIT_OK
    said = capfd.readouterr().out
    assert f", {split}\n" in said
    assert "  no interval: 1 speaker, at least 3 are needed\n" in said
    assert ("epoch or temperature of the run were chosen on" in said) == (split == "validation")
    scores = read_scores(audio_run / "evaluation" / f"{toy_data.name}-{split}")
    speaker = {"validation": "toy/02", "test": "toy/03"}[split]
    assert list(scores["per_speaker"]) == [speaker]
    assert (scores["split"], scores["num_clips"], scores["uar_ci95"]) == (split, 14, None)
    assert (scores["leak_allowed"], scores["leaks"]) == (False, [])
    assert scores["used_for_selection"] == (split == "validation")


def test_what_was_trained_on_is_scored_as_a_leak_and_beside_the_test(
    video_run: Path, toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    own = tmp_path / "run"
    shutil.copytree(video_run, own, ignore=shutil.ignore_patterns("evaluation"))
    words = ("--run", own, "--data", toy_data)
    assert run("evaluate", *words) == EXIT_OK
    tested = read_scores(own / "evaluation" / "data-test")
    line = refused(capfd, *words, "--split", "train")
    assert "leak: speaker toy/01; recording" in line and "and train here" in line
    assert not (own / "evaluation" / "data-train").exists()
    assert run("evaluate", *words, "--split", "train", "--allow-leak") == EXIT_OK
    said = capfd.readouterr().out
    assert ", train (LEAK ALLOWED)\n" in said
    assert "note: LEAK ALLOWED: the run was trained or chosen on speaker toy/01; recording" in said
    scores = read_scores(own / "evaluation" / "data-train")
    assert scores["leak_allowed"] and scores["leaks"][0] == "speaker toy/01"
    assert read_scores(own / "evaluation" / "data-test") == tested
    assert run("describe", own, "--json") == EXIT_OK
    facts = json.loads(capfd.readouterr().out)
    told = {one["split"]: one for one in facts["evaluation"]}
    assert told["test"]["uar"] == tested["uar"] and not told["test"]["leak_allowed"]
    assert told["train"]["leak_allowed"]
    assert f"| test of data (toy) | {tested['uar']:.3f} |" in facts["card"]
    assert f"| train of data (toy), LEAK ALLOWED | {scores['uar']:.3f} |" in facts["card"]
    assert "**LEAK ALLOWED: scored on what it was trained on (train of data (toy)" in facts["card"]


def test_the_train_part_of_strangers_is_no_leak(
    video_run: Path, strangers: Path, tmp_path: Path
) -> None:
    words = ("--run", video_run, "--data", strangers, "--split", "train", "--out", tmp_path / "s")
    assert run("evaluate", *words) == EXIT_OK
    assert not read_scores(tmp_path / "s")["leak_allowed"]


def test_scores_are_kept_by_data_and_split(
    video_run: Path, strangers: Path, toy_data: Path, tmp_path: Path
) -> None:
    own = tmp_path / "run"
    shutil.copytree(video_run, own, ignore=shutil.ignore_patterns("evaluation"))
    again = write_data(tmp_path / "other" / "data", records(2, corpus="others"))
    for data in (toy_data, strangers, strangers, again):
        split = "test" if data == toy_data else "all"
        assert run("evaluate", "--run", own, "--data", data, "--split", split) == EXIT_OK
    first, second = open_data_folder(strangers), open_data_folder(again)
    digest = score_store.data_identity([second])["data_digest"][:8]
    kept = score_store.read_scores(own)
    names = {path.name: scores["data"] for path, scores in kept.items()}
    assert names == {
        "data-test": [str(toy_data)],
        "data-all": [str(strangers)],
        f"data-all-{digest}": [str(again)],
    }
    together = score_store.evaluation_folder(own / "evaluation", [first, second], "all")
    assert (
        together.name == "data-all-" + score_store.data_identity([first, second])["data_digest"][:8]
    )
    # Trained further it has other weights, of which these scores tell nothing.
    (own / BEST).write_bytes((own / BEST).read_bytes() + b"more")
    assert score_store.read_scores(own) == {}


def test_a_bundled_model_is_not_written_to(
    video_run: Path,
    strangers: Path,
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    own = tmp_path / "pretrained" / "face"
    shutil.copytree(video_run, own, ignore=shutil.ignore_patterns("evaluation"))
    before = sorted(own.rglob("*"))
    monkeypatch.setattr(storage_paths, "BUNDLED_MODELS_DIR", tmp_path / "pretrained")
    monkeypatch.chdir(tmp_path)
    words = ("--run", "pretrained/face", "--data", strangers, "--split", "all")
    assert run("evaluate", *words) == EXIT_OK
    assert "written to evaluations/face/data-all" in capfd.readouterr().err
    assert read_scores(tmp_path / "evaluations" / "face" / "data-all")["num_clips"] == 27
    clip = tmp_path / "x.wav"
    clip.touch()
    for typed in (
        ("evaluate", *words, "--out", own / "evaluation"),
        ("train", "--stream", "video", "--data", toy_data, "--out", own, "--resume"),
        ("train", "--stream", "video", "--data", toy_data, "--out", own, "--overwrite"),
        ("export", "--run", own, "--out", own / "export"),
        ("export", "--run", own, "--serving", own),
        ("preprocess", "--corpus", "sample", "--out", own),
        ("predict", clip, "--model", own, "--csv", own / "x.csv"),
        ("predict", clip, "--model", own, "--plot", own / "x.png"),
        ("predict", clip, "--model", own, "--annotate", own / "x.mp4"),
        ("features", "--data", toy_data, "--out", own / "x.csv"),
        ("crossval", "--recipe", "elu-cnn-video", "--data", toy_data, "--out", own),
        ("augment", "--data", toy_data, "--out", own),
        ("synthesize", own),
        ("demo", "--out", own),
        ("download", "ravdess", "--out", own),
    ):
        capfd.readouterr()
        assert run(*typed) == EXIT_FAILURE, typed
        assert "folder of the bundled models, which are read-only" in capfd.readouterr().err
    with pytest.raises(UserError, match="bundled models"):
        evaluate(own, [open_data_folder(strangers)], "all", own / "evaluation")
    assert sorted(own.rglob("*")) == before


def test_all_of_what_was_trained_on_is_a_leak(
    video_run: Path, toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ("--run", video_run, "--data", toy_data, "--split", "all", "--out", tmp_path / "s")
    line = refused(capfd, *words)
    assert "leak: speaker toy/01, toy/02; recording" in line
    assert not (tmp_path / "s").exists()
    assert run("evaluate", *words, "--allow-leak") == EXIT_OK
    assert "(LEAK ALLOWED)" in capfd.readouterr().out
    assert read_scores(tmp_path / "s")["leak_allowed"]


def test_people_of_two_manifests_with_the_same_names_are_told(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["--run", video_run, "--split", "all", "--out", tmp_path / "scores"]
    for name in ("manifest-one", "manifest-two"):
        words += ["--data", write_data(tmp_path / name, records(2, corpus=name))]
    capfd.readouterr()
    assert run("evaluate", *words) == EXIT_OK
    told = (
        "speaker 01, 02 of manifest-one and of manifest-two are taken for different people;"
        " if they are the same, prepare one of these with --same-speakers-as"
    )
    assert told in capfd.readouterr().out
    scores = read_scores(tmp_path / "scores")
    assert told in scores["notes"]
    assert (scores["num_speakers"], scores["leak_allowed"]) == (4, False)
    assert run("evaluate", *words[:-2], "--out", tmp_path / "one") == EXIT_OK
    assert "taken for different people" not in capfd.readouterr().out


def test_known_content_under_another_name_is_a_leak(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    known = records(1)[2]
    made = records(2, corpus="strangers")
    copied = {f: getattr(known, f) for f in ("waveform", "faces", "audio_hash", "video_hash")}
    made[0] = dataclasses.replace(made[0], **copied)
    data = write_data(tmp_path / "data", made)
    line = refused(capfd, "--run", video_run, "--data", data, "--split", "all")
    assert f"leak: the content of {made[0].id} on both sides (what the run was trained" in line


def test_another_split_than_the_run_was_trained_on(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = {"kind": "speakers", "test": ["1"], "validation": ["3"]}
    data = write_data(tmp_path / "data", records(), rule=rule)
    line = refused(capfd, "--run", video_run, "--data", data)
    assert "leak: speaker toy/01" in line


def test_corpora_are_told_apart(
    video_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = records(2, corpus="strangers") + records(3, corpus="guests", labels=LABELS[:4])
    for number, one in enumerate(made):
        made[number] = dataclasses.replace(one, video_hash=f"{number:032x}")
    data = write_data(tmp_path / "data", made)
    words = ("--run", video_run, "--data", data, "--split", "all", "--out", tmp_path / "out")
    assert run("evaluate", *words) == EXIT_OK
    told = read_scores(tmp_path / "out")["per_corpus"]
    assert list(told) == ["guests", "strangers"]
    truth, answers, _, speakers = predictions(tmp_path / "out")
    for corpus, own in told.items():
        pairs = [
            (true, answer)
            for true, answer, speaker in zip(truth, answers, speakers, strict=True)
            if speaker.startswith(f"{corpus}/")
        ]
        assert own["num_clips"] == len(pairs)
        assert own["wa"] == pytest.approx(np.mean([a == b for a, b in pairs]))
    assert told["guests"]["uar_ci95"] and told["guests"]["num_speakers"] == 3
    assert told["strangers"]["uar_ci95"] is None  # two speakers
    assert f"of guests: UAR {told['guests']['uar']:.3f}, ECE" in capsys.readouterr().out


# === Unusual data ===


def test_without_speakers_the_interval_is_over_clips(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = [dataclasses.replace(one, speaker="") for one in records(4, corpus="nobody")]
    data = write_data(tmp_path / "data", made)
    words = ("--run", video_run, "--data", data, "--split", "all", "--out", tmp_path / "s")
    assert run("evaluate", *words) == EXIT_OK
    said = capfd.readouterr().out
    assert "over clips" in said
    assert "speakers unknown" in said
    scores = read_scores(tmp_path / "s")
    assert scores["num_speakers"] is None
    assert scores["per_speaker"] == {}
    assert len(scores["uar_ci95"]) == 2


def test_a_class_absent_from_the_split_has_no_recall(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = records(2, corpus="few", labels=("happy", "sad"))
    data = write_data(tmp_path / "data", made)
    words = ("--run", video_run, "--data", data, "--split", "all", "--out", tmp_path / "s")
    assert run("evaluate", *words) == EXIT_OK
    assert "  angry              -" in capfd.readouterr().out
    scores = read_scores(tmp_path / "s")
    assert scores["per_class"]["angry"]["recall"] is None
    assert scores["per_class"]["angry"]["num_clips"] == 0
    recalls = [scores["per_class"][label]["recall"] for label in ("happy", "sad")]
    assert scores["uar"] == pytest.approx(np.mean(recalls))
    assert scores["uar_ci95"] is None  # two speakers


def test_a_fusion_scores_clips_that_lack_a_stream(
    fusion_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = records(1, corpus="mixed", labels=LABELS[:3])
    made += records(2, corpus="mute", labels=LABELS[3:], streams=("video",))
    made += records(3, corpus="hidden", labels=LABELS[:3], streams=("audio",))
    # Whole batches in which nobody has a face, and in which nobody is heard.
    data = write_data(tmp_path / "data", made, num_shards=1)
    words = ("--run", fusion_run, "--data", data, "--split", "all", "--out", tmp_path / "s")
    assert run("evaluate", *words) == EXIT_OK
    assert read_scores(tmp_path / "s")["num_clips"] == len(made)
    *_, shares, speakers = predictions(tmp_path / "s")
    assert np.isfinite(shares).all()
    np.testing.assert_allclose(shares.sum(axis=1), 1, atol=1e-5)
    # Alone each is scored as among the others.
    alone = write_data(tmp_path / "alone", [one for one in made if one.corpus == "hidden"])
    words = ("--run", fusion_run, "--data", alone, "--split", "all", "--out", tmp_path / "a")
    assert run("evaluate", *words) == EXIT_OK
    hidden = [i for i, name in enumerate(speakers) if name.startswith("hidden/")]
    np.testing.assert_allclose(shares[hidden], predictions(tmp_path / "a")[2], atol=1e-5)


def test_clips_of_many_lengths_take_few_graphs(
    fusion_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A graph for each length took longer than all that was computed in it."""
    made = [
        one
        for i in range(12)
        for one in records(2, corpus=f"c{i}", seconds=0.6 + i / 10, rate_hz=16_000)
    ]
    data = write_data(tmp_path / "data", made, num_shards=1)
    num_traced = 0
    real = subset_predictions.inference_model

    def counted(*given: Any) -> Any:
        model = real(*given)
        call = model.call

        def traced(*inputs: Any, **more: Any) -> Any:
            nonlocal num_traced
            num_traced += 1
            return call(*inputs, **more)

        model.call = traced
        return model

    monkeypatch.setattr(subset_predictions, "inference_model", counted)
    evaluation.evaluate(fusion_run, [open_data_folder(data)], "all", tmp_path / "s")
    assert read_scores(tmp_path / "s")["num_clips"] == len(made)
    assert num_traced == 1


def test_outputs_of_streams_stand_as_the_rows_do(
    audio_run: Path, video_run: Path, tmp_path: Path
) -> None:
    """Truth, speakers and what each stream says, though shards are read in another order."""
    made = records(3, corpus="sh", labels=LABELS[:4])
    data = open_data_folder(write_data(tmp_path / "data", made, num_shards=3))
    runs = {"audio": audio_run, "video": video_run}
    infos = {stream: read_run(path) for stream, path in runs.items()}
    models = {stream: load_model(path / BEST) for stream, path in runs.items()}
    part = select_records([data], "all", BASIC7, tuple(runs))
    known = {row.id: row for row in part.all_rows}
    paths = data.shard_paths(part.all_rows)
    read = [one.id for path in paths for one in read_records(path, known)]
    assert read != [row.id for row in part.all_rows]
    given = TrainingData((data,), BASIC7, {"all": part}, (), False)
    found = _split_outputs(models, infos, given, "all")
    assert [LABELS[i] for i in found["truth"]] == [row.label for row in part.all_rows]
    assert part.speakers.tolist() == [row.speaker for row in part.all_rows]
    for stream, path in runs.items():
        evaluation.evaluate(path, [data], "all", tmp_path / stream)
        *_, shares, speakers = predictions(tmp_path / stream)
        assert speakers == part.speakers.tolist()
        logits = found[f"{stream}_logits"] / infos[stream].calibration.temperature
        np.testing.assert_allclose(softmax(logits, axis=1), shares, atol=1e-4)


# === What stops it ===


def test_records_that_do_not_fit(
    fusion_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    slow = write_data(tmp_path / "slow", records(1, rate_hz=8000), rate_hz=8000)
    line = refused(capfd, "--run", fusion_run, "--data", slow)
    assert f"{slow}: records of 8000 Hz, the model was trained on 16000 Hz; preprocess" in line
    rgb = write_data(tmp_path / "rgb", records(1), face_format=CropFormat(32, "rgb"))
    line = refused(capfd, "--run", fusion_run, "--data", rgb)
    assert "faces of color rgb, the model was trained on grey; preprocess with --face-color" in line
    large = write_data(tmp_path / "large", records(1), face_format=CropFormat(64, "grey"))
    line = refused(capfd, "--run", fusion_run, "--data", large)
    assert "faces of size_px 64, the model was trained on 32; preprocess with --face-size" in line


def test_another_list_of_labels_under_the_same_name(
    video_run: Path, strangers: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    older = tmp_path / "run"
    shutil.copytree(video_run, older)
    info = json.loads((older / "run.json").read_text())
    info["labels"][0] = "bored"
    atomic_io.write_checksummed_json(older / "run.json", info)
    line = refused(capfd, "--run", older, "--data", strangers)
    assert "label set basic7: the run was trained on bored, happy" in line


def test_runs_that_cannot_be_scored(
    video_run: Path, toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, "--run", tmp_path, "--data", toy_data)
    assert f"{tmp_path}: not a run folder (no run.json)" in line
    unfinished = tmp_path / "run"
    unfinished.mkdir()
    info = json.loads((video_run / "run.json").read_text()) | {"finished": False}
    atomic_io.write_checksummed_json(unfinished / "run.json", info)
    line = refused(capfd, "--run", unfinished, "--data", toy_data)
    assert "unfinished run; finish it with `train --resume` first" in line
    atomic_io.write_checksummed_json(unfinished / "run.json", info | {"finished": True})
    line = refused(capfd, "--run", unfinished, "--data", toy_data)
    assert f"{unfinished / 'best.keras'}: no such model" in line
    (unfinished / "run.json").write_text("{]")
    assert "run.json: damaged" in refused(capfd, "--run", unfinished, "--data", toy_data)
    atomic_io.write_checksummed_json(unfinished / "run.json", {})
    assert "not of this version" in refused(capfd, "--run", unfinished, "--data", toy_data)
    assert "not a prepared corpus" in refused(capfd, "--run", video_run, "--data", tmp_path)
    assert run("evaluate", "--data", toy_data) == EXIT_USAGE
    assert run("evaluate", "--run", video_run, "--split", "some") == EXIT_USAGE


def test_of_one_stream_the_records_need_not_fit_the_others(
    fusion_run: Path, tmp_path: Path
) -> None:
    """Sound of a corpus that was prepared without faces, so that their size was never chosen."""
    made = records(2, corpus="strangers", streams=("audio",))
    given = {
        size: write_data(tmp_path / str(size), made, face_format=CropFormat(size, "grey"))
        for size in (32, 64)
    }
    for size, data in given.items():
        folder = [open_data_folder(data)]
        evaluate(fusion_run, folder, "all", tmp_path / f"scores-{size}", only_stream="audio")
    one, other = ((tmp_path / f"scores-{s}" / "predictions.csv").read_text() for s in (32, 64))
    assert one == other and len(one.splitlines()) == 15


def test_only_what_the_records_hold_must_fit(
    fusion_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nobody in these recordings has a face; how faces would have been cut says nothing."""
    made = records(2, corpus="strangers", streams=("audio",))
    seen = records(2, corpus="visible", streams=("video",))
    other = CropFormat(64, "rgb")
    heard = write_data(tmp_path / "heard", made, face_format=other)
    shown = write_data(tmp_path / "shown", seen, rate_hz=48_000)
    split = ("--split", "all")
    for name, data in (("heard", (heard,)), ("shown", (shown,)), ("both", (heard, shown))):
        words = [word for path in data for word in ("--data", path)]
        out = ("--out", tmp_path / f"scores-{name}")
        assert run("evaluate", "--run", fusion_run, *words, *split, *out) == EXIT_OK
    shares = {n: predictions(tmp_path / f"scores-{n}")[2] for n in ("heard", "shown", "both")}
    np.testing.assert_allclose(
        shares["both"], np.concatenate([shares["heard"], shares["shown"]]), atol=1e-5
    )
    # One face is enough to be compared.
    mixed = write_data(tmp_path / "mixed", [*made, seen[0]], face_format=other)
    line = refused(capfd, "--run", fusion_run, "--data", mixed, *split)
    assert "faces of size_px 64, the model was trained on 32" in line


def test_nothing_to_score(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", records(1, corpus="loving", labels=("love",)))
    line = refused(capfd, "--run", video_run, "--data", data, "--split", "all")
    assert "no all record with a label of basic7 and a stream of video" in line


@pytest.mark.parametrize("keep", [0.9, 0.3])
def test_a_shard_cut_short(
    keep: float, video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", records(3, corpus="strangers"))
    shard = data / "shards" / "00001.tfrecord"
    content = shard.read_bytes()
    shard.write_bytes(content[: int(keep * len(content))])
    words = ("--run", video_run, "--data", data, "--split", "all", "--out", tmp_path / "s")
    assert refused(capfd, *words) == (
        f"Error: {shard}: shard cut short or damaged; run `preprocess` again"
    )
    assert not (tmp_path / "s").exists()
