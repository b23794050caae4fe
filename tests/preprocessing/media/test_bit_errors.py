"""Files damaged by flipped bits: noticed, named, and mended by what the message says."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, UserError
from affectstream.modeling.runs import checkpoints, checksummed_zip, run_folder
from tests.support import models
from tests.support.models import error_line

pytestmark = pytest.mark.slow

TFIDF = (
    "--recipe",
    "tfidf-text",
    "--set",
    "min_df=1",
    "--set",
    "batch_size=7",
    "--set",
    "epochs=2",
)
FLIPS = 200


def flip(path: Path, seed: int = 0, num_bits: int = 1) -> None:
    """Flips bits at random places."""
    rng = np.random.default_rng(seed)
    content = bytearray(path.read_bytes())
    for place in rng.integers(0, len(content), num_bits):
        content[place] ^= 1 << int(rng.integers(0, 8))
    path.write_bytes(bytes(content))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = models.records(3, streams=("text",))
    return models.write_data(tmp_path_factory.mktemp("words") / "data", made)


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained") / "run"
    assert models.run("train", *TFIDF, "--data", data, "--out", out) == EXIT_OK
    return out


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


# === Seals ===


@pytest.mark.parametrize("name", ["best.keras", "last.keras"])
def test_any_flipped_bit_of_a_model_is_noticed(name: str, run: Path, tmp_path: Path) -> None:
    """Anywhere in the file."""
    file = run / name
    whole, damaged = file.read_bytes(), tmp_path / "damaged.keras"
    assert checksummed_zip.damage_reason(file) == ""
    unnoticed = []
    for seed in range(FLIPS):
        damaged.write_bytes(whole)
        flip(damaged, seed)
        if not checksummed_zip.damage_reason(damaged):
            unnoticed.append(seed)
    assert unnoticed == []


def test_the_end_of_a_model_counts_too(run: Path, tmp_path: Path) -> None:
    """Every bit of the last 200 bytes: directory, its end, and the seal."""
    whole, damaged = (run / "best.keras").read_bytes(), tmp_path / "damaged.keras"
    for place in range(len(whole) - 200, len(whole)):
        for bit in range(8):
            content = bytearray(whole)
            content[place] ^= 1 << bit
            damaged.write_bytes(bytes(content))
            if not checksummed_zip.damage_reason(damaged):  # then nothing but the seal is lost
                checkpoints.load_model(damaged)
                assert content[: -71 - 2] == whole[: -71 - 2]
    for cut in (1, 10, 72, 100, len(whole) // 2, len(whole)):
        damaged.write_bytes(whole[:-cut])
        assert checksummed_zip.damage_reason(damaged)


def test_a_model_without_a_seal_is_refused(run: Path, tmp_path: Path) -> None:
    import zipfile

    bare = tmp_path / "bare.keras"
    with zipfile.ZipFile(run / "best.keras") as given, zipfile.ZipFile(bare, "w") as copy:
        for name in given.namelist():
            copy.writestr(name, given.read(name))
    assert checksummed_zip.damage_reason(bare) == "no SHA-256 in the comment of the zip"
    with pytest.raises(UserError, match=r"bare\.keras: model cannot be read \(no SHA-256"):
        checkpoints.load_model(bare)


def test_any_flipped_bit_of_run_json_is_noticed_or_without_effect(run: Path) -> None:
    file = run / "run.json"
    whole, info = file.read_bytes(), run_folder.read_run(run)
    noticed = 0
    for seed in range(FLIPS):
        file.write_bytes(whole)
        flip(file, seed)
        try:
            assert run_folder.read_run(run) == info, seed
        except UserError as error:
            noticed += 1
            assert str(error).startswith(f"{file}: "), error
            assert "train again" in str(error)
    assert noticed > FLIPS * 0.8, "the rest hits the blanks between words"


@pytest.mark.parametrize("name", ["preprocess.json", "splits.json", "clips.csv"])
def test_any_flipped_bit_of_a_data_folder_is_noticed(name: str, data: Path, tmp_path: Path) -> None:
    from affectstream.preprocessing.dataset.data_folder import open_data_folder

    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    file, known = folder / name, open_data_folder(folder)
    whole, noticed = file.read_bytes(), 0
    for seed in range(FLIPS):
        file.write_bytes(whole)
        flip(file, seed)
        try:
            assert open_data_folder(folder) == known, seed
        except UserError as error:
            noticed += 1
            assert str(file) in str(error), error
            assert "again" in str(error)
    assert noticed > FLIPS * 0.7, "the rest hits the blanks between words"


# === What commands say ===


def failed(capfd: pytest.CaptureFixture[str], *words: object) -> str:
    capfd.readouterr()
    assert models.run(*words) == EXIT_FAILURE
    return error_line(capfd.readouterr().err)


def weights(path: Path) -> list[np.ndarray]:
    return list(models.weights(path / "best.keras").values())


def test_resuming_from_a_damaged_checkpoint(
    data: Path, trained: Path, run: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    flip(run / "last.keras", num_bits=20)
    words = ("train", *TFIDF, "--data", data, "--out", run)
    line = failed(capfd, *words, "--resume")
    assert f"{run / 'last.keras'}: model cannot be read (" in line
    assert line.endswith("begin the training anew with --overwrite")
    assert models.run(*words, "--overwrite") == EXIT_OK
    for ours, theirs in zip(weights(run), weights(trained), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("name", ["best.keras", "run.json"])
def test_a_damaged_run_is_named(
    name: str, data: Path, run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = run / name
    content = file.read_bytes()
    half = len(content) // 2
    file.write_bytes(content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :])
    for words in (("evaluate", "--data", data), ("export", "--out", tmp_path / "e")):
        line = failed(capfd, words[0], "--run", run, *words[1:])
        assert str(file) in line
        assert "train it again" in line or "train again" in line
    assert not (tmp_path / "e").exists()
    again = ("train", *TFIDF, "--data", data, "--out", run, "--overwrite")
    assert models.run(*again) == EXIT_OK
    assert models.run("evaluate", "--run", run, "--data", data) == EXIT_OK


def test_a_crossval_mends_itself(
    data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ("crossval", *TFIDF, "--data", data, "--folds", 3, "--seeds", 1, "--out", out)
    assert models.run(*words) == EXIT_OK
    table = (out / "predictions.csv").read_bytes()
    first, second, third = (out / f"fold-{number}-seed-0" for number in (1, 2, 3))
    flip(out / "plan.json", 3, 9)
    flip(first / "predictions.csv", 3)
    flip(second / "done.json", 3, 9)
    flip(second / "best.keras", 3)
    flip(third / "done.json", 4, 9)
    capfd.readouterr()
    assert models.run(*words) == EXIT_OK
    said = capfd.readouterr().err
    for told in (
        f"{out / 'plan.json'}: damaged, not what was written; written again",
        f"{first / 'predictions.csv'}: damaged, not what was written; predicted again",
        f"{second / 'done.json'}: damaged, not what was written; predicted again",
        f"{second / 'best.keras'}: damaged (wrong SHA-256); trained anew",
        f"{third / 'done.json'}: damaged, not what was written; predicted again",
    ):
        assert told in said, said
    assert (out / "predictions.csv").read_bytes() == table
    capfd.readouterr()
    assert models.run(*words) == EXIT_OK
    assert capfd.readouterr().err.count("done before") == 3


@pytest.mark.parametrize("name", ["00000.tfrecord", "00000-copies.tfrecord", "00000.json"])
def test_augment_makes_a_damaged_shard_anew(
    name: str, data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "more"
    words = ("augment", "--data", data, "--out", out, "--transforms", "typo", "--copies", 1)
    assert models.run(*words) == EXIT_OK
    before = {p.name: p.read_bytes() for p in (out / "shards").iterdir()}
    flip(out / "shards" / name, 5)
    capfd.readouterr()
    assert models.run(*words) == EXIT_OK
    assert f"{out / 'shards' / '00000.tfrecord'}: its source or itself changed; made anew" in (
        capfd.readouterr().err
    )
    assert {p.name: p.read_bytes() for p in (out / "shards").iterdir()} == before


def test_sealed_json_without_a_seal(tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    atomic_io.write_json(file, {"a": 1})
    with pytest.raises(UserError, match=r"x\.json: damaged, not what was written; do it over"):
        atomic_io.read_checksummed_json(file, "do it over")
    atomic_io.write_checksummed_json(file, {"a": 1, "digest": "an older one"})
    assert atomic_io.read_checksummed_json(file) == {"a": 1}
    value = json.loads(file.read_text())
    atomic_io.write_json(file, value | {"a": 2})
    with pytest.raises(UserError, match="damaged"):
        atomic_io.read_checksummed_json(file)
