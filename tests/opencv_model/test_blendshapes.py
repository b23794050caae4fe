"""Blendshapes: MediaPipe's 52 numbers, read from real faces where its weights are at hand."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from affectstream.core.errors import UserError
from affectstream.opencv_model import blendshapes
from affectstream.opencv_model.blendshapes import BLENDSHAPES, BlendshapeReader, open_blendshapes
from affectstream.opencv_model.weights import CACHE_VARIABLE
from affectstream.preprocessing.dataset import data_folder
from affectstream.preprocessing.faces.blendshapes import BlendshapeFinder
from tests.support import models


@pytest.fixture(scope="module")
def reader(real_models: Path) -> BlendshapeReader:
    pytest.importorskip("mediapipe")
    return open_blendshapes(real_models / "face")


def test_blendshapes_have_the_names_of_the_model() -> None:
    assert len(BLENDSHAPES) == len(set(BLENDSHAPES)) == 52
    assert BLENDSHAPES[:3] == ("_neutral", "browDownLeft", "browDownRight")
    assert (BLENDSHAPES[3], BLENDSHAPES[44]) == ("browInnerUp", "mouthSmileLeft")


def test_faces_of_stills(reader: BlendshapeReader, real_data: Path) -> None:
    stills = sorted((real_data / "ravdess_stills").glob("*.png"))[:4]
    seen = []
    for still in stills:
        picture = np.ascontiguousarray(models.picture(still)[:, :, ::-1])
        (face,) = reader.read(picture)
        assert face.values.shape == (52,)
        assert face.values.dtype == np.float32
        assert 0 <= face.values.min() <= face.values.max() <= 1
        height_px, width_px = picture.shape[:2]
        middle_px = face.box.x + face.box.width / 2
        assert 0.3 * width_px < middle_px < 0.7 * width_px
        assert 0.2 * height_px < face.box.height < height_px
        seen.append(face.values)
    assert np.ptp(seen, axis=0).max() > 0.2


def test_no_face_in_noise(reader: BlendshapeReader) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (120, 160, 3)).astype(np.uint8)
    assert reader.read(noise) == ()
    assert BlendshapeFinder(reader).detect_image(noise[:, :, 0]).faces == ()


def test_boxes_are_in_pixels_of_the_full_picture(reader: BlendshapeReader, real_data: Path) -> None:
    still = models.picture(real_data / "ravdess_stills" / "Actor_02.png")[:, :, ::-1]
    large = np.repeat(np.repeat(still, 4, axis=0), 4, axis=1)
    finder = BlendshapeFinder(reader)
    (small_face,), (large_face,) = (finder.detect_image(p).faces for p in (still, large))
    assert large_face.box.width == pytest.approx(4 * small_face.box.width, rel=0.05)
    assert large_face.box.x == pytest.approx(4 * small_face.box.x, rel=0.05)


def test_clips_to_records(
    real_models: Path, real_data: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A clip with a face gives rows, one without keeps its sound only."""
    pytest.importorskip("mediapipe")
    source = tmp_path / "clips"
    source.mkdir()
    lines = ["path,label,speaker"]
    for name in ("01-01-08-02-01-01-19.mp4", "pyfeat_no_face.mp4"):
        lines.append(f"{real_data.resolve() / 'clips' / name},surprised,{name[:2]}")
    (source / "manifest.csv").write_text("\n".join(lines), encoding="utf-8")
    words = ("--action-units", "mediapipe", "--weights-dir", real_models / "face", "--workers", 0)
    out = tmp_path / "data"
    source = source / "manifest.csv"
    code = models.run(
        "preprocess", "--corpus", "manifest", "--source", source, "--out", out, *words
    )
    said = capfd.readouterr()
    assert code == 0, said.err
    assert "without action units (masked): 16" in said.out
    assert "W0000" not in said.err, "MediaPipe's own talk"
    from affectstream.preprocessing.dataset.data_folder import open_data_folder
    from affectstream.preprocessing.records.record import read_records

    folder = open_data_folder(out)
    kind = folder.action_units
    assert kind is not None
    assert (kind.source, kind.names) == ("mediapipe", BLENDSHAPES)
    row, faceless = folder.rows
    assert (row.streams, faceless.streams) == (("video",), ("audio",))
    (record,) = read_records(folder.shard_paths([row])[0], {row.id: row})
    assert record.faces.dtype == np.float32
    assert record.faces.shape == (16, 52)
    assert record.face_mask.sum() >= 14
    found = record.faces[record.face_mask]
    assert np.ptp(found[:, BLENDSHAPES.index("jawOpen")]) > 0.05, "the mouth moves"
    assert (record.boxes_px[record.face_mask, 2] > 100).all()
    settings = json.loads((out / "preprocess.json").read_text(encoding="utf-8"))
    assert settings["preparation"]["detector"] == "none"


def test_predict_computes_them(
    real_models: Path,
    real_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("mediapipe")
    rng = np.random.default_rng(0)
    made = [
        replace(one, faces=rng.random((3, 52), np.float32), video_hash=f"{number:032x}")
        for number, one in enumerate(models.records(streams=("video",)))
    ]
    data = models.write_data(tmp_path / "data", made)
    settings = data_folder.read_settings(data)
    settings["preparation"]["action_units"] = {"source": "mediapipe", "names": list(BLENDSHAPES)}
    data_folder.write_settings(data, settings)
    run = tmp_path / "run"
    assert models.train(run, "--recipe", "action-units", "--epochs", 1, data=data) == 0
    clip = real_data / "clips" / "01-01-08-02-01-01-19.mp4"
    capsys.readouterr()
    words: tuple[object, ...] = ("predict", clip, "--model", run, "--json")
    assert models.run(*words, "--weights-dir", real_models / "face") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["face_coverage"] == 1.0
    assert list(answer["streams"]) == ["video"]
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))

    def unreachable(url: str, *_: object) -> None:
        raise UserError(f"{url}: not reachable; put the file there by hand")

    monkeypatch.setattr("affectstream.opencv_model.weights.fetch", unreachable)
    assert models.run(*words) == 1
    assert "face_landmarker.task: not reachable" in models.error_line(capsys.readouterr().err)
    table = tmp_path / "au.csv"
    table.write_text("name,AU01_r\nx,1\n", encoding="utf-8")
    words = (*words, "--weights-dir", real_models / "face", "--action-units", table)
    assert models.run(*words) == 1
    assert "takes no action units of OpenFace" in models.error_line(capsys.readouterr().err)


# === What can be missing ===


def test_a_file_that_is_no_model(tmp_path: Path) -> None:
    pytest.importorskip("mediapipe")
    path = tmp_path / "face_landmarker.task"
    path.write_bytes(b"no model")
    with pytest.raises(UserError, match="wrong checksum"):
        open_blendshapes(tmp_path)
    with pytest.raises(UserError, match=r"face_landmarker\.task"):
        BlendshapeReader(path)


def test_weights_that_cannot_be_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))

    def unreachable(url: str, *_: object) -> None:
        raise UserError(f"{url}: not reachable; put the file there by hand")

    monkeypatch.setattr("affectstream.opencv_model.weights.fetch", unreachable)
    with pytest.raises(UserError, match=r"face_landmarker\.task: not reachable"):
        open_blendshapes()


def test_without_mediapipe_the_remedy_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(UserError, match=r"blendshapes need MediaPipe.*--action-units FILE"):
        BlendshapeReader(tmp_path / "face_landmarker.task")
    assert blendshapes.WEIGHTS == "blendshapes"
