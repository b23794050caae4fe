"""`train`: the run folder it leaves, what it refuses, and what it stamps on a result."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from affectstream.commands.options import sample_data
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.modeling.runs import checkpoints
from affectstream.modeling.runs.run_folder import git_revision, read_run
from affectstream.modeling.training import trainer
from affectstream.opencv_model.tracking import CropFormat
from affectstream.preprocessing.dataset.data_folder import (
    open_data_folder,
    read_splits,
    write_splits,
)
from tests.support.models import (
    LABELS,
    RATE_HZ,
    SIZE_PX,
    error_line,
    history,
    picture,
    record,
    records,
    run,
    train,
    weights,
    write_data,
)


def refused(capfd: pytest.CaptureFixture[str], out: Path, *words: object, **settings: Any) -> str:
    """The one line with which `train` ends, having left nothing in `out`."""
    capfd.readouterr()
    assert train(out, *words, **settings) == EXIT_FAILURE
    assert not out.exists()
    return error_line(capfd.readouterr().err)


def info_of(run_folder: Path) -> dict[str, Any]:
    return json.loads((run_folder / "run.json").read_text(encoding="utf-8"))


# === What it writes ===


def test_everything_is_in_the_run_folder(video_run: Path, toy_data: Path) -> None:
    names = {path.name for path in video_run.iterdir()}
    files = {"best.keras", "last.keras", "run.json", "split.json", "history.csv", "curves.png"}
    # Other tests of the session may have scored this very run.
    assert names - {"evaluation"} == files | {"tensorboard"}
    info = info_of(video_run)
    assert info["finished"]
    assert info["recipe"]["name"] == "elu-cnn-video"
    assert (info["recipe"]["training"]["epochs"], info["recipe"]["training"]["batch_size"]) == (
        2,
        14,
    )
    assert info["recipe"]["training"]["learning_rate"] == 0.001  # not only what was changed
    assert info["labels"] == list(LABELS)
    assert info["label_set"] == "basic7"
    assert info["streams"] == ["video"]
    assert info["seed"] == 0
    assert set(info["versions"]) >= {"python", "tensorflow", "keras", "numpy", "librosa", "av"}
    assert info["git_revision"] == git_revision()
    assert info["input"] == {
        "sample_rate_hz": None,
        "face_size_px": 32,
        "face_channels": 1,
        "action_units": None,
    }
    assert info["data"][0]["path"] == str(toy_data)
    assert info["data"][0]["num_records"] == {"train": 14, "validation": 14, "test": 14}
    assert info["train_footprint"]["speakers"] == ["toy/01"]
    assert info["validation_footprint"]["speakers"] == ["toy/02"]
    assert not info["leak_allowed"]
    assert info["scores"]["val_uar"] == max(float(row["val_uar"]) for row in history(video_run))


def test_the_split_is_kept(video_run: Path, toy_data: Path) -> None:
    stored = json.loads((video_run / "split.json").read_text())
    parts = open_data_folder(toy_data).splits.parts
    assert stored == {str(toy_data): {name: list(ids) for name, ids in parts.items()}}


def test_history_curves_and_tensorboard_tell_the_same(audio_run: Path) -> None:
    with open(audio_run / "history.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(trainer.HISTORY_COLUMNS)
    assert [row["epoch"] for row in rows] == ["1", "2"]
    assert [row["best"] for row in rows].count("True") == 1
    shown = picture(audio_run / "curves.png")
    assert shown.shape == (440, 1100, 3)
    assert shown.std() > 10
    logged: dict[str, dict[int, float]] = {}
    for path in (audio_run / "tensorboard").iterdir():
        for raw in tf.data.TFRecordDataset(str(path)).as_numpy_iterator():
            event = tf.compat.v1.Event.FromString(raw)
            for value in event.summary.value:
                logged.setdefault(value.tag, {})[event.step] = float(tf.make_ndarray(value.tensor))
    for key in ("loss", "uar", "val_loss", "val_wa", "learning_rate"):
        told = [float(row[key]) for row in rows]
        assert [logged[key][step] for step in (1, 2)] == pytest.approx(told, rel=1e-5)


def test_best_is_the_best_epoch_and_is_small(video_run: Path) -> None:
    best = checkpoints.load_model(video_run / "best.keras")
    assert best.count_params() > 100_000
    # A model to use, without the two moments of each weight that Adam remembers.
    sizes = [(video_run / name).stat().st_size for name in ("best.keras", "last.keras")]
    assert sizes[0] < 0.4 * sizes[1]
    _, kept = checkpoints.load_checkpoint(video_run / "last.keras")
    assert [str(row["val_uar"]) for row in kept.rows] == [
        row["val_uar"] for row in history(video_run)
    ]
    assert info_of(video_run)["scores"]["epoch"] == kept.best_epoch


def test_class_weights_make_the_seen_shares_even(video_run: Path) -> None:
    shares = np.exp(info_of(video_run)["calibration"]["log_prior"])
    np.testing.assert_allclose(shares, 1 / 7)


# === Which stream, which data ===


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--stream", "smell"),
        ("--stream", "text", "--data", "audio=x"),
        ("--recipe", "relu-cnn-voice"),
        ("--stream", "video", "--recipe", "relu-cnn-audio"),
        ("--stream", "video", "--audio-run", "x"),
        ("--stream", "video", "--labels", "seven"),
        ("--stream", "video", "--epochs", "0"),
        ("--stream", "video", "--seed", "-1"),
    ],
)
def test_wrong_usage_of_train_ends_with_exit_code_2(
    words: tuple[str, ...], capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("train", *words) == EXIT_USAGE
    assert "Traceback" not in capfd.readouterr().err


def test_without_data_the_sample_corpus_is_prepared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    typed: list[tuple[object, ...]] = []

    def noted(*words: object) -> int:
        typed.append(words)
        raise UserError("that is enough")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sample_data, "run_command", noted)
    assert run("train", "--stream", "audio") == EXIT_FAILURE
    assert typed == [("preprocess",)]
    said = capfd.readouterr().err
    assert error_line(said) == "Error: that is enough"
    assert said.splitlines()[0] == (
        "no --data: taking the built-in SYNTHETIC sample corpus, 112 clips written to data/sample"
        " and prepared in data/records first (some minutes); scores on it say nothing about people"
    )


@pytest.mark.usefixtures("no_training")
def test_a_recipe_says_the_stream_and_two_folders_are_one(
    toy_data: Path,
    audio_run: Path,
    video_run: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Also: weights to start from, and --overwrite."""
    second = write_data(tmp_path / "second", records(corpus="other"))
    out = tmp_path / "run"
    words = ("--data", toy_data, "--data", second, "--out", out, "--epochs", 1)
    begin = ("train", "--recipe", "elu-cnn-video", "--init-from", video_run)
    assert run(*begin, *words, "--set", "learning_rate=1e-9") == EXIT_OK
    said = capfd.readouterr()
    assert re.search(rf"started from {video_run}: (\d+) of \1 tensors copied", said.err)
    assert said.out.startswith(f"{out}: validation UAR ")
    info = info_of(out)
    assert [data["path"] for data in info["data"]] == [str(toy_data), str(second)]
    assert info["train_footprint"]["speakers"] == ["other/01", "toy/01"]
    assert info["validation_footprint"]["speakers"] == ["other/02", "toy/02"]
    assert set(json.loads((out / "split.json").read_text())) == {str(toy_data), str(second)}
    theirs = weights(video_run / "best.keras")
    for name, value in weights(out / "best.keras").items():
        np.testing.assert_allclose(value, theirs[name], atol=0.2)  # kernels did not move
    # An occupied place is not touched.
    before = (out / "run.json").read_bytes()
    assert run(*begin, *words) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert line.startswith(f"Error: {out}: holds a finished run; choose another --out or --overw")
    assert (out / "run.json").read_bytes() == before
    # Streams that were trained on different data are fused without paired data.
    joined = tmp_path / "joined"
    assert train(joined, "--audio-run", audio_run, "--video-run", out, stream="fusion") == EXIT_OK
    assert "note: fused without paired data" in capfd.readouterr().out
    fused = info_of(joined)
    assert fused["notes"][0] == "fused without paired data"
    assert fused["train_footprint"]["speakers"] == ["other/01", "toy/01"]
    late = checkpoints.load_model(joined / "best.keras").get_layer("fusion").get_layer("late")
    told = late.settings(("audio", "video"))
    assert told["weight"] == {"audio": 0.5, "video": 0.5}
    assert told["sharpness"] == 2.0
    for stream, path in (("audio", audio_run), ("video", out)):
        fitted = info_of(path)["calibration"]
        assert told["temperature"][stream] == pytest.approx(fitted["temperature"], rel=1e-6)
    np.testing.assert_allclose(np.asarray(late.log_priors), np.log(1 / 7), rtol=1e-6)
    # The rest goes on in its place.
    assert run("train", "--stream", "video", *words, "--overwrite", "--seed", 3) == EXIT_OK
    assert info_of(out)["seed"] == 3


# === What it refuses ===


def test_an_occupied_place_is_left_as_it_is(
    tmp_path: Path, toy_data: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    occupied = tmp_path / "mine"
    occupied.mkdir()
    (occupied / "letter.txt").write_text("keep me")
    assert train(occupied, data=toy_data) == EXIT_FAILURE
    assert "not empty and not a run; choose another --out" in error_line(capfd.readouterr().err)
    assert train(occupied, "--overwrite", data=toy_data) == EXIT_FAILURE
    assert [path.name for path in occupied.iterdir()] == ["letter.txt"]
    in_a_file = occupied / "letter.txt" / "run"
    capfd.readouterr()
    assert train(in_a_file, data=toy_data) == EXIT_FAILURE
    assert "choose another path" in error_line(capfd.readouterr().err)


def test_what_cannot_be_resumed(
    tmp_path: Path, toy_data: Path, video_run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    line = refused(capfd, tmp_path / "run", "--resume", data=toy_data)
    assert "no run to resume" in line
    before = (video_run / "run.json").read_bytes()
    assert train(video_run, "--resume", "--seed", 9, data=toy_data) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert f"{video_run}: begun with another recipe, seed" in line
    assert (video_run / "run.json").read_bytes() == before


@pytest.mark.usefixtures("no_training")
def test_data_are_known_by_what_they_hold_not_by_how_they_are_named(
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Relative or absolute, by a link, with a slash behind it, or moved: it is resumed."""
    home, out = tmp_path / "home", tmp_path / "run"
    shutil.copytree(toy_data, home / "data")
    (tmp_path / "link").symlink_to(home / "data")
    shutil.copytree(toy_data, tmp_path / "moved")
    monkeypatch.chdir(home)
    assert train(out, "--batch-size", 42, "--epochs", 1, data=Path("data")) == EXIT_OK
    assert info_of(out)["data"][0]["path"] == "data"
    names = ["./data/", home / "data", "../link", f"{tmp_path}/home/../link/", tmp_path / "moved"]
    for number, name in enumerate([*names, f"file://{home}/data"], start=2):
        words = ("--batch-size", 42, "--epochs", number, "--data", name, "--resume")
        assert train(out, *words) == EXIT_OK
    assert len(history(out)) == 7
    assert info_of(out)["data"][0]["path"] == str(home / "data")
    # Other content, or the same under another split, is other data.
    capfd.readouterr()
    rule = {"kind": "speakers", "test": ["1"], "validation": ["2"]}
    other = write_data(tmp_path / "other", records(num_takes=2), rule=rule)
    assert train(out, *words[:4], "--data", other, "--resume") == EXIT_FAILURE
    assert f"{out}: begun with another data;" in error_line(capfd.readouterr().err)


@pytest.mark.usefixtures("no_training")
def test_a_schedule_cannot_be_prolonged_and_says_why(
    video_run: Path, toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out, words = tmp_path / "run", ("--batch-size", 14, "--set", "schedule=cosine")
    assert train(out, *words, data=toy_data) == EXIT_OK
    capfd.readouterr()
    assert train(out, *words, "--resume", "--epochs", 200, data=toy_data) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert "another recipe (epochs: 200 now, its cosine schedule was laid out over 2);" in line


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (
            ("--set", "epoch=3"),
            "--set epoch: no such setting; known: cached_augmentations",
        ),
        (("--set", "transforms=nose"), "no transforms named 'nose'; known: noise"),
        (("--set", "features=log_mel_128_48k"), ""),
        (("--init-from", "nowhere"), "nowhere: not a run folder (no run.json)"),
    ],
)
def test_settings_that_cannot_be_are_refused(
    words: tuple[str, ...],
    expected: str,
    toy_data: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    stream = "audio" if "features=log_mel_128_48k" in words else "video"
    line = refused(capfd, tmp_path / "run", *words, stream=stream, data=toy_data)
    assert expected in line
    if stream == "audio":  # this front end wants other records
        assert "made for 48000 Hz, the records hold 16000 Hz; preprocess with --sample" in line


def test_another_encoder_cannot_be_started_from(
    toy_data: Path, audio_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    assert train(out, "--init-from", audio_run, data=toy_data) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert f"--init-from {audio_run}: its model (relu_cnn) has another build" in line


@pytest.mark.parametrize("which", ["absent", "empty"])
def test_a_folder_without_data_is_refused(
    which: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / which
    if which == "empty":
        folder.mkdir()
    line = refused(capfd, tmp_path / "run", data=folder)
    assert f"{folder}: not a prepared corpus (no clips.csv); run `preprocess` first" in line


def test_data_of_one_speaker_are_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_data(tmp_path / "data", records(1))
    line = refused(capfd, tmp_path / "run", data=data)
    assert f"{data}: one speaker: nothing can be held out; add recordings of a second" in line


def test_a_class_without_training(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = [one for one in records() if one.label != "sad" or one.speaker != "toy/01"]
    line = refused(capfd, tmp_path / "run", data=write_data(tmp_path / "data", made))
    assert "no training record of class sad (label set basic7); choose a set without it" in line


def test_a_stream_without_records(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_data(tmp_path / "data", records(streams=("audio",)))
    line = refused(capfd, tmp_path / "run", data=data)
    assert "no train record has a label of basic7 and a stream of video" in line


def test_folders_prepared_differently(
    toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = write_data(tmp_path / "data", records(corpus="o", rate_hz=8000), rate_hz=8000)
    line = refused(capfd, tmp_path / "run", "--data", other, data=toy_data, stream="audio")
    assert f"{other}: prepared with sample_rate_hz 8000, {toy_data} with {RATE_HZ}" in line


@pytest.mark.parametrize("stream", ["video", "audio"])
def test_a_shard_cut_short(stream: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_data(tmp_path / "data", records())
    shard = data / "shards" / "00001.tfrecord"
    shard.write_bytes(shard.read_bytes()[:-100])
    assert train(tmp_path / "run", stream=stream, data=data) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert line == (f"Error: {shard}: shard cut short or damaged; run `preprocess` again")


def test_fusions_that_cannot_be(
    toy_data: Path,
    audio_run: Path,
    video_run: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def line(*words: object) -> str:
        return refused(capfd, tmp_path / "run", *words, stream="fusion")

    both = ("--audio-run", audio_run, "--video-run", video_run)
    assert "a fusion joins two runs" in line("--audio-run", audio_run)
    assert f"{audio_run}: a run of audio, not of video" in line(
        "--audio-run", audio_run, "--video-run", audio_run
    )
    assert f"{toy_data}: not a run folder" in line(
        "--audio-run", toy_data, "--video-run", audio_run
    )
    apart = write_data(
        tmp_path / "apart",
        [
            record(f"{s:02d}", label, streams=("audio" if s < 3 else "video",), corpus="apart")
            for s in range(1, 7)
            for label in LABELS
        ],
        rule={"kind": "speakers", "validation": ["2", "5"], "test": ["6"]},
    )
    assert "no validation recording has audio and video together" in line(*both, "--data", apart)


# === Leaks ===


def twice(made: list, first: str, second: str) -> list:
    """The records, the second with the content of the first: one recording under two names."""
    content = next(one for one in made if one.id == first)
    fields = ("waveform", "faces", "face_mask", "audio_hash", "video_hash")
    return [
        dataclasses.replace(one, **{f: getattr(content, f) for f in fields})
        if one.id == second
        else one
        for one in made
    ]


@pytest.mark.parametrize(
    ("other", "sides"),
    [
        ("toy/02-sad-0", "training and validation"),
        ("toy/03-sad-0", "training or validation, and test"),
    ],
)
def test_one_recording_on_two_sides_stops(
    other: str, sides: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", twice(records(), "toy/01-sad-0", other))
    line = refused(capfd, tmp_path / "run", data=data)
    assert f"leak: the content of {other} on both sides ({sides})" in line
    assert "--allow-leak" in line


def test_a_recording_cut_in_two_stays_on_one_side(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    made = [
        dataclasses.replace(one, recording="toy/one and the same")
        if one.id in ("toy/01-sad-0", "toy/03-sad-0")
        else one
        for one in records()
    ]
    line = refused(capfd, tmp_path / "run", data=write_data(tmp_path / "data", made))
    assert "leak: recording toy/one and the same on both sides" in line


def test_folders_are_held_against_each_other(
    toy_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = {"kind": "speakers", "test": ["1"], "validation": ["2"]}
    other = write_data(tmp_path / "data", records(), rule=rule)
    line = refused(capfd, tmp_path / "run", "--data", other, data=toy_data)
    assert "leak: speaker toy/01, toy/03; recording" in line


def test_what_a_start_was_trained_on_is_no_test(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = {"kind": "speakers", "test": ["1"], "validation": ["2"]}
    data = write_data(tmp_path / "data", records(), rule=rule)
    line = refused(capfd, tmp_path / "run", "--init-from", video_run, data=data)
    assert "leak: speaker toy/01" in line
    assert f"what {video_run} was trained on, and test" in line


def starting(kind: str, folder: Path) -> Path:
    """Data in which what `toy_data` trains validates: its people, a recording or a content."""
    if kind == "people":
        rule = {"kind": "speakers", "test": ["3"], "validation": ["1"]}
        return write_data(folder, records(), rule=rule)
    made = records(corpus="new")
    learnt = next(one for one in records(num_takes=2) if one.id == "toy/01-sad-0")
    fields = ("recording",) if kind == "recording" else ("faces", "face_mask", "video_hash")
    changes = {name: getattr(learnt, name) for name in fields}
    made = [dataclasses.replace(o, **changes) if o.id == "new/02-sad-0" else o for o in made]
    return write_data(folder, made)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("people", "speaker toy/01"),
        ("recording", "recording toy/01-sad-0"),
        ("content", "the content of new/02-sad-0"),
    ],
)
@pytest.mark.usefixtures("no_training")
def test_what_a_start_was_trained_on_does_not_validate(
    kind: str, told: str, video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Epoch and temperature would be chosen on what the weights know."""
    data, out = starting(kind, tmp_path / "data"), tmp_path / "run"
    words = ("--init-from", video_run)
    line = refused(capfd, out, *words, data=data)
    assert f"leak: {told}" in line
    assert f"on both sides (what {video_run} was trained on, and validation)" in line
    if kind == "content":
        assert train(out, *words, "--epochs", 1, "--allow-leak", data=data) == EXIT_OK
        assert "LEAK ALLOWED" in capfd.readouterr().out
        assert read_run(out).leak_allowed


@pytest.mark.usefixtures("no_training")
def test_a_start_goes_on_with_its_own_data_again_and_again(
    video_run: Path, toy_data: Path, tmp_path: Path
) -> None:
    """Those who chose its epoch choose again; nothing of them was learnt."""
    again, once_more = tmp_path / "again", tmp_path / "once more"
    for start, out in ((video_run, again), (again, once_more)):
        assert train(out, "--init-from", start, "--epochs", 1, data=toy_data) == EXIT_OK
    info = read_run(once_more)
    assert (info.train_footprint, info.leak_allowed) == (read_run(video_run).train_footprint, False)
    # What a start had seen is not lost where it is left out on resuming.
    assert train(again, "--init-from", video_run, "--resume", data=toy_data) == EXIT_OK


@pytest.mark.usefixtures("no_training")
def test_a_start_is_not_forgotten_on_resuming(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data, out = write_data(tmp_path / "data", records(corpus="new")), tmp_path / "run"
    words = ("--epochs", 1)
    assert train(out, "--init-from", video_run, *words, data=data) == EXIT_OK
    capfd.readouterr()
    assert train(out, *words, "--resume", data=data) == EXIT_FAILURE
    assert "begun with another start (--init-from" in error_line(capfd.readouterr().err)
    assert read_run(out).train_footprint.speakers == {"new/01", "toy/01"}


@pytest.mark.usefixtures("no_training")
def test_people_who_validate_for_themselves_may_start_from_others(
    video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`split --adaptation-split`: the same people train and validate, and every result says so."""
    data = write_data(tmp_path / "data", records(1, 3, corpus="me"), rule={"kind": "one-validates"})
    out = tmp_path / "run"
    words = ("--init-from", video_run, "--epochs", 1)
    assert train(out, *words, data=data) == EXIT_OK
    assert "note: validation not speaker-disjoint" in capfd.readouterr().out
    # Adapted once more to the same people; a recording that trained must not validate.
    assert train(tmp_path / "more", "--init-from", out, "--epochs", 1, data=data) == EXIT_OK
    other = tmp_path / "other"
    shutil.copytree(data, other)
    splits = read_splits(other)
    swapped = {**splits.parts, "train": splits.parts["validation"]}
    swapped["validation"] = splits.parts["train"]
    write_splits(other, dataclasses.replace(splits, parts=swapped))
    line = refused(capfd, tmp_path / "swapped", "--init-from", out, data=other)
    assert "leak: recording me/01-" in line and "and validation)" in line


def test_a_fusion_is_held_against_what_its_streams_saw(
    audio_run: Path, video_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rule = {"kind": "speakers", "test": ["3"], "validation": ["1"]}
    data = write_data(tmp_path / "data", records(), rule=rule)
    runs = ("--audio-run", audio_run, "--video-run", video_run)
    line = refused(capfd, tmp_path / "run", *runs, stream="fusion", data=data)
    assert "leak: speaker toy/01" in line
    assert "training of audio, validation here" in line


@pytest.mark.usefixtures("no_training")
def test_an_allowed_leak_is_stamped_on_every_result(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", twice(records(), "toy/01-sad-0", "toy/03-sad-0"))
    out, exports = tmp_path / "run", tmp_path / "export"
    assert train(out, "--allow-leak", "--epochs", 1, data=data) == EXIT_OK
    assert "LEAK ALLOWED" in capfd.readouterr().out
    assert read_run(out).leak_allowed
    # The run remembers, also where it is scored on something else altogether.
    strangers = write_data(tmp_path / "strangers", records(corpus="strangers"))
    words = ("evaluate", "--run", out, "--data", strangers, "--split", "all")
    assert run(*words) == EXIT_OK
    assert "(LEAK ALLOWED)" in capfd.readouterr().out
    assert json.loads((out / "evaluation" / "strangers-all" / "metrics.json").read_text())[
        "leak_allowed"
    ]
    assert run("describe", out) == EXIT_OK
    assert "(LEAK ALLOWED)" in capfd.readouterr().out
    assert run("export", "--run", out, "--out", exports) == EXIT_OK
    assert json.loads((exports / "1" / "assets" / "config.json").read_text())["leak_allowed"]


# === Few speakers ===


@pytest.mark.usefixtures("no_training")
def test_two_speakers_are_stamped(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_data(tmp_path / "data", records(2, num_takes=4), synthetic=True)
    out = tmp_path / "run"
    assert train(out, "--epochs", 1, data=data) == EXIT_OK
    said = capfd.readouterr().out
    assert "note: validation not speaker-disjoint" in said
    assert "SYNTHETIC data" in said
    assert info_of(out)["notes"] == ["validation not speaker-disjoint"]
    assert run("evaluate", "--run", out, "--data", data) == EXIT_OK
    said = capfd.readouterr().out
    assert "note: validation not speaker-disjoint" in said
    scores = json.loads((out / "evaluation" / "data-test" / "metrics.json").read_text())
    assert scores["notes"] == ["validation not speaker-disjoint"]
    assert scores["num_speakers"] == 1
    assert scores["uar_ci95"] is None
    assert scores["synthetic"]


def test_begun_from_another_run_it_sees_sound_as_that_did(
    audio_run: Path, toy_data: Path, tmp_path: Path
) -> None:
    """The means and deviations that were copied count while it trains, not only when saved."""
    out = tmp_path / "run"
    words = ("--init-from", audio_run, "--epochs", 1, "--set", "learning_rate=1e-9")
    assert train(out, *words, stream="audio", data=toy_data) == EXIT_OK
    theirs, ours = (read_run(path).scores for path in (audio_run, out))
    assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=1e-3)


@pytest.mark.usefixtures("no_training")
def test_only_folders_that_hold_the_stream_must_be_prepared_alike(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The first has sound alone: how it would have cut faces, and whether there are, is no matter.

    Both are manifests that call people 1, 2 and 3: these are six people.
    """
    own = {"one": "manifest-one", "two": "manifest-two"}
    heard = records(corpus=own["one"], streams=("audio",))
    first = write_data(tmp_path / "heard", heard, face_format=CropFormat(64, "rgb"))
    second = write_data(tmp_path / "seen", records(corpus=own["two"]))
    out = tmp_path / "run"
    assert train(out, "--epochs", 1, "--data", first, data=second) == EXIT_OK
    out = tmp_path / "other-order"
    assert train(out, "--epochs", 1, "--data", second, data=first) == EXIT_OK
    told = (
        "speaker 03 of manifest-one and of manifest-two are taken for different people;"
        " if they are the same, prepare one of these with --same-speakers-as"
    )
    assert f"note: {told}\n" in capfd.readouterr().out
    info = read_run(out)
    assert (info.input["face_size_px"], info.preparation["face"]["size_px"]) == (SIZE_PX, SIZE_PX)
    assert told in info.notes and not info.leak_allowed
    large = write_data(tmp_path / "large", records(corpus="c"), face_format=CropFormat(64, "grey"))
    words = ("--epochs", 1, "--data", first, "--data", large)
    assert train(tmp_path / "no", *words, data=second) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert f"{large}: prepared with face " in line and f", {second} with " in line
