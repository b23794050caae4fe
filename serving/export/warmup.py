"""Requests that a server runs while it loads a version, so that the first user does not wait.

TensorFlow Serving reads `assets.extra/tf_serving_warmup_requests`: a TFRecord of at most 1000
PredictionLog records. A failing record prevents the version from loading (tensorflow/serving,
servables/tensorflow/saved_model_warmup_util.cc), so each is tried here first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.serving.export.wav_bytes import to_wav
from affectstream.serving.exported.version_folder import DEFAULT_SIGNATURE

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
BATCH_SIZES = (1, 8)
# Sizes for the dimensions after the batch that the signature leaves open.
NUM_FRAMES = 8
NUM_TOKENS = 16
TONE_HZ = 220.0
WAV_SECONDS = 1.0
DEFAULT_RATE_HZ = 16_000


@dataclass(frozen=True)
class InputSpec:
    """One input of a signature: NumPy's name of its dtype ("object": strings), shape with None."""

    dtype: str
    shape: tuple[int | None, ...]


Signatures = dict[str, dict[str, InputSpec]]


def read_signatures(saved: Path) -> Signatures:
    """Reads the input specs of each signature from `saved_model.pb`; the model is not loaded.

    Raises:
      UserError: the file cannot be read.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = saved / "saved_model.pb"
    read = saved_model_pb2.SavedModel()
    try:
        read.ParseFromString(file.read_bytes())
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error}); export it again") from error
    return public_signatures(read.meta_graphs[0].signature_def)


def public_signatures(definitions: Mapping[str, Any]) -> Signatures:
    """Input specs of the public signatures; names of TensorFlow's internal ones begin with `__`.

    Args:
      definitions: signature -> SignatureDef.
    """
    return {
        signature: {
            name: _spec(info) for name, info in sorted(definitions[signature].inputs.items())
        }
        for signature in sorted(definitions)
        if not signature.startswith("__")
    }


def _spec(info: Any) -> InputSpec:
    shape = tuple(d.size if d.size >= 0 else None for d in info.tensor_shape.dim)
    return InputSpec(np.dtype(tf.as_dtype(info.dtype).as_numpy_dtype).name, shape)


# === Tensors ===


def can_generate(inputs: dict[str, InputSpec]) -> bool:
    """Whether example inputs can be generated: known inputs, or rows of strings."""
    return bool(inputs) and all(
        name in _MAKERS or (spec.dtype == "object" and len(spec.shape) == 1)
        for name, spec in inputs.items()
    )


def generate_inputs(
    inputs: dict[str, InputSpec], config: dict[str, Any], num_rows: int
) -> dict[str, np.ndarray]:
    """Plausible inputs of one signature: a tone, grey noise for faces, a short sentence.

    Args:
      config: `assets/config.json` of the version.
    Returns:
      name -> (num_rows, ...) with the signature's dtypes; strings as object arrays of bytes.
    """
    made = {}
    for name, spec in inputs.items():
        maker = _MAKERS.get(name, _strings)
        value = np.asarray(maker(spec, config), np.dtype(spec.dtype))
        made[name] = np.stack([value] * num_rows)
    return made


def _audio(spec: InputSpec, config: dict[str, Any]) -> np.ndarray:
    return _tone(_rate_hz(config), float(config["window_s"]))


def _audio_length(spec: InputSpec, config: dict[str, Any]) -> int:
    return len(_audio(spec, config))


def _faces(spec: InputSpec, config: dict[str, Any]) -> np.ndarray:
    rng = np.random.default_rng(0)
    shape = (NUM_FRAMES, *(size or 1 for size in spec.shape[2:]))
    if spec.dtype == "uint8":
        return rng.integers(0, 256, shape)
    return rng.random(shape)


def _mask(spec: InputSpec, config: dict[str, Any]) -> np.ndarray:
    return np.arange(NUM_FRAMES) > 0  # a blank frame first, see client.py


def _tokens(spec: InputSpec, config: dict[str, Any]) -> np.ndarray:
    return np.ones(spec.shape[1] or int(config.get("max_tokens") or NUM_TOKENS))


def _text(spec: InputSpec, config: dict[str, Any]) -> bytes:
    return b"What a day this was."


def _strings(spec: InputSpec, config: dict[str, Any]) -> bytes:
    return b""


def _wav(spec: InputSpec, config: dict[str, Any]) -> bytes:
    rate_hz = _rate_hz(config)
    return to_wav(np.round(_tone(rate_hz, WAV_SECONDS) * 32767).astype(np.int16), rate_hz)


def _face_jpeg(spec: InputSpec, config: dict[str, Any]) -> np.ndarray:
    given = config["input"]
    size_px, channels = given.get("face_size_px") or 64, given.get("face_channels") or 3
    picture = np.random.default_rng(0).integers(0, 256, (size_px, size_px, channels))
    encoded = tf.io.encode_jpeg(picture.astype(np.uint8)).numpy()
    return np.array([b"", *[encoded] * (NUM_FRAMES - 1)], object)  # blank frame first, as above


def _rate_hz(config: dict[str, Any]) -> int:
    return int(config["input"].get("sample_rate_hz") or DEFAULT_RATE_HZ)


def _tone(rate_hz: int, seconds: float) -> np.ndarray:
    at_s = np.arange(round(rate_hz * seconds)) / rate_hz
    return 0.1 * np.sin(2 * np.pi * TONE_HZ * at_s)


_MAKERS: dict[str, Any] = {
    "audio": _audio,
    "audio_length": _audio_length,
    "video": _faces,
    "video_mask": _mask,
    "token_ids": _tokens,
    "text": _text,
    "wav": _wav,
    "face_jpeg": _face_jpeg,
}

# === The file ===


def generate_requests(saved: Path, config: dict[str, Any], name: str) -> Iterator[Any]:
    """A PredictRequest for each batch size of each signature that `can_generate` accepts."""
    from tensorflow_serving.apis import predict_pb2

    for signature, inputs in read_signatures(saved).items():
        if not can_generate(inputs):
            continue
        for num_rows in BATCH_SIZES:
            request = predict_pb2.PredictRequest()
            request.model_spec.name = name
            request.model_spec.signature_name = signature
            for key, value in generate_inputs(inputs, config, num_rows).items():
                request.inputs[key].CopyFrom(tf.make_tensor_proto(value))
            yield request


def replay(loaded: Any, request: Any) -> dict[str, np.ndarray]:
    """Runs a PredictRequest on a loaded SavedModel and returns its outputs."""
    signature = loaded.signatures[request.model_spec.signature_name]
    tensors = {
        name: tf.constant(tf.make_ndarray(tensor), tf.as_dtype(tensor.dtype))
        for name, tensor in request.inputs.items()
    }
    return {name: value.numpy() for name, value in signature(**tensors).items()}


def write_warmup(saved: Path, name: str) -> list[str]:
    """Writes the warm-up file into a version, after running each request on it.

    Args:
      saved: folder of the version, not yet visible to a server.
      name: of the model.
    Returns:
      signatures with warm-up requests.
    Raises:
      UserError: a request fails, or there is none for `serving_default`.
    """
    from tensorflow_serving.apis import prediction_log_pb2

    config = atomic_io.read_json(saved / "assets" / "config.json")
    if "text" in config["streams"]:
        import tensorflow_text  # noqa: F401  (operations that the model may need)
    loaded = tf.saved_model.load(str(saved))
    file = saved / WARMUP_FILE
    file.parent.mkdir(exist_ok=True)
    warmed = []
    with tf.io.TFRecordWriter(str(file)) as writer:
        for request in generate_requests(saved, config, name):
            signature = request.model_spec.signature_name
            try:
                replay(loaded, request)
            except tf.errors.OpError as error:
                first = str(error.message).splitlines()[0]
                raise UserError(
                    f"{saved}: signature {signature} fails on its warm-up ({first}); not exported"
                ) from error
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
            warmed.append(signature)
    if DEFAULT_SIGNATURE not in warmed:
        raise UserError(f"{saved}: no warm-up can be made for {DEFAULT_SIGNATURE}; not exported")
    return sorted(set(warmed))
