"""The signatures of an export beside `serving_default`, of one tiny fused run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf

from affectstream.modeling.evaluation.inference import inference_model, load_run
from affectstream.opencv_model.crops import square_crop
from affectstream.opencv_model.detectors.detector import FaceBox
from affectstream.preprocessing.pcm import from_pcm, to_pcm
from affectstream.serving.export.savedmodel_export import (
    TOLERANCE,
    example_files,
    read_config,
)
from affectstream.serving.export.signatures import face_crops
from affectstream.serving.export.wav_bytes import to_wav
from affectstream.serving.loading import load
from tests.support.models import LABELS, RATE_HZ, SIZE_PX, save_arrays

OUTPUTS = {"probabilities", "label", "embedding"}

# Runs with TensorFlow and NumPy alone, elsewhere, with nothing of ours on the path.
FRESH = """
import importlib.util, sys
import numpy as np
import tensorflow as tf

saved, inputs, answers = sys.argv[1:]
assert importlib.util.find_spec("serving") is None
signatures = tf.saved_model.load(saved).signatures
given = {}
for key, value in np.load(inputs, allow_pickle=True).items():
    signature, name = key.split("|")
    value = value.tolist() if value.dtype == object else value
    given.setdefault(signature, {})[name] = tf.constant(value)
made = {}
for signature, tensors in given.items():
    for name, value in signatures[signature](**tensors).items():
        value = value.numpy()
        made[f"{signature}|{name}"] = value.astype(str) if value.dtype == object else value
try:
    wrong = {**given["serve_bytes"], "wav": tf.constant([b"", b"RIFF", b""])}
    signatures["serve_bytes"](**wrong)
except tf.errors.InvalidArgumentError as error:
    made["refused|"] = np.array(str(error))
again = signatures["serve_bytes"](**given["serve_bytes"])["probabilities"].numpy()
assert (again == made["serve_bytes|probabilities"]).all()
np.savez(answers, **made)
"""


@pytest.fixture(scope="module")
def inference(fusion_run: Path) -> Any:
    return inference_model(*load_run(fusion_run))


@pytest.fixture(scope="module")
def signatures(exported: Path) -> Any:
    return tf.saved_model.load(str(exported / "1"))


def serve(loaded: Any, name: str, given: dict[str, Any]) -> dict[str, np.ndarray]:
    made = loaded.signatures[name](**{key: tf.constant(value) for key, value in given.items()})
    return {key: value.numpy() for key, value in made.items()}


def assert_answers(made: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> None:
    """Every output that both have, and the label that follows."""
    for name in set(made) & set(wanted) - {"label"}:
        np.testing.assert_allclose(made[name], wanted[name], atol=TOLERANCE, err_msg=name)
    labels = [LABELS[i] for i in np.asarray(wanted["probabilities"]).argmax(axis=1)]
    assert made["label"].astype(str).tolist() == labels


def without(inputs: dict[str, np.ndarray], stream: str) -> dict[str, np.ndarray]:
    amount = {"audio": "audio_length", "video": "video_mask"}[stream]
    return {**inputs, amount: np.zeros_like(inputs[amount])}


# === Every signature, here and in a fresh process ===


def test_in_a_fresh_process_without_our_code(
    exported: Path, inference: Any, tmp_path: Path
) -> None:
    files, inputs = example_files(inference, RATE_HZ, seed=5)
    audio = {name: inputs[name] for name in ("audio", "audio_length")}
    video = {name: inputs[name] for name in ("video", "video_mask")}
    given = {"serve_bytes": files, "serving_default": inputs, "audio": audio, "video": video}
    given["labels"] = {"any": np.array(["", "x", "\xe9"], object)}
    flat = {f"{s}|{name}": value for s, tensors in given.items() for name, value in tensors.items()}
    save_arrays(tmp_path / "inputs.npz", flat)
    paths = (exported / "1", tmp_path / "inputs.npz", tmp_path / "answers.npz")
    done = subprocess.run(
        [sys.executable, "-I", "-c", FRESH, *map(str, paths)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    made: dict[str, dict[str, np.ndarray]] = {}
    for key, value in np.load(tmp_path / "answers.npz").items():
        signature, name = key.split("|")
        made.setdefault(signature, {})[name] = value
    whole = inference(inputs, training=False)
    assert_answers(made["serving_default"], whole)
    assert_answers(made["serve_bytes"], whole)
    assert set(made["serve_bytes"]) == set(made["serving_default"])
    assert_answers(made["audio"], inference(without(inputs, "video"), training=False))
    assert_answers(made["video"], inference(without(inputs, "audio"), training=False))
    assert set(made["audio"]) == set(made["video"]) == OUTPUTS
    assert made["labels"]["labels"].tolist() == [list(LABELS)] * 3
    refusal = str(made["refused"][""])
    assert "row 1: no WAV file; send 16-bit PCM WAV" in refusal


def test_the_config_tells_them(exported: Path, signatures: Any) -> None:
    told = read_config(exported / "1")["signatures"]
    assert set(told) == set(signatures.signatures)
    assert set(told) == {"serving_default", "audio", "video", "serve_bytes", "labels"}
    for name, function in signatures.signatures.items():
        sides = {
            "inputs": function.structured_input_signature[1],
            "outputs": function.structured_outputs,
        }
        for side, specs in sides.items():
            assert told[name][side] == {
                key: {
                    "shape": [-1 if n is None else n for n in spec.shape.as_list()],
                    "dtype": spec.dtype.name,
                }
                for key, spec in specs.items()
            }
    assert told["serve_bytes"]["inputs"] == {
        "wav": {"shape": [-1], "dtype": "string"},
        "face_jpeg": {"shape": [-1, -1], "dtype": "string"},
    }
    assert told["labels"]["outputs"] == {"labels": {"shape": [-1, 7], "dtype": "string"}}


def test_filler_of_one_sample_and_one_frame(signatures: Any, inference: Any) -> None:
    _, inputs = example_files(inference, RATE_HZ)
    none = np.zeros(3, np.int32)
    filler = {"audio": np.zeros((3, 1), np.float32), "audio_length": none}
    made = serve(signatures, "serving_default", {**inputs, **filler})
    assert_answers(
        serve(signatures, "video", {k: inputs[k] for k in ("video", "video_mask")}), made
    )
    frame = np.zeros((3, 1, SIZE_PX, SIZE_PX, 1), np.uint8)
    no_face = {"video": frame, "video_mask": np.zeros((3, 1), bool)}
    made = serve(signatures, "serving_default", {**inputs, **no_face})
    own = {k: inputs[k] for k in ("audio", "audio_length")}
    assert_answers(serve(signatures, "audio", own), made)


def test_embeddings_of_missing_streams_are_zero(
    signatures: Any, inference: Any, audio_run: Path
) -> None:
    _, inputs = example_files(inference, RATE_HZ)
    audio = {name: inputs[name] for name in ("audio", "audio_length")}
    embedding = serve(signatures, "audio", audio)["embedding"]
    assert embedding[:2, :128].any(axis=1).all()
    assert not embedding[:, 128:].any()
    assert not embedding[2].any()
    alone = inference_model(*load_run(audio_run))(audio, training=False)["embedding"].numpy()
    np.testing.assert_allclose(alone, embedding[:, :128], atol=TOLERANCE)


# === Files ===


def test_a_row_of_files_alone_is_the_row_in_its_batch(signatures: Any, inference: Any) -> None:
    files, _ = example_files(inference, RATE_HZ, seed=2)
    whole = serve(signatures, "serve_bytes", files)
    padded = {**files, "face_jpeg": np.pad(files["face_jpeg"], ((0, 0), (0, 2)))}
    padded["face_jpeg"][padded["face_jpeg"] == 0] = b""
    assert_answers(serve(signatures, "serve_bytes", padded), whole)
    for row in range(3):
        alone = {name: value[row : row + 1] for name, value in files.items()}
        made = serve(signatures, "serve_bytes", alone)
        for name in OUTPUTS - {"label"}:
            np.testing.assert_allclose(made[name][0], whole[name][row], atol=1e-5, err_msg=name)


def test_a_video_model_takes_no_wav(video_exported: Path) -> None:
    loaded = tf.saved_model.load(str(video_exported / "1"))
    assert set(loaded.signatures) == {"serving_default", "video", "serve_bytes", "labels"}
    missing = np.array([[b"", b""]], object)
    made = serve(loaded, "serve_bytes", {"face_jpeg": missing})
    assert not made["embedding"].any()


@pytest.mark.parametrize("rate_hz", [48_000, 44_100, 22_050, 8_000])
def test_real_speech_at_any_rate_as_predict(
    rate_hz: int, fusion_run: Path, signatures: Any, real_data: Path, tmp_path: Path
) -> None:
    clips = sorted((real_data / "ravdess").rglob("*.flac"))[:400:100]
    recognizer = load(fusion_run)
    for number, clip in enumerate(clips):
        waveform, own_hz = soundfile.read(clip, dtype="float32")
        other = soxr.resample(waveform[: int(2.9 * own_hz)], own_hz, rate_hz)
        channels = np.stack([other, 0.5 * other], axis=1) if rate_hz == 48_000 else other
        path = tmp_path / f"{number}.wav"
        path.write_bytes(to_wav(to_pcm(channels), rate_hz))
        predicted = [*recognizer(path).probabilities.values()]
        given = {"wav": [path.read_bytes()], "face_jpeg": [[b""]]}
        made = serve(signatures, "serve_bytes", given)["probabilities"][0]
        np.testing.assert_allclose(made, predicted, atol=0.02)


def test_real_speech_at_the_own_rate(signatures: Any, real_data: Path) -> None:
    clip = min((real_data / "ravdess").rglob("*.flac"))
    pcm, rate_hz = soundfile.read(clip, dtype="int16")
    assert rate_hz == RATE_HZ
    made = serve(signatures, "serve_bytes", {"wav": [to_wav(pcm, rate_hz)], "face_jpeg": [[b""]]})
    audio = {"audio": from_pcm(pcm)[None], "audio_length": np.array([len(pcm)], np.int32)}
    assert_answers(serve(signatures, "audio", audio), made)


# === Faces ===


def jpeg_of(picture: np.ndarray) -> bytes:
    """`picture` (H, W, 3) RGB or (H, W) grey."""
    given = picture[..., ::-1] if picture.ndim == 3 else picture
    done, encoded = cv2.imencode(".jpg", given, [cv2.IMWRITE_JPEG_QUALITY, 95])
    assert done
    return bytes(encoded.tobytes())


def smooth(side_px: int) -> np.ndarray:
    """(side, side, 3) uint8 with detail of all sizes."""
    noise = np.random.default_rng(side_px).integers(0, 256, (12, 12, 3)).astype(np.uint8)
    return cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side_px", [20, 32, 47, 64, 200])
def test_a_crop_of_any_size_is_the_crop_of_training(side_px: int, channels: int) -> None:
    jpeg = jpeg_of(smooth(side_px))
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    box = FaceBox(0, 0, side_px, side_px, 1)
    colors = "rgb" if channels == 3 else "grey"
    wanted = square_crop(decoded[..., ::-1].copy(), box, 0, SIZE_PX, colors)  # type: ignore[arg-type]
    video, mask = face_crops(tf.constant([[b"", jpeg]]), SIZE_PX, channels)
    assert mask.numpy().tolist() == [[False, True]]
    made = video.numpy()[0, 1].astype(int)
    wrong = np.abs(made - wanted.reshape(made.shape).astype(int))
    assert wrong.max() <= 1
    if side_px == SIZE_PX:
        assert wrong.max() == 0


def test_a_grey_jpeg(signatures: Any) -> None:
    jpeg = jpeg_of(smooth(SIZE_PX)[..., 0])
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_GRAYSCALE)
    for channels in (1, 3):
        video, _ = face_crops(tf.constant([[jpeg]]), SIZE_PX, channels)
        for channel in range(channels):
            np.testing.assert_array_equal(video[0, 0, ..., channel], decoded)


def test_what_is_no_face_crop(signatures: Any) -> None:
    square, wide = smooth(40), smooth(40)[:30]
    png = cv2.imencode(".png", square)[1].tobytes()
    large = np.zeros((2049, 2049), np.uint8)
    for wrong, says in (
        (png, "row 1: no JPEG; send the face crop as one"),
        (b"\xff", "row 1: no JPEG"),
        (jpeg_of(wide), "row 1: a face crop of 40 x 30 px; send the square around the face"),
        (jpeg_of(large), "row 1: a face crop of 2049 x 2049 px"),
        (jpeg_of(square)[:300], "JPEG"),
        (jpeg_of(square)[:3], "JPEG"),
    ):
        faces = [[jpeg_of(square), b""], [b"", wrong]]
        with pytest.raises(tf.errors.InvalidArgumentError) as caught:
            serve(signatures, "serve_bytes", {"wav": [b"", b""], "face_jpeg": faces})
        assert says in str(caught.value)
    faces = [[jpeg_of(square), b""], [b"", b""]]
    made = serve(signatures, "serve_bytes", {"wav": [b"", b""], "face_jpeg": faces})
    assert made["embedding"][0].any()
    assert not made["embedding"][1].any()


# === What a client must do alike ===


def test_all_that_a_client_needs_is_in_the_config(exported: Path) -> None:
    config = json.loads((exported / "1" / "assets" / "config.json").read_text("utf-8"))
    assert config["input"]["sample_rate_hz"] == RATE_HZ
    assert config["window_s"] > 0
    preparation = config["preparation"]
    assert preparation["detector"] == "haar"
    assert preparation["sampling"]["num_frames"] == 4
    assert preparation["face"] == {"size_px": SIZE_PX, "color": "grey", "margin": 0.1}
