"""Sends requests to TensorFlow Serving over gRPC; needs tensorflow-serving-api, grpcio and numpy.

    python client.py --wav speech.wav --faces faces.npy --text "I am so glad"

`client.json` beside this file describes the model's inputs. A stream that is not given is sent as
one zero sample, one blank frame or an empty text, which the model treats as missing.

A recording longer than a window is cut into windows as in `predict` (`windows` in `client.json`).
Each window is one request; their probabilities are averaged.

Frames begin with a blank one that is masked. A server with `pad_variable_length_inputs` pads the
shorter requests of a batch with copies of the *first value* of each tensor (tensorflow/serving,
batching/batching_util.cc). If the first mask value were True, the padding would be valid, and the
prediction would depend on the other requests in the batch. Token ids are padded with 0 or cut to
the largest number that the model reads, so that all requests have one width and need no padding.
"""

from __future__ import annotations

import argparse
import json
import math
import wave
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

# Numbers of tensorflow/core/framework/types.proto.
DTYPE_NAMES = {1: "float32", 3: "int32", 4: "uint8", 9: "int64", 10: "bool"}
DTYPE_NUMBERS = {name: number for number, name in DTYPE_NAMES.items()}
STRING = 7


def read_info(path: Path | None = None) -> dict[str, Any]:
    """Reads `client.json`: model, labels, inputs, sample rate, largest number of tokens."""
    path = path or Path(__file__).with_name("client.json")
    return json.loads(path.read_text(encoding="utf-8"))


# === Windows ===


def window_bounds(info: dict[str, Any], duration_s: float) -> list[tuple[float, float]]:
    """Start and end of each window: one for a short recording, else evenly spaced ones."""
    window_s, hop_s = info["windows"]["window_s"], info["windows"]["hop_s"]
    rest_s = duration_s - window_s
    count = math.ceil(rest_s / hop_s - 1e-6)
    if count < 1:
        return [(0.0, duration_s)]
    return [(k * rest_s / count, k * rest_s / count + window_s) for k in range(count + 1)]


def split_windows(
    info: dict[str, Any], waveform: np.ndarray | None = None, faces: np.ndarray | None = None
) -> list[tuple[np.ndarray | None, np.ndarray | None]]:
    """Waveform and faces of each window, for `build_request`.

    Args:
      waveform, faces: see `build_request`; frames are assumed to be evenly spaced over the audio.
        Without audio they form one window, because their duration is unknown.
    """
    if waveform is None or not len(waveform):
        return [(waveform, faces)]
    cut: list[tuple[np.ndarray | None, np.ndarray | None]] = []
    rate_hz = info["sample_rate_hz"]
    duration_s = len(waveform) / rate_hz
    spans = window_bounds(info, duration_s)
    if len(spans) == 1:
        return [(waveform, faces)]
    for start_s, end_s in spans:
        own = faces
        if faces is not None:
            at_s = (np.arange(len(faces)) + 0.5) * duration_s / max(len(faces), 1)
            own = faces[(at_s >= start_s) & (at_s < end_s)]
        sound = waveform[round(start_s * rate_hz) : round(end_s * rate_hz)]
        cut.append((sound, own))
    return cut


def pool_predictions(info: dict[str, Any], predictions: list[dict[str, Any]]) -> dict[str, Any]:
    """Pools window predictions into that of the recording, in the format of `read_prediction`."""
    shares = np.array(
        [[answer["probabilities"][k] for k in info["labels"]] for answer in predictions]
    )
    if info["windows"]["pooling"] == "log-probabilities":
        shares = np.log(np.maximum(shares, 1e-12))
        mean = np.exp(shares.mean(axis=0))
        mean /= mean.sum()
    else:
        mean = shares.mean(axis=0)
    found = {k: round(float(x), 6) for k, x in zip(info["labels"], mean, strict=True)}
    label = info["labels"][int(mean.argmax())]
    return {
        **predictions[-1],
        "label": label,
        "probabilities": found,
        "num_windows": len(predictions),
    }


# === Request ===


def build_request(
    info: dict[str, Any],
    waveform: np.ndarray | None = None,
    faces: np.ndarray | None = None,
    text: str | None = None,
    token_ids: list[int] | None = None,
    label: str | None = None,
) -> predict_pb2.PredictRequest:
    """A request of one row.

    Args:
      waveform: (samples,) float32 in [-1, 1] at the model's rate.
      faces: (frames, H, W, C) uint8 crops, or (frames, units) float32 action units.
      text: the transcript.
      token_ids: replaces `text` if the model takes token ids, line numbers of
        `assets/vocabulary.txt` from 0; ids beyond `max_tokens` are cut, except for the `end_token`
        of word pieces.
      label: `stable` or `canary`; None uses the newest version.
    Raises:
      ValueError: a stream that the model does not have, or crops of another shape.
    """
    given = {"audio": waveform, "video": faces, "text": text, "token_ids": token_ids}
    for stream, value in given.items():
        if value is not None and stream not in info["inputs"]:
            raise ValueError(f"the model takes no {stream}; it takes {', '.join(info['inputs'])}")
    tensors: dict[str, np.ndarray] = {}
    if "audio" in info["inputs"]:
        some = waveform is not None and len(waveform) > 0
        tensors["audio"] = np.asarray(waveform if some else [0.0], np.float32)[None]
        tensors["audio_length"] = np.array([tensors["audio"].shape[1] if some else 0], np.int32)
    if "video" in info["inputs"]:
        tensors |= _frames(info["inputs"]["video"], faces)
    if "text" in info["inputs"]:
        tensors["text"] = np.array([(text or "").encode()], object)
    if "token_ids" in info["inputs"]:
        tensors["token_ids"] = _tokens(token_ids or [], info["max_tokens"], info["end_token"])
    request = predict_pb2.PredictRequest()
    request.model_spec.name = info["model"]
    if label:
        request.model_spec.version_label = label
    for name, value in tensors.items():
        _write(request.inputs[name], value)
    return request


def _frames(spec: dict[str, Any], faces: np.ndarray | None) -> dict[str, np.ndarray]:
    blank = np.zeros((1, *spec["shape"][2:]), spec["dtype"])
    if faces is None:
        return {"video": blank[None], "video_mask": np.array([[False]])}
    faces = np.asarray(faces)
    if faces.shape[1:] != blank.shape[1:] or faces.dtype != blank.dtype:
        wanted = f"(frames, {', '.join(map(str, blank.shape[1:]))}) {blank.dtype}"
        raise ValueError(f"faces are {faces.shape} {faces.dtype}, the model takes {wanted}")
    mask = np.arange(len(faces) + 1) > 0
    return {"video": np.concatenate([blank, faces])[None], "video_mask": mask[None]}


def _tokens(token_ids: list[int], width: int, end_token: int | None) -> np.ndarray:
    if len(token_ids) > width:
        end = [] if end_token is None else [end_token]
        token_ids = token_ids[: width - len(end)] + end
    row = np.zeros((1, width), np.int32)
    row[0, : len(token_ids)] = token_ids
    return row


def _write(tensor: Any, value: np.ndarray) -> None:
    for size in value.shape:
        tensor.tensor_shape.dim.add(size=size)
    if value.dtype == object:
        tensor.dtype = STRING
        tensor.string_val.extend(value.ravel().tolist())
    else:
        tensor.dtype = DTYPE_NUMBERS[value.dtype.name]
        tensor.tensor_content = np.ascontiguousarray(value).tobytes()


# === Answer ===


def read_tensor(tensor: Any) -> np.ndarray:
    """Reads a tensor of a response: strings or float32, in either encoding of servers."""
    shape = [dim.size for dim in tensor.tensor_shape.dim]
    if tensor.dtype == STRING:
        return np.array(list(tensor.string_val), object).reshape(shape)
    if tensor.tensor_content:
        return np.frombuffer(tensor.tensor_content, DTYPE_NAMES[tensor.dtype]).reshape(shape)
    values = np.array(list(tensor.float_val), np.float32)
    if values.size == 1:  # one value may represent all
        values = np.repeat(values, int(np.prod(shape)))
    return values.reshape(shape)


def read_prediction(response: Any, labels: list[str]) -> dict[str, Any]:
    """Label of the one row, version of the model, and probability of each label."""
    shares = read_tensor(response.outputs["probabilities"])[0]
    return {
        "label": read_tensor(response.outputs["label"])[0].decode(),
        "version": response.model_spec.version.value,
        "probabilities": dict(zip(labels, (round(float(x), 6) for x in shares), strict=True)),
    }


def send_request(address: str, request: predict_pb2.PredictRequest, timeout_s: float = 30.0) -> Any:
    """Sends a request to `host:port`; raises grpc.RpcError."""
    unlimited = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
    with grpc.insecure_channel(address, options=unlimited) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        return stub.Predict(request, timeout=timeout_s)


# === Command line ===


def read_wav(path: Path, rate_hz: int) -> np.ndarray:
    """(samples,) float32, channels averaged, from a 16-bit WAV at the model's rate."""
    with wave.open(str(path), "rb") as reader:
        if reader.getsampwidth() != 2 or reader.getframerate() != rate_hz:
            remedy = f"ffmpeg -i {path} -ar {rate_hz} -ac 1 -c:a pcm_s16le converted.wav"
            raise ValueError(f"{path}: not 16-bit PCM at {rate_hz} Hz; convert it: {remedy}")
        samples = np.frombuffer(reader.readframes(reader.getnframes()), "<i2")
        return (samples.reshape(-1, reader.getnchannels()).mean(axis=1) / 32768).astype(np.float32)


def main() -> int:
    info = read_info()
    parser = argparse.ArgumentParser(description="Asks the model of client.json over gRPC.")
    parser.add_argument("--address", default="127.0.0.1:8500")
    parser.add_argument("--label", choices=["stable", "canary"])
    parser.add_argument("--wav", type=Path)
    parser.add_argument("--faces", type=Path, help="crops as .npy, see client.json")
    parser.add_argument("--text")
    parser.add_argument("--token-ids", type=int, nargs="+")
    given = parser.parse_args()
    try:
        waveform = read_wav(given.wav, info["sample_rate_hz"] or 0) if given.wav else None
        faces = np.load(given.faces, allow_pickle=False) if given.faces else None
        words = (given.text, given.token_ids, given.label)
        predictions = []
        for window in split_windows(info, waveform, faces):
            response = send_request(given.address, build_request(info, *window, *words))
            predictions.append(read_prediction(response, info["labels"]))
    except (ValueError, OSError, EOFError, wave.Error) as error:
        parser.error(str(error))
    except grpc.RpcError as error:
        parser.error(f"{given.address}: {error.code().name}: {error.details()}")
    print(json.dumps(pool_predictions(info, predictions), indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
