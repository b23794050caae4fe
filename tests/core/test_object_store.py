"""Corpora, records, runs and models under URLs, against a real S3 server on loopback."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from affectstream.core import storage_paths
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_PARTIAL, UserError
from affectstream.modeling.runs import run_folder
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from tests.support import models, object_store
from tests.support.factories import files_below, preprocess, sample_source, tone, write_sound
from tests.support.models import error_line
from tests.support.object_store import BUCKET, Store

pytestmark = pytest.mark.server

NUM_KEYS = 10_000


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    with object_store.running(monkeypatch) as made:
        yield made


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Twelve SYNTHETIC recordings of sound, in folders, with a manifest."""
    folder = tmp_path / "source"
    lines = ["path,label,speaker"]
    for number in range(12):
        name = f"part {number % 3}/{number:02d}.wav"
        write_sound(folder / name, tone(0.5, 16_000, 200 + 20 * number), 16_000)
        lines.append(f"{name},{('sad', 'happy')[number % 2]},{number % 4}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def without_indexes(files: dict[str, bytes]) -> dict[str, bytes]:
    """What a clip was made from is told otherwise in a store, by its tag."""
    is_index = re.compile(r"shards/\d+\.json").fullmatch
    return {name: data for name, data in files.items() if not is_index(name)}


# === Names ===


def test_what_names_a_place(tmp_path: Path) -> None:
    assert storage_paths.storage_path("a/b") == Path("a/b")
    assert storage_paths.storage_path(f"file://{tmp_path}/a%20b") == tmp_path / "a b"
    assert not storage_paths.is_remote(storage_paths.storage_path("file:///a"))
    remote = storage_paths.storage_path("s3://bucket/a/b")
    assert isinstance(remote, Path) and storage_paths.is_remote(remote)
    assert storage_paths.relative_name(remote / "c d" / "e.wav", remote) == "c d/e.wav"
    assert storage_paths.relative_name(tmp_path / "c" / "e.wav", tmp_path) == "c/e.wav"
    with pytest.raises(UserError, match=r"^nowhere://x: .*give s3://, gs://, file:// or a path$"):
        storage_paths.storage_path("nowhere://x")


# === Records ===


@pytest.mark.parametrize("workers", [0, 2])
def test_records_are_the_same_bytes_as_on_a_disk(
    workers: int, store: Store, source: Path, tmp_path: Path
) -> None:
    there = store.put(source, "in")
    assert preprocess("manifest", source / "manifest.csv", tmp_path / "here") == EXIT_OK
    url, out = f"{there}/manifest.csv", f"s3://{BUCKET}/out"
    words = ("--corpus", "manifest", "--source", url, "--out", out, "--workers", workers)
    assert models.run("preprocess", *words) == EXIT_OK
    made, local = store.files("out"), files_below(tmp_path / "here")
    assert set(made) == set(local)
    assert without_indexes(made) == without_indexes(local)
    store.asked.clear()
    assert models.run("preprocess", *words) == EXIT_OK
    assert not [path for _, path in store.asked if path.endswith(".wav")]
    store.client().put_object(
        Bucket=BUCKET, Key="in/part 0/00.wav", Body=(source / "part 1/01.wav").read_bytes()
    )
    object_store.forget()
    assert models.run("preprocess", *words) == EXIT_OK
    assert store.files("out")["clips.csv"] != made["clips.csv"]


def test_ten_thousand_keys_are_listed_a_thousand_at_a_time(store: Store) -> None:
    client = store.client()
    client.put_object(Bucket=BUCKET, Key="many/00000.wav", Body=b"x")
    from moto.s3.models import s3_backends

    backend = next(b for account in s3_backends.values() for b in account.values())
    for number in range(1, NUM_KEYS):
        backend.put_object(BUCKET, f"many/{number % 7}/{number:05d}.wav", b"x")
    from affectstream.preprocessing.corpora.media_files import find_media

    store.asked.clear()
    found = find_media(storage_paths.storage_path(f"s3://{BUCKET}/many", use_listings_cache=True))
    assert len(found) == NUM_KEYS
    states = {storage_paths.file_fingerprint(path) for path in found}
    assert len(states) == 1 and "absent" not in states
    assert len(store.asked) < 2 * NUM_KEYS / 1000


def test_a_read_that_breaks_off_is_tried_again(store: Store, source: Path, tmp_path: Path) -> None:
    there = store.put(source, "in")
    store.cut["03.wav"] = 1
    assert preprocess("manifest", f"{there}/manifest.csv", tmp_path / "out") == EXIT_OK
    assert store.cut["03.wav"] == 0
    assert len(open_data_folder(tmp_path / "out").rows) == 12


def test_a_recording_that_always_breaks_off_is_not_called_bad(
    store: Store, source: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    there = store.put(source, "in")
    store.cut["03.wav"] = 1000
    url = f"{there}/manifest.csv"
    assert preprocess("manifest", url, tmp_path / "out") == EXIT_FAILURE
    line = error_line(capsys.readouterr().err)
    assert f"{there}/part 0/03.wav: reading broke off (" in line
    assert line.endswith("; run the same command again")
    store.cut.clear()
    assert preprocess("manifest", url, tmp_path / "out") == EXIT_OK
    assert len(open_data_folder(tmp_path / "out").rows) == 12


def test_a_recording_that_is_gone_is_rejected_by_name(
    store: Store, source: Path, tmp_path: Path
) -> None:
    there = store.put(source, "in")
    store.client().delete_object(Bucket=BUCKET, Key="in/part 0/03.wav")
    assert preprocess("manifest", f"{there}/manifest.csv", tmp_path / "out") == EXIT_PARTIAL
    with open(tmp_path / "out" / "rejected.csv", newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["path"] == "part 0/03.wav" and "not found" in row["reason"]


def test_a_refused_write_is_one_line(
    store: Store,
    source: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    there = store.put(source, "in")
    store.make_read_only(monkeypatch)
    object_store.forget()
    out = f"s3://{BUCKET}/out"
    assert preprocess("manifest", f"{there}/manifest.csv", out) == EXIT_FAILURE
    line = error_line(capsys.readouterr().err)
    assert line == (
        f"Error: {out}/preprocess.json: no permission; choose another folder or change its"
        " permissions"
    )


def test_missing_credentials_are_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    object_store.forget()
    url = f"s3://{BUCKET}/in"
    assert models.run("describe", url) == EXIT_FAILURE
    line = error_line(capsys.readouterr().err)
    assert line.startswith(f"Error: {url}: Unable to locate credentials; set AWS_ACCESS_KEY_ID")


def test_a_store_that_does_not_answer_is_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    object_store.forget()
    assert models.run("describe", f"s3://{BUCKET}/in") == EXIT_FAILURE
    line = error_line(capsys.readouterr().err)
    assert line.endswith("; check the network and AWS_ENDPOINT_URL")


# === Runs and models ===


@pytest.mark.usefixtures("no_training")
def test_train_evaluate_export_and_predict_by_url(
    store: Store, toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = store.put(toy_data, "toy"), f"s3://{BUCKET}/runs/face"
    words = ("--stream", "video", "--epochs", 1, "--data", data, "--out", run)
    assert models.run("train", *words) == EXIT_OK
    assert models.run("train", *words) == EXIT_FAILURE
    assert "holds a finished run" in error_line(capsys.readouterr().err)
    files = store.files("runs/face")
    assert {"run.json", "best.keras", "last.keras", "history.csv"} <= set(files)
    assert any(name.startswith("tensorboard/") for name in files)
    assert models.run("evaluate", "--run", run, "--data", data) == EXIT_OK
    metrics = json.loads(store.files("runs/face/evaluation/toy-test")["metrics.json"])
    assert metrics["num_clips"] == 14
    assert models.run("describe", run) == EXIT_OK
    exported = f"s3://{BUCKET}/exports/face"
    assert models.run("export", "--run", run, "--out", exported) == EXIT_OK
    assert "1/saved_model.pb" in store.files("exports/face")
    capsys.readouterr()
    assert models.run("describe", exported, "--json") == EXIT_OK
    assert json.loads(capsys.readouterr().out)["path"] == f"{exported}/1"
    puts = [path for method, path in store.asked if method == "PUT" and "/exports/" in path]
    assert puts[-1].startswith(f"/{BUCKET}/exports/face/1/saved_model.pb")
    film = next(iter(sorted(sample_source().rglob("*.mp4"))))
    clip = f"{store.put(film.parent, 'clips')}/{film.name}"
    capsys.readouterr()
    assert models.run("predict", clip, "--model", exported, "--json") == EXIT_OK
    assert json.loads(capsys.readouterr().out)["path"] == clip


def test_a_run_in_a_store_is_the_same_and_goes_on(
    store: Store, toy_data: Path, tmp_path: Path
) -> None:
    data = store.put(toy_data, "toy")
    out = storage_paths.storage_path(f"s3://{BUCKET}/runs/face")
    assert models.train(tmp_path / "local", data=toy_data) == EXIT_OK
    assert models.train(out, data=storage_paths.storage_path(data)) == EXIT_OK
    ours, theirs = (run_folder.read_run(path) for path in (out, tmp_path / "local"))
    assert ours.scores == theirs.scores
    assert np.isfinite(ours.scores["val_loss"])


def test_streams_of_data_in_a_store_are_fused_on_them_and_resumed(
    store: Store, toy_data: Path, audio_run: Path, video_run: Path, tmp_path: Path
) -> None:
    """The URL that a run keeps of its data is asked again, under any spelling."""
    data, words = store.put(toy_data, "toy"), ["train", "--recipe", "late-fusion"]
    for stream, source in (("audio", audio_run), ("video", video_run)):
        info = run_folder.read_run(source)
        run = tmp_path / stream
        shutil.copytree(source, run)
        url = f"{data}/" if stream == "audio" else data
        known = [{**info.data[0], "path": url}]
        run_folder.write_run(run, dataclasses.replace(info, data=known))
        words += [f"--{stream}-run", str(run)]
    out = tmp_path / "fused"
    assert models.run(*words, "--out", out) == EXIT_OK
    fused = run_folder.read_run(out)
    assert fused.notes == ()
    assert fused.data[0]["path"].rstrip("/") == data
    assert fused.data[0]["num_records"] == {"train": 14, "validation": 14, "test": 14}
    face = ("--stream", "video", "--resume", "--epochs", 2, "--batch-size", 14)
    assert models.run("train", *face, "--data", f"{data}/", "--out", tmp_path / "video") == EXIT_OK
    store.client().delete_object(Bucket=BUCKET, Key="toy/clips.csv")
    object_store.forget()
    assert models.run(*words, "--out", tmp_path / "gone") == EXIT_FAILURE


def test_other_commands_by_url(
    store: Store, toy_data: Path, audio_run: Path, tmp_path: Path
) -> None:
    data, home = store.put(toy_data, "toy"), f"s3://{BUCKET}/made"
    run = store.put(audio_run, "run")
    assert models.run("split", "--data", data, "--test-speakers", "toy/01") == EXIT_OK
    assert store.files("toy")["splits.json"] != (toy_data / "splits.json").read_bytes()
    assert models.run("features", "--data", data, "--out", f"{home}/table.csv") == EXIT_OK
    local = tmp_path / "table.csv"
    local.write_bytes(store.files("made")["table.csv"])
    assert len(local.read_text().splitlines()) == 1 + 42
    words = ("--transforms", "noise", "--copies", 1)
    assert models.run("augment", "--data", data, "--out", f"{home}/copies", *words) == EXIT_OK
    assert any(row.copy_of for row in open_data_folder(f"{home}/copies").rows)
    assert models.run("export", "--run", run, "--format", "litert", "--out", f"{home}/lite") == (
        EXIT_OK
    )
    assert {"lite/run.tflite", "lite/run.json"} <= set(store.files("made"))
    assert models.run("describe", f"{home}/lite/run.tflite") == EXIT_OK


def test_crossval_by_url_with_two_processes(store: Store, tmp_path: Path) -> None:
    made = models.records(4, streams=("text",))
    local = models.write_data(tmp_path / "words", made)
    data = store.put(local, "words")
    out = f"s3://{BUCKET}/crossval"
    words = (
        "--recipe",
        "tfidf-text",
        "--folds",
        3,
        "--seeds",
        1,
        "--set",
        "min_df=1",
        "--epochs",
        1,
    )
    assert models.run("crossval", *words, "--data", data, "--out", out, "--workers", 2) == EXIT_OK
    files = store.files("crossval")
    assert {"report.md", "report.html", "crossval.json", "predictions.csv"} <= set(files)
    assert len(files["predictions.csv"].decode().splitlines()) == 1 + 28
