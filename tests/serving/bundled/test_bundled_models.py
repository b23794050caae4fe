"""Weights in the box: small, bare of local paths, and answering as they were trained."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import h5py
import numpy as np
import pytest
import soundfile

from affectstream.core import storage_paths
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.modeling.evaluation.evaluate import evaluate
from affectstream.modeling.runs import checkpoints
from affectstream.modeling.runs.run_folder import read_run
from affectstream.preprocessing.dataset.data_folder import open_data_folder
from affectstream.preprocessing.labels import BASIC7, RAVDESS8
from affectstream.serving.bundled import bundled_models, packing
from benchmarks.accuracy import pretrained
from benchmarks.robustness import robustness, training_runs
from tests import ROOT
from tests.support.models import error_line, records, run, weights, write_data

# Of the golden answers: other processors and versions round otherwise.
GOLDEN_TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def home(
    fusion_run: Path,
    audio_run: Path,
    video_run: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder `pretrained` with the tiny fusion as `emotion`."""
    out = tmp_path_factory.mktemp("boxed") / "pretrained"
    parts = {"audio": audio_run, "video": video_run}
    packed = packing.pack_run(
        fusion_run, out / "emotion", parts, "python -m it --data /home/me/data"
    )
    assert packed.path == out / "emotion"
    assert packed.difference < 1e-3
    assert packed.num_bytes == packing.folder_size_bytes(packed.path)
    assert (
        bundled_models.max_difference(
            bundled_models.noise_outputs(fusion_run), bundled_models.noise_outputs(packed.path)
        )
        < 1e-3
    )
    return out


def test_what_is_packed(home: Path, fusion_run: Path, toy_data: Path) -> None:
    folder = home / "emotion"
    names = {path.name for path in folder.rglob("*") if path.is_file()}
    assert names - {"metrics.json"} == {"run.json", "best.keras", "MODEL_CARD.md", "golden.json"}
    for path in (folder / "run.json", folder / "MODEL_CARD.md"):
        text = path.read_text(encoding="utf-8")
        assert str(toy_data.parent) not in text and "/home/me" not in text
    info, before = read_run(folder), read_run(fusion_run)
    assert info.data[0]["path"] == toy_data.name
    assert info.data[0]["licence"] == "CC0 1.0"
    assert (info.footprint, info.scores, info.versions) == (
        before.footprint,
        before.scores,
        before.versions,
    )
    assert info.stream_info["audio"]["trained"]["encoder"] == "relu_cnn"
    assert packing.FLOAT16_NOTE in info.notes and info.finished
    card = (folder / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "\npython -m it --data data\n" in card
    assert "Non-commercial" not in card  # CC0


def test_weights_are_halved(home: Path, fusion_run: Path) -> None:
    small, large = home / "emotion" / "best.keras", fusion_run / "best.keras"
    assert small.stat().st_size < 0.6 * large.stat().st_size
    with zipfile.ZipFile(small) as archive:
        content = archive.read("model.weights.h5")
    kinds: dict[int, set[str]] = {}

    def note(_: str, item: object) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind == "f":
            kinds.setdefault(min(item.ndim, 2), set()).add(str(item.dtype))

    with h5py.File(io.BytesIO(content), "r") as file:
        file.visititems(note)
    assert kinds[2] == {"float16"} and kinds[1] == {"float32"}
    read = checkpoints.load_model(small)
    assert {str(v.dtype) for v in read.trainable_variables} == {"float32"}
    assert not getattr(read, "optimizer", None)
    theirs = weights(large)
    for name, value in weights(small).items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-6)


def test_large_values_stay_whole() -> None:
    assert packing._stored(np.full((2, 2), 7e4, np.float32)).dtype == np.float32
    assert packing._stored(np.full((2, 2), 6e4, np.float32)).dtype == np.float16
    assert packing._stored(np.ones((2, 2), np.int64)).dtype == np.int64


def test_refusals(home: Path, fusion_run: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="emotion: occupied"):
        packing.pack_run(fusion_run, home / "emotion")
    with pytest.raises(UserError, match="is the run itself"):
        packing.pack_run(fusion_run, fusion_run, overwrite=True)
    (tmp_path / "own").write_text("mine")
    with pytest.raises(UserError, match="occupied"):
        packing.pack_run(fusion_run, tmp_path / "own", overwrite=True)
    with pytest.raises(UserError, match="text: no part of this run"):
        packing.pack_run(fusion_run, tmp_path / "x", {"text": fusion_run})
    (tmp_path / "no.keras").write_bytes(b"no zip")
    with pytest.raises(UserError, match="no model of Keras"):
        packing.cast_float16(tmp_path / "no.keras", tmp_path / "out.keras")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("train --data /tmp/d/fer --out /r/x/", "train --data fer --out x"),
        ("train --data audio=/tmp/d/fer", "train --data audio=fer"),
        ("train --data ../shared/data/x", "train --data x"),
        ("train --data ~/x --set a=0.5", "train --data x --set a=0.5"),
        ("train --data data/ravdess", "train --data data/ravdess"),
    ],
)
def test_commands_are_bare(given: str, expected: str) -> None:
    assert packing.strip_local_paths(given) == expected


def test_terms_are_those_of_the_strictest_licence() -> None:
    free, bound = ({"corpus": "c", "licence": licence} for licence in ("CC BY 4.0", "CC BY-NC 4.0"))
    assert not bundled_models.is_non_commercial([free])
    assert bundled_models.is_non_commercial([free, bound])
    assert bundled_models.is_non_commercial([{"corpus": "c", "licence": ""}])


# === Starting from it ===


def test_a_bundled_model_can_be_started_from_by_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, audio_run: Path
) -> None:
    monkeypatch.setattr(bundled_models, "BUNDLED_DIR", home)
    monkeypatch.chdir(tmp_path)
    for words in ("pretrained", "pretrained/emotion"):
        assert bundled_models.resolve_init_run(Path(words), "video") == home / "emotion"
    assert bundled_models.resolve_init_run(audio_run, "audio") == audio_run
    assert bundled_models.resolve_init_run(Path("runs/x"), "audio") == Path("runs/x")
    with pytest.raises(UserError, match=r"text: no such bundled model \(there: emotion\)"):
        bundled_models.resolve_init_run(Path("pretrained"), "text")


def test_training_starts_from_the_part(
    home: Path,
    audio_run: Path,
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(bundled_models, "BUNDLED_DIR", home)
    words = ("train", "--data", toy_data, "--init-from", "pretrained", "--epochs", 1)
    out = tmp_path / "run"
    assert (
        run(*words, "--stream", "audio", "--set", "learning_rate=1e-9", "--out", out, "--seed", 5)
        == EXIT_OK
    )
    assert f"started from {home / 'emotion'}: " in capfd.readouterr().err
    theirs = weights(audio_run / "best.keras")
    for name, value in weights(out / "best.keras").items():
        np.testing.assert_allclose(value, theirs[name], rtol=1e-3, atol=1e-5)
    # Another encoder: one line that names the recipe to take.
    other = ("--recipe", "conv1d-audio", "--out", tmp_path / "other")
    assert run(*words, *other) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert "has another build" in line and "take its recipe (--recipe relu-cnn-audio)" in line
    assert not (tmp_path / "other" / "run.json").exists()
    # A fusion is not trained from it, its parts are.
    fusion = ("--recipe", "late-fusion", "--out", tmp_path / "fusion")
    assert run(*words, *fusion) == EXIT_USAGE
    assert "--init-from is for what is trained" in capfd.readouterr().err


# === Making it ===


def test_adapted_to_one_person(
    real_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """As docs/models.md tells it, on a person whom the model in the box has not met."""
    lines = []
    for label in BASIC7.labels:
        number = RAVDESS8.index(label)
        assert number is not None
        clips = sorted((real_data / "ravdess" / "Actor_17").glob(f"03-01-{number + 1:02}-*"))
        lines += [f"{clip},{label},me" for clip in clips[:2]]
    (tmp_path / "my.csv").write_text("\n".join(["path,label,speaker", *lines]) + "\n")
    data, out = tmp_path / "data", tmp_path / "voice"
    words = ("--source", tmp_path / "my.csv", "--out", data, "--workers", 0)
    assert run("preprocess", "--corpus", "manifest", *words) == EXIT_OK
    learning = ("--set", "learning_rate=2e-4", "--epochs", 1, "--init-from", "pretrained")
    of_the_card = ("--recipe", "resnet-asp-3x80-audio", "--labels", "basic7")
    adapt = ("train", *of_the_card, "--data", data, *learning)
    assert run(*adapt, "--out", out) == EXIT_FAILURE
    assert "`split --adaptation-split`, then" in error_line(capfd.readouterr().err)
    assert run("split", "--data", data, "--adaptation-split") == EXIT_OK
    assert run(*adapt, "--out", out) == EXIT_OK
    capfd.readouterr()
    assert run("predict", clips[0], "--model", out, "--json") == EXIT_OK
    assert set(json.loads(capfd.readouterr().out)["streams"]) == {"audio"}


def test_making_the_bundled_models_leaves_finished_parts(
    audio_run: Path,
    video_run: Path,
    fusion_run: Path,
    toy_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Finished parts are left, the fusion is made once, one of other settings is refused."""
    runs, typed = tmp_path / "runs", []
    runs.mkdir()
    for stream, path in (("audio", audio_run), ("video", video_run)):
        (runs / stream).symlink_to(path)

    def cli(*words: object) -> None:
        typed.append(" ".join(map(str, words[:3])))
        if words[0] == "train":
            shutil.copytree(fusion_run, runs / "fusion")

    monkeypatch.setattr(training_runs, "run_cli", cli)
    data = (str(toy_data),)
    parts = [
        pretrained.Part("audio", "relu-cnn-audio", "basic7", data, 2, ("batch_size=7",)),
        pretrained.Part("video", "elu-cnn-video", "basic7", data, 2, ("batch_size=14",)),
    ]
    for _ in range(2):
        packed = pretrained.train_and_pack(parts, ["emotion"], runs, tmp_path / "box", 0, "it")
    assert [one.path.name for one in packed] == ["emotion"]
    assert typed.count("train --recipe late-fusion") == 1
    assert {line.split()[0] for line in typed} == {"train", "evaluate"}
    table, met = pretrained.size_table(packed, tmp_path / "box")
    assert met and "| emotion |" in table and "limit 15 MB: met" in table
    other = replace(parts[0], settings=())
    with pytest.raises(UserError, match="audio: trained with another recipe and seed"):
        pretrained.train_and_pack([other, parts[1]], ["emotion"], runs, tmp_path / "box", 1, "it")
    absent = replace(parts[0], data=(str(tmp_path / "none"),))
    with pytest.raises(UserError, match=r"none: no prepared data; .* or name another folder"):
        training_runs.train_part(absent, tmp_path / "new", 0)


# === How robust it is ===


def test_corruptions_of_recordings_have_exact_values() -> None:
    rng = np.random.default_rng(0)
    wave = (0.1 * np.sin(np.arange(16_000) / 5)).astype(np.float32)
    np.testing.assert_allclose(robustness.gain((wave, 16_000), -20)[0], wave / 10, rtol=1e-5)
    assert robustness.gain((wave, 16_000), 40)[0].max() == 1
    noise = robustness.noisy((wave, 16_000), rng)[0] - wave
    assert 20 * np.log10(wave.std() / noise.std()) == pytest.approx(10, abs=0.2)
    narrow, rate_hz = robustness.narrow((wave, 16_000))
    assert (rate_hz, len(narrow)) == (8_000, 8_000)
    picture = rng.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    assert robustness.scaled(picture, 2).shape == (40, 60, 3)
    assert robustness.scaled(picture, 0.5).shape == (10, 15, 3)
    worse = robustness.squeezed(np.repeat(np.repeat(picture, 4, 0), 4, 1))
    assert worse.shape == (80, 120, 3)


def test_pictures_of_prepared_faces(tmp_path: Path) -> None:
    made = [one for one in records(3, num_takes=3) if one.faces is not None]
    data = open_data_folder(write_data(tmp_path / "data", made))
    robustness.write_pictures(data, tmp_path / "out", each=2)
    tested = {row.label for row in data.subset("test")}
    found = sorted((tmp_path / "out").iterdir())
    assert len(found) == 2 * len(tested)
    by_stem = {f"{one.label}-{Path(one.id).stem}": one.faces[0] for one in made}
    for path in found:
        picture, face = cv2.imread(str(path)), by_stem[path.stem]
        assert picture is not None
        size = 4 * face.shape[0]
        assert picture.shape == (size + 2 * (size // 3),) * 2 + (3,)
        edge = size // 3
        shown = picture[edge : edge + size, edge : edge + size].mean()
        assert shown == pytest.approx(face.mean(), abs=3)


@pytest.mark.parametrize("change", robustness.CORRUPTIONS, ids=lambda change: change.name)
def test_recordings_are_remade(change: robustness.Corruption, tmp_path: Path) -> None:
    wave = (0.1 * np.sin(2 * np.pi * 440 * np.arange(8_000) / 16_000)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", wave, 16_000, subtype="PCM_16")
    heard = robustness._sound(robustness.write_corrupted(tmp_path / "a.wav", tmp_path, change))
    assert heard is not None
    rate_hz = 8_000 if change.name == "8 kHz" else 16_000
    assert heard[1] == rate_hz
    assert len(heard[0]) / rate_hz == pytest.approx(0.5, abs=0.1)
    loud = {"gain +12 dB": 10**0.6, "gain -12 dB": 10**-0.6}.get(change.name, 1.0)
    assert heard[0].std() == pytest.approx(wave.std() * loud, rel=0.1)
    picture = np.full((40, 60, 3), 200, np.uint8)
    cv2.imwrite(str(tmp_path / "b.png"), picture)
    shown = cv2.imread(str(robustness.write_corrupted(tmp_path / "b.png", tmp_path, change)))
    factor = {"picture at double size": 2, "picture at half size": 0.5}.get(change.name, 1)
    assert shown is not None and shown.shape[:2] == (40 * factor, 60 * factor)


# === What is in the box now ===


@pytest.mark.parametrize("name", [bundled_models.EMOTION, bundled_models.TEXT])
def test_bundled_weights_answer_as_when_they_were_packed(name: str) -> None:
    """The shipped weights answer as when they were packed, and fit the box."""
    if not bundled_models.is_bundled_model(name):
        pytest.skip(f"pretrained/{name} is not in the box yet")
    path = bundled_models.bundled_model_path(name)
    assert (
        bundled_models.max_difference(
            bundled_models.read_golden(path), bundled_models.noise_outputs(path)
        )
        < GOLDEN_TOLERANCE
    )
    assert packing.folder_size_bytes(bundled_models.BUNDLED_DIR) < 15e6
    card = (path / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "Non-commercial use only" in card
    assert json.loads((path / "run.json").read_text(encoding="utf-8"))["git_revision"]


SHIPPED = [bundled_models.EMOTION, bundled_models.TEXT]


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("home", ["pretrained", "affectstream/pretrained"])
def test_a_shipped_model_is_read_only_also_through_the_link(
    home: str, name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = ROOT / home / name
    (tmp_path / "link").symlink_to(path)
    for place in (path, path / "evaluation", tmp_path / "link"):
        assert storage_paths.is_bundled(place)
        with pytest.raises(UserError, match="bundled models, which are read-only"):
            storage_paths.require_outside_bundled(place)
    assert not storage_paths.is_bundled(ROOT / "runs" / name)
    assert not storage_paths.is_bundled(tmp_path)
    before = sorted(path.rglob("*"))
    with pytest.raises(UserError, match="bundled models, which are read-only"):
        evaluate(path, [], "all", path / "evaluation" / "x")
    words = ("--run", path, "--data", tmp_path, "--out", path / "evaluation" / "x")
    assert run("evaluate", *words) == EXIT_FAILURE
    assert "bundled models, which are read-only" in error_line(capsys.readouterr().err)
    assert sorted(path.rglob("*")) == before


@pytest.mark.parametrize("home", ["pretrained", "affectstream/pretrained"])
def test_scores_of_a_shipped_model_are_written_elsewhere(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not bundled_models.is_bundled_model(bundled_models.TEXT):
        pytest.skip("pretrained/ is not filled yet")
    path = ROOT / home / bundled_models.TEXT
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*")}
    data = write_data(tmp_path / "data", records(streams=("text",)))
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "--run", path, "--data", data, "--split", "all") == EXIT_OK
    assert "written to evaluations/text/data-all\n" in capsys.readouterr().err
    assert (tmp_path / "evaluations" / "text" / "data-all" / "metrics.json").is_file()
    assert {file: file.stat().st_mtime_ns for file in path.rglob("*")} == before


def test_the_first_thing_a_newcomer_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`predict FILE` and `predict --text` in an empty folder, with the weights that are shipped."""
    if not (
        bundled_models.is_bundled_model(bundled_models.EMOTION)
        and bundled_models.is_bundled_model(bundled_models.TEXT)
    ):
        pytest.skip("pretrained/ is not filled yet")
    monkeypatch.chdir(tmp_path)
    time_s = np.arange(48_000) / 16_000
    hum = 0.3 * np.sin(2 * np.pi * 180 * time_s) * (1 + np.sin(2 * np.pi * 3 * time_s)) / 2
    soundfile.write("voice.wav", hum.astype(np.float32), 16_000)
    for words, name, labels in (
        (("voice.wav",), bundled_models.EMOTION, BASIC7.labels),
        (
            ("--text", "i feel so happy today"),
            bundled_models.TEXT,
            read_run(bundled_models.bundled_model_path("text")).labels,
        ),
    ):
        assert run("predict", *words, "--json") == EXIT_OK
        told = capsys.readouterr()
        assert json.loads(told.out.splitlines()[0])["label"] in labels
        assert f"pretrained/{name}" in told.err and "non-commercial" in told.err.lower()
    assert json.loads(told.out.splitlines()[0])["label"] == "happy"
