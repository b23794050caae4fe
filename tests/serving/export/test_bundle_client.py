"""The client that a bundle ships: its requests against the model, and itself against the server."""

from __future__ import annotations

import ast
import dataclasses
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile
import tensorflow as tf

from affectstream.core import registry
from affectstream.preprocessing.windowing import WindowSettings, pool, window_bounds
from affectstream.server.app import Server, ServeSettings
from affectstream.serving.export.bundle import _end_token
from tests.support.bundles import arrays, module_of, shares
from tests.support.models import LABELS

pytestmark = pytest.mark.server

TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Any:
    return tf.saved_model.load(str(bundle / "models" / "both" / "2"))


@pytest.fixture(scope="module")
def client(bundle: Path) -> ModuleType:
    return module_of(bundle / "client.py")


# === Requests ===


def clip(seed: int, num_frames: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    faces = rng.integers(0, 256, (num_frames, 32, 32, 1)).astype(np.uint8)
    return rng.normal(0, 0.1, num_samples).astype(np.float32), faces


def as_served_in_a_batch(requests: list[dict[str, np.ndarray]]) -> dict[str, tf.Tensor]:
    """Joins requests as tensorflow_serving/batching/batching_util.cc does.

    Shorter tensors are lengthened with copies of their own first value.
    """
    joined = {}
    for name in requests[0]:
        tensors = [one[name] for one in requests]
        most = np.max([tensor.shape for tensor in tensors], axis=0)
        padded = []
        for tensor in tensors:
            width = [(0, 0), *((0, m - s) for m, s in zip(most[1:], tensor.shape[1:], strict=True))]
            padded.append(np.pad(tensor, width, constant_values=tensor.flat[0]))
        joined[name] = tf.constant(np.concatenate(padded))
    return joined


def test_client_is_made_of_three_packages(bundle: Path) -> None:
    tree = ast.parse((bundle / "client.py").read_text(encoding="utf-8"))
    found = {
        (node.module if isinstance(node, ast.ImportFrom) else node.names[0].name) or ""
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    third_party = {name.partition(".")[0] for name in found} - set(sys.stdlib_module_names)
    assert third_party == {"grpc", "numpy", "tensorflow_serving"}


def test_client_asks_what_the_model_answers(client: ModuleType, loaded: Any) -> None:
    waveform, faces = clip(1, 3, 20_000)
    info = client.read_info()
    request = client.build_request(info, waveform, faces)
    direct = {
        "audio": waveform[None],
        "audio_length": np.array([20_000], np.int32),
        "video": faces[None],
        "video_mask": np.ones((1, 3), bool),
    }
    np.testing.assert_allclose(
        shares(loaded, arrays(request)), shares(loaded, direct), atol=TOLERANCE
    )
    nothing = arrays(client.build_request(info))
    assert nothing["audio_length"].tolist() == [0] and not nothing["video_mask"].any()
    assert all(value.size for value in nothing.values())
    sound_only = {**direct, "video_mask": np.zeros((1, 3), bool)}
    np.testing.assert_allclose(
        shares(loaded, arrays(client.build_request(info, waveform))),
        shares(loaded, sound_only),
        atol=TOLERANCE,
    )


def test_client_is_answered_alike_alone_and_in_a_padded_batch(
    client: ModuleType, loaded: Any
) -> None:
    info = client.read_info()
    clips = [clip(1, 2, 9_000), clip(2, 9, 30_000), clip(3, 1, 500)]
    each = [arrays(client.build_request(info, *one)) for one in clips]
    alone = np.concatenate([shares(loaded, one) for one in each])
    together = shares(loaded, as_served_in_a_batch(each))
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
    # Without the blank frame in front the padding counts: this is what it is for.
    bare = [
        {**one, "video": one["video"][:, 1:], "video_mask": one["video_mask"][:, 1:]}
        for one in each
    ]
    wrong = shares(loaded, as_served_in_a_batch(bare))
    assert np.abs(wrong - alone).max() > 1e-3


# === Over the wire ===


@pytest.fixture(scope="module")
def server(bundle: Path) -> Iterator[Server]:
    settings = ServeSettings(bundle, rest_port=0, grpc_port=0, analyze=False)
    with Server(settings) as running:
        yield running


@pytest.mark.parametrize(("label", "version"), [(None, 2), ("stable", 1), ("canary", 2)])
def test_client_over_grpc(
    client: ModuleType,
    loaded: Any,
    server: Server,
    label: str | None,
    version: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waveform, faces = clip(4, 3, 16_000)
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="PCM_16")
    np.save(tmp_path / "a.npy", faces)
    words = ["--address", f"127.0.0.1:{server.grpc_port}", "--wav", tmp_path / "a.wav"]
    words += ["--faces", tmp_path / "a.npy", *(["--label", label] if label else [])]
    monkeypatch.setattr(sys, "argv", ["client.py", *map(str, words)])
    assert client.main() == 0
    answer = json.loads(capsys.readouterr().out)
    read = client.read_wav(tmp_path / "a.wav", 16_000)
    wanted = shares(loaded, arrays(client.build_request(client.read_info(), read, faces)))[0]
    assert list(answer["probabilities"]) == list(LABELS)
    np.testing.assert_allclose(list(answer["probabilities"].values()), wanted, atol=2e-6)
    assert answer["label"] == LABELS[int(wanted.argmax())]
    assert answer["version"] == version


@pytest.mark.parametrize("pooling", ["probabilities", "log-probabilities"])
def test_client_cuts_and_pools_as_the_program(client: ModuleType, pooling: str) -> None:
    """The same windows and answer as `preprocessing.windowing`, which it cannot import."""
    info = client.read_info()
    settings = dataclasses.replace(WindowSettings(**info["windows"]), pooling=pooling)
    assert settings.window_s == info["window_s"]
    for duration_s in (0.3, 3.0, 4.4, 4.6, 7.2, 61.0):
        wanted = window_bounds(duration_s, settings)
        np.testing.assert_allclose(client.window_bounds(info, duration_s), wanted, atol=1e-9)
    rows = np.random.default_rng(0).dirichlet(np.ones(len(LABELS)), 3)
    answers = [{"version": 2, "probabilities": dict(zip(LABELS, row, strict=True))} for row in rows]
    told = client.pool_predictions(info | {"windows": settings.as_json()}, answers)
    pooled = pool(rows, pooling)
    np.testing.assert_allclose(list(told["probabilities"].values()), pooled, atol=1e-6)
    assert told["label"] == LABELS[int(pooled.argmax())]
    assert (told["version"], told["num_windows"]) == (2, 3)


def test_client_shares_out_frames_among_windows(client: ModuleType) -> None:
    info = client.read_info() | {"sample_rate_hz": 10}
    info["windows"] = {**info["windows"], "window_s": 2.0, "hop_s": 1.0}
    sound, faces = np.arange(40, dtype=np.float32), np.arange(8)
    cut = client.split_windows(info, sound, faces)
    assert [(wave[0], len(wave)) for wave, _ in cut] == [(0, 20), (10, 20), (20, 20)]
    assert [own.tolist() for _, own in cut] == [[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]
    ((_, of_whole),) = client.split_windows(info, sound[:20], faces)
    assert of_whole is faces
    assert client.split_windows(info, None, faces) == [(None, faces)]


def test_client_tells_what_the_server_refuses(client: ModuleType, server: Server) -> None:
    request = client.build_request(client.read_info(), label="beta")
    with pytest.raises(grpc.RpcError) as raised:
        client.send_request(f"127.0.0.1:{server.grpc_port}", request)
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "beta" in raised.value.details()


@pytest.mark.parametrize("label", [None, "stable", "canary", "beta"])
def test_request_sh_with_curl(server: Server, loaded: Any, bundle: Path, label: str | None) -> None:
    if shutil.which("curl") is None:
        pytest.skip("no curl on this machine")
    words = [
        str(bundle / "request.sh"),
        f"127.0.0.1:{server.rest_port}",
        *([label] if label else []),
    ]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    told = json.loads(done.stdout)
    if label == "beta":
        assert done.returncode != 0
        assert "beta" in told["error"]
        return
    assert done.returncode == 0, done.stderr
    body = json.loads((bundle / "request.json").read_text(encoding="utf-8"))
    signature = loaded.signatures[body["signature_name"]]
    specs = signature.structured_input_signature[1]
    given = {key: tf.constant(value, specs[key].dtype) for key, value in body["inputs"].items()}
    wanted = signature(**given)["probabilities"].numpy()
    np.testing.assert_allclose(told["outputs"]["probabilities"], wanted, atol=TOLERANCE)


# === What it reads and refuses ===


@pytest.mark.parametrize("packed", [True, False])
def test_client_reads_tensors_written_in_either_way(client: ModuleType, packed: bool) -> None:
    values = np.array([[0.25, 0.5], [0.125, 0.75]], np.float32)
    tensor = tf.make_tensor_proto(values)
    assert tensor.tensor_content
    if not packed:
        tensor.ClearField("tensor_content")
        tensor.float_val.extend(values.ravel().tolist())
    np.testing.assert_array_equal(client.read_tensor(tensor), values)


def test_client_says_what_is_wrong(client: ModuleType, tmp_path: Path) -> None:
    info = client.read_info()
    with pytest.raises(ValueError, match="takes no text"):
        client.build_request(info, text="hello")
    with pytest.raises(ValueError, match=r"the model takes \(frames, 32, 32, 1\) uint8"):
        client.build_request(info, faces=np.zeros((2, 64, 64, 1), np.uint8))
    soundfile.write(tmp_path / "a.wav", np.zeros(80), 8_000, subtype="PCM_16")
    with pytest.raises(ValueError, match="16-bit PCM at 16000 Hz; convert it: ffmpeg"):
        client.read_wav(tmp_path / "a.wav", 16_000)


def test_client_of_words(words_bundle: Path) -> None:
    shipped = module_of(words_bundle / "client.py")
    served = tf.saved_model.load(str(words_bundle / "models" / "my-words" / "1"))
    request = shipped.build_request(shipped.read_info(), text="furious shout", label="stable")
    assert request.model_spec.version_label == "stable"
    assert arrays(request)["text"].tolist() == [b"furious shout"]
    assert shares(served, arrays(request)).shape == (1, len(LABELS))


# === Numbers of tokens ===


def test_client_of_tokens_asks_what_the_words_ask(words_bundle: Path, tokens_bundle: Path) -> None:
    shipped = module_of(tokens_bundle / "client.py")
    info = shipped.read_info()
    version = tokens_bundle / "models" / "tokens" / "1"
    served = tf.saved_model.load(str(version))
    config = json.loads((version / "assets" / "config.json").read_text(encoding="utf-8"))
    assert info["max_tokens"] == config["max_tokens"] == served_width(version)
    assert info["end_token"] is None
    vocabulary = (version / "assets" / "vocabulary.txt").read_text(encoding="utf-8").splitlines()
    ids = [len(vocabulary) - 1, 2, 3]
    said = " ".join(vocabulary[number] for number in ids)
    made = shares(served, arrays(shipped.build_request(info, token_ids=ids)))
    of_words = tf.saved_model.load(str(words_bundle / "models" / "my-words" / "1"))
    text = module_of(words_bundle / "client.py")
    request = text.build_request(text.read_info(), text=said)
    np.testing.assert_allclose(made, shares(of_words, arrays(request)), atol=TOLERANCE)
    with pytest.raises(ValueError, match="takes no text; it takes token_ids"):
        shipped.build_request(info, text="furious shout")


def served_width(version: Path) -> int:
    """The recipe's maximum number of tokens, as the run that was exported was trained with."""
    config = json.loads((version / "assets" / "config.json").read_text(encoding="utf-8"))
    run_info = json.loads((Path(config["run"]) / "run.json").read_text(encoding="utf-8"))
    given = run_info["recipe"]["features_settings"].get("max_tokens")
    front_end = registry.load("features", run_info["recipe"]["features"])
    return int(given if given is not None else front_end.max_tokens)


def test_tokens_have_one_width_in_all_requests(tokens_bundle: Path) -> None:
    shipped = module_of(tokens_bundle / "client.py")
    info = shipped.read_info()
    served = tf.saved_model.load(str(tokens_bundle / "models" / "tokens" / "1"))
    width = info["max_tokens"]
    rows = [[5], [7, 3, 2], [], [4] * (width + 9)]
    each = [arrays(shipped.build_request(info, token_ids=row)) for row in rows]
    assert {one["token_ids"].shape for one in each} == {(1, width)}
    assert [np.count_nonzero(one["token_ids"]) for one in each] == [1, 3, 0, width]
    alone = np.concatenate([shares(served, one) for one in each])
    together = shares(served, as_served_in_a_batch(each))
    np.testing.assert_allclose(together, alone, atol=TOLERANCE)
    ended = shipped.build_request(info | {"end_token": 6}, token_ids=rows[3])
    assert arrays(ended)["token_ids"][0].tolist() == [4] * (width - 1) + [6]
    # What stands behind the width is not looked at; a narrow row would be lengthened with itself.
    whole = {"token_ids": np.array([rows[3]], np.int32)}
    np.testing.assert_allclose(shares(served, whole), alone[3:], atol=TOLERANCE)
    narrow = [{"token_ids": np.array([row], np.int32)} for row in rows[:2]]
    wrong = shares(served, as_served_in_a_batch(narrow))
    assert np.abs(wrong[0] - alone[0]).max() > 1e-4


def test_the_token_that_ends_word_pieces_is_told(tmp_path: Path) -> None:
    file = tmp_path / "assets" / "vocabulary.txt"
    file.parent.mkdir()
    assert _end_token(tmp_path) is None
    file.write_text("[PAD]\n[CLS]\n[SEP]\na\u2028b\n", encoding="utf-8")
    assert _end_token(tmp_path) == 2


def test_token_ids_on_the_command_line(
    tokens_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = module_of(tokens_bundle / "client.py")
    sent: list[Any] = []

    def send_request(address: str, request: Any) -> Any:
        sent.append(request)
        raise ValueError("heard")

    monkeypatch.setattr(shipped, "send_request", send_request)
    monkeypatch.setattr(sys, "argv", ["client.py", "--token-ids", "3", "2"])
    with pytest.raises(SystemExit):
        shipped.main()
    assert "heard" in capsys.readouterr().err
    assert arrays(sent[0])["token_ids"][0, :3].tolist() == [3, 2, 0]
