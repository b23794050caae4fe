"""Records and models under `gs://`, against a server on loopback that speaks Google's JSON API."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from gcp_storage_emulator.server import create_server

from affectstream.core import storage_paths
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK
from tests.support import models
from tests.support.factories import files_below, preprocess, tone, write_sound
from tests.support.models import error_line

pytestmark = pytest.mark.server

BUCKET = "corpora"
# Read when gcsfs is imported: the server has no gRPC, by which the kind of a bucket is asked.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URL of an empty bucket."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = create_server("127.0.0.1", port, in_memory=True, default_bucket=BUCKET)
    server.start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setitem(fsspec.config.conf, "gs", {"token": "anon"})
    monkeypatch.setenv("FSSPEC_GS_TOKEN", "anon")  # of processes that are started
    _forget()
    try:
        yield f"gs://{BUCKET}"
    finally:
        server.stop()
        _forget()


def _forget() -> None:
    """Connections of this process know nothing of servers of before."""
    from gcsfs import GCSFileSystem

    GCSFileSystem.clear_instance_cache()
    storage_paths._listing.cache_clear()


def put(folder: Path, url: str) -> str:
    """Uploads a folder; its URL."""
    storage_paths.upload(folder, storage_paths.storage_path(url))
    return url


def files_of(url: str) -> dict[str, bytes]:
    """What lies below a URL: name -> bytes."""
    folder = storage_paths.storage_path(url)
    found = (path for path in folder.rglob("*") if path.is_file())
    return {storage_paths.relative_name(path, folder): path.read_bytes() for path in found}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Six SYNTHETIC recordings of sound with a manifest."""
    lines = ["path,label,speaker"]
    for number in range(6):
        name = f"part {number % 2}/{number}.wav"
        write_sound(tmp_path / "in" / name, tone(0.5, 16_000, 200 + 20 * number), 16_000)
        lines.append(f"{name},{('sad', 'happy')[number % 2]},{number % 3}")
    (tmp_path / "in" / "manifest.csv").write_text("\n".join(lines))
    return tmp_path / "in"


@pytest.mark.parametrize("workers", [0, 2])
def test_records_are_the_same_bytes_as_on_a_disk(
    workers: int, bucket: str, source: Path, tmp_path: Path
) -> None:
    here = tmp_path / "here"
    assert preprocess("manifest", source / "manifest.csv", here) == EXIT_OK
    url = put(source, f"{bucket}/in")
    words = ("--corpus", "manifest", "--source", f"{url}/manifest.csv", "--workers", workers)
    assert models.run("preprocess", *words, "--out", f"{bucket}/out") == EXIT_OK
    made, local = files_of(f"{bucket}/out"), files_below(here)
    assert set(made) == set(local)
    told = {name for name in made if made[name] != local[name]}
    # What a clip was made from is told otherwise in a store, by its tag.
    assert {Path(name).suffix for name in told} == {".json"}
    assert {Path(name).parent.name for name in told} == {"shards"}


# gcsfs hands files above a megabyte over as they are.
@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")
@pytest.mark.usefixtures("no_training")
def test_train_and_predict_by_url(
    bucket: str, toy_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, run = put(toy_data, f"{bucket}/toy"), f"{bucket}/run"
    words = ("--stream", "audio", "--epochs", 1, "--data", data, "--out", run)
    assert models.run("train", *words) == EXIT_OK
    assert {"run.json", "best.keras", "history.csv"} <= set(files_of(run))
    write_sound(tmp_path / "clips" / "a.wav", tone(1.0, 16_000, 300), 16_000)
    clip = f"{put(tmp_path / 'clips', f'{bucket}/clips')}/a.wav"
    capsys.readouterr()
    assert models.run("predict", clip, "--model", run, "--json") == EXIT_OK
    assert json.loads(capsys.readouterr().out)["path"] == clip


def test_what_is_not_there_is_named(bucket: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--corpus", "manifest", "--source", f"{bucket}/none.csv", "--out", f"{bucket}/out")
    assert models.run("preprocess", *words) == EXIT_FAILURE
    assert f"{bucket}/none.csv" in error_line(capsys.readouterr().err)
