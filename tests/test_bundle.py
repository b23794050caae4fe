"""`export --serving`: every file of a bundle is read by what will read it, as far as that is here.

No TensorFlow Serving runs here. Its own protos read `models.config` and the warm-up; the other two
settings are read against the fields below, copied from its sources by name and number.
"""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from types import ModuleType
from typing import Any

import grpc
import numpy as np
import pytest
import soundfile
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2, prediction_service_pb2_grpc
from tensorflow_serving.config import model_server_config_pb2

from errors import EXIT_NOTHING_DONE, EXIT_OK, EXIT_USAGE
from modeling.run_folder import RUN
from serving import bundle as module
from serving import warmup
from serving.model_card import model_card
from tests.conftest import ROOT
from tests.models import LABELS, run, the_one_line, train, write_data
from tests.models import records as make_records

TOLERANCE = 1e-5
# tensorflow/serving, tensorflow_serving/servables/tensorflow/session_bundle_config.proto:
# BatchingParameters, field -> (number, type); the messages are google.protobuf's wrappers.
BATCHING = {
    "max_batch_size": (1, "Int64Value"),
    "batch_timeout_micros": (2, "Int64Value"),
    "max_enqueued_batches": (3, "Int64Value"),
    "num_batch_threads": (4, "Int64Value"),
    "thread_pool_name": (5, "StringValue"),
    "allowed_batch_sizes": (6, "repeated int64"),
    "pad_variable_length_inputs": (7, "bool"),
}
# tensorflow/serving, tensorflow_serving/config/monitoring_config.proto.
PROMETHEUS = {"enable": (1, "bool"), "path": (2, "string")}
MONITORING = {"prometheus_config": (1, "PrometheusConfig")}


# === What is written once ===


def copied(version: Path) -> Callable[..., Path]:
    """In place of `export`, which takes its time: an earlier version once more."""

    def export(run: Path, out: Path, number: int, text_input: str) -> Path:
        return shutil.copytree(version, out / str(number))

    return export


@pytest.fixture(scope="module")
def bundle(fusion_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of sound and face."""
    folder = tmp_path_factory.mktemp("bundle") / "served"
    words = ("export", "--run", fusion_run, "--serving", folder)
    assert run(*words, "--name", "both") == EXIT_OK
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "export", copied(folder / "models" / "both" / "1"))
        assert run(*words) == EXIT_OK
    return folder


@pytest.fixture(scope="module")
def words_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One version of words, under the name of its run folder."""
    home = tmp_path_factory.mktemp("words")
    data = write_data(home / "data", make_records(streams=("text",)), synthetic=True)
    assert train(home / "my words", "--epochs", 1, stream="text", data=data) == EXIT_OK
    assert run("export", "--run", home / "my words", "--serving", home / "served") == EXIT_OK
    return home / "served"


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Any:
    return tf.saved_model.load(str(bundle / "models" / "both" / "2"))


@pytest.fixture(scope="module")
def client(bundle: Path) -> ModuleType:
    return module_of(bundle / "client.py")


def module_of(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("shipped_client", path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def models_config(folder: Path) -> Any:
    text = (folder / "models.config").read_text(encoding="utf-8")
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (config,) = parsed.model_config_list.config
    return config


def files_below(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


# === Versions and models.config ===


def test_two_versions_and_their_labels(bundle: Path) -> None:
    config = models_config(bundle)
    assert (config.name, config.base_path) == ("both", "/models/both")
    assert config.model_platform == "tensorflow"
    assert config.model_version_policy.WhichOneof("policy_choice") == "all"
    assert dict(config.version_labels) == {"stable": 1, "canary": 2}
    assert sorted(path.name for path in (bundle / "models" / "both").iterdir()) == ["1", "2"]
    assert {path.name for path in bundle.iterdir()} == {
        *module.TEMPLATE_NAMES,
        *("models", "models.config", "client.json", "request.json", "MODEL_CARD.md"),
    }


def test_one_version_is_stable_and_canary(words_bundle: Path) -> None:
    config = models_config(words_bundle)
    assert config.name == "my-words"
    assert dict(config.version_labels) == {"stable": 1, "canary": 1}


def test_labels_of_many_versions() -> None:
    text = module.models_config("m", [2, 9, 10])
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    labels = dict(parsed.model_config_list.config[0].version_labels)
    assert labels == {"stable": 9, "canary": 10}


# === Batching and monitoring, which the wheel has no protos for ===


def _message(name: str, **messages: dict[str, tuple[int, str]]) -> Any:
    """An empty message of the type `name` from tables of fields."""
    field_type = descriptor_pb2.FieldDescriptorProto
    scalars = {
        "bool": field_type.TYPE_BOOL,
        "int64": field_type.TYPE_INT64,
        "string": field_type.TYPE_STRING,
    }
    file = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="x", syntax="proto3")
    file.dependency.append("google/protobuf/wrappers.proto")
    for message, fields in messages.items():
        descriptor = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            added = descriptor.field.add(name=field, number=number)
            repeated, _, kind = kind.rpartition(" ")
            added.label = field_type.LABEL_REPEATED if repeated else field_type.LABEL_OPTIONAL
            if kind in scalars:
                added.type = scalars[kind]
            else:
                added.type = field_type.TYPE_MESSAGE
                package = "google.protobuf" if kind.endswith("Value") else "x"
                added.type_name = f".{package}.{kind}"
    pool = descriptor_pool.DescriptorPool()
    from google.protobuf import wrappers_pb2

    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"x.{name}"))()


def test_batching_config(bundle: Path) -> None:
    text = (bundle / "batching.config").read_text(encoding="utf-8")
    made = text_format.Parse(text, _message("BatchingParameters", BatchingParameters=BATCHING))
    assert made.pad_variable_length_inputs is True
    assert made.max_batch_size.value >= max(warmup.BATCH_SIZES)
    assert 0 < made.batch_timeout_micros.value <= 10_000
    assert made.num_batch_threads.value >= 1
    assert made.max_enqueued_batches.value >= 1
    assert list(made.allowed_batch_sizes) == []
    with pytest.raises(text_format.ParseError):
        wrong = text.replace("max_batch_size", "maximum_batch_size")
        text_format.Parse(wrong, _message("BatchingParameters", BatchingParameters=BATCHING))


def test_monitoring_config(bundle: Path) -> None:
    text = (bundle / "monitoring.config").read_text(encoding="utf-8")
    empty = _message("MonitoringConfig", PrometheusConfig=PROMETHEUS, MonitoringConfig=MONITORING)
    made = text_format.Parse(text, empty)
    assert made.prometheus_config.enable is True
    assert made.prometheus_config.path == "/monitoring/prometheus/metrics"


# === Warm-up ===


def warmup_of(version: Path) -> list[predict_pb2.PredictRequest]:
    logs = []
    for record in tf.data.TFRecordDataset(str(version / warmup.WARMUP_FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        logs.append(log.predict_log.request)
    return logs


def test_warmup_is_answered_by_the_saved_model(bundle: Path, loaded: Any) -> None:
    found = warmup_of(bundle / "models" / "both" / "2")
    sizes: dict[str, list[int]] = {}
    for request in found:
        assert request.model_spec.name == "both"
        made = warmup.replay(loaded, request)
        (rows,) = {len(value) for value in made.values()}
        sizes.setdefault(request.model_spec.signature_name, []).append(rows)
        if "probabilities" in made:
            np.testing.assert_allclose(made["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert sizes == {name: [1, 8] for name in loaded.signatures}


def test_warmup_of_words(words_bundle: Path) -> None:
    version = words_bundle / "models" / "my-words" / "1"
    served = tf.saved_model.load(str(version))
    found = warmup_of(version)
    assert {request.model_spec.signature_name for request in found} == set(served.signatures)
    for request in found:
        assert len(warmup.replay(served, request)) >= 1


def test_what_no_request_can_be_made_for() -> None:
    known = {"audio": warmup.Spec("float32", (None, None))}
    assert warmup.can_make(known)
    assert warmup.can_make({"any": warmup.Spec("object", (None,))})
    assert not warmup.can_make(known | {"depth": warmup.Spec("float32", (None, None))})
    assert not warmup.can_make({})


def test_a_failing_warmup_stops_the_export(
    bundle: Path, fusion_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def narrow(spec: warmup.Spec, config: dict[str, Any]) -> np.ndarray:
        return np.zeros(
            (warmup.NUM_FRAMES + 1, *(size or 1 for size in spec.shape[2:]))
        )  # more frames than mask

    monkeypatch.setitem(warmup._MAKERS, "video", narrow)
    monkeypatch.setattr(module, "export", copied(bundle / "models" / "both" / "1"))
    folder = tmp_path / "served"
    assert run("export", "--run", fusion_run, "--serving", folder) == EXIT_NOTHING_DONE
    assert "fails on its warm-up" in the_one_line(capfd.readouterr().err)
    assert not folder.exists()


# === docker-compose.yaml ===


def test_compose(bundle: Path) -> None:
    read = yaml.safe_load((bundle / "docker-compose.yaml").read_text(encoding="utf-8"))
    services = read["services"]
    assert [service["profiles"] for service in services.values()] == [["cpu"], ["gpu"]]
    for service, ending in zip(services.values(), ("", "-gpu"), strict=True):
        assert re.fullmatch(rf"tensorflow/serving:\d+\.\d+\.\d+{ending}", service["image"])
        mounts = dict(volume.split(":")[1::-1] for volume in service["volumes"])
        assert all((bundle / source).is_dir() for source in mounts.values())
        assert all(volume.endswith(":ro") for volume in service["volumes"])
        flags = dict(word.removeprefix("--").split("=") for word in service["command"])
        for name in ("model_config", "batching_parameters", "monitoring_config"):
            inside = Path(flags[f"{name}_file"])
            assert (bundle / mounts[str(inside.parent)] / inside.name).is_file()
        base = Path(models_config(bundle).base_path)
        assert (bundle / mounts[str(base.parent)] / base.name / "1" / "saved_model.pb").is_file()
        assert (flags["port"], flags["rest_api_port"]) == ("8500", "8501")
        assert {flags["enable_batching"], flags["allow_version_labels_for_unavailable_models"]} == {
            "true"
        }
        assert service["ports"] == ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    (device,) = services["serving-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])
    assert "deploy" not in services["serving"]


# === request.sh ===


@pytest.mark.parametrize("which", ["bundle", "words_bundle"])
def test_the_body_is_what_the_signature_takes(which: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    name = models_config(folder).name
    body = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    served = tf.saved_model.load(str(folder / "models" / name / "1"))
    signature = served.signatures[body["signature_name"]]
    specs = signature.structured_input_signature[1]
    assert set(body["inputs"]) == set(specs)
    given = {key: tf.constant(body["inputs"][key], specs[key].dtype) for key in specs}
    assert all(specs[key].shape.is_compatible_with(given[key].shape) for key in specs)
    made = signature(**given)
    assert made["probabilities"].shape == (1, len(LABELS))
    assert made["label"].numpy()[0].decode() in LABELS


def test_request_sh_calls_curl(bundle: Path, tmp_path: Path) -> None:
    script = bundle / "request.sh"
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
    assert script.stat().st_mode & stat.S_IXUSR
    fake = tmp_path / "curl"
    fake.write_text('#!/bin/sh\npwd\nprintf "%s\\n" "$@"\n')
    fake.chmod(0o755)
    for words, wanted in (
        ([], "http://127.0.0.1:8501/v1/models/both:predict"),
        (["host:1", "stable"], "http://host:1/v1/models/both/labels/stable:predict"),
    ):
        done = subprocess.run(
            [str(script), *words],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            capture_output=True,
            text=True,
            check=True,
            cwd=tmp_path,
        )
        lines = done.stdout.splitlines()
        assert (lines[0], lines[-1]) == (str(bundle), wanted)
        assert "@request.json" in lines


# === client.py ===


def clip(seed: int, num_frames: int, num_samples: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    faces = rng.integers(0, 256, (num_frames, 32, 32, 1)).astype(np.uint8)
    return rng.normal(0, 0.1, num_samples).astype(np.float32), faces


def arrays(request: Any) -> dict[str, np.ndarray]:
    return {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}


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


def shares(loaded: Any, inputs: dict[str, Any]) -> np.ndarray:
    given = {name: tf.constant(value) for name, value in inputs.items()}
    return loaded.signatures["serving_default"](**given)["probabilities"].numpy()


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
    facts = client.read_facts()
    request = client.build_request(facts, waveform, faces)
    direct = {
        "audio": waveform[None],
        "audio_length": np.array([20_000], np.int32),
        "video": faces[None],
        "video_mask": np.ones((1, 3), bool),
    }
    np.testing.assert_allclose(
        shares(loaded, arrays(request)), shares(loaded, direct), atol=TOLERANCE
    )
    nothing = arrays(client.build_request(facts))
    assert nothing["audio_length"].tolist() == [0] and not nothing["video_mask"].any()
    assert all(value.size for value in nothing.values())
    sound_only = {**direct, "video_mask": np.zeros((1, 3), bool)}
    np.testing.assert_allclose(
        shares(loaded, arrays(client.build_request(facts, waveform))),
        shares(loaded, sound_only),
        atol=TOLERANCE,
    )


def test_client_is_answered_alike_alone_and_in_a_padded_batch(
    client: ModuleType, loaded: Any
) -> None:
    facts = client.read_facts()
    clips = [clip(1, 2, 9_000), clip(2, 9, 30_000), clip(3, 1, 500)]
    each = [arrays(client.build_request(facts, *one)) for one in clips]
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


class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers from a SavedModel."""

    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802  (the stub's name)
        request.model_spec.signature_name = "serving_default"
        response = predict_pb2.PredictResponse()
        response.model_spec.version.value = 2
        for name, value in warmup.replay(self._loaded, request).items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(value))
        return response


@pytest.fixture
def address(loaded: Any) -> Iterator[str]:
    server = grpc.server(futures.ThreadPoolExecutor(1))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Servicer(loaded), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield f"127.0.0.1:{port}"
    server.stop(None).wait()


def test_client_over_grpc(
    client: ModuleType,
    loaded: Any,
    address: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    waveform, faces = clip(4, 3, 16_000)
    soundfile.write(tmp_path / "a.wav", waveform, 16_000, subtype="PCM_16")
    np.save(tmp_path / "a.npy", faces)
    words = ["--address", address, "--wav", tmp_path / "a.wav", "--faces", tmp_path / "a.npy"]
    monkeypatch.setattr(sys, "argv", ["client.py", *map(str, words)])
    assert client.main() == 0
    answer = json.loads(capsys.readouterr().out)
    read = client.read_wav(tmp_path / "a.wav", 16_000)
    wanted = shares(loaded, arrays(client.build_request(client.read_facts(), read, faces)))[0]
    assert list(answer["probabilities"]) == list(LABELS)
    np.testing.assert_allclose(list(answer["probabilities"].values()), wanted, atol=2e-6)
    assert answer["label"] == LABELS[int(wanted.argmax())]
    assert answer["version"] == 2


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
    facts = client.read_facts()
    with pytest.raises(ValueError, match="takes no text"):
        client.build_request(facts, text="hello")
    with pytest.raises(ValueError, match=r"the model takes \(frames, 32, 32, 1\) uint8"):
        client.build_request(facts, faces=np.zeros((2, 64, 64, 1), np.uint8))
    soundfile.write(tmp_path / "a.wav", np.zeros(80), 8_000, subtype="PCM_16")
    with pytest.raises(ValueError, match="16-bit PCM at 16000 Hz; convert it: ffmpeg"):
        client.read_wav(tmp_path / "a.wav", 16_000)


def test_client_of_words(words_bundle: Path) -> None:
    shipped = module_of(words_bundle / "client.py")
    served = tf.saved_model.load(str(words_bundle / "models" / "my-words" / "1"))
    request = shipped.build_request(shipped.read_facts(), text="furious shout", label="stable")
    assert request.model_spec.version_label == "stable"
    assert arrays(request)["text"].tolist() == [b"furious shout"]
    assert shares(served, arrays(request)).shape == (1, len(LABELS))


# === MODEL_CARD.md ===


def test_card(bundle: Path, words_bundle: Path) -> None:
    card = (bundle / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert card.startswith("# both 2\n")
    for wanted in ("Article 5(1)(f)", "acted is not felt", "CC0 1.0", ", ".join(LABELS)):
        assert wanted in card
    assert "SYNTHETIC" not in card and "LEAK" not in card
    assert "not evaluated on a test part" in card
    assert "SYNTHETIC" in (words_bundle / "MODEL_CARD.md").read_text(encoding="utf-8")


def test_card_with_scores_and_stamps(bundle: Path) -> None:
    config = json.loads((bundle / "models/both/2/assets/config.json").read_text(encoding="utf-8"))
    scores = {
        "split": "test",
        "uar": 0.5,
        "uar_ci95": [0.4, 0.61],
        "wa": 0.25,
        "macro_f1": 0.45,
        "ece": 0.1,
        "num_clips": 40,
        "num_speakers": 4,
        "leak_allowed": False,
    }
    card = model_card(config, scores)
    assert "| test | 0.500 (0.400 to 0.610) | 0.250 | 0.450 | 0.100 | 40 | 4 |" in card
    assert (
        f"| validation, audio alone | {config['parts']['audio']['scores']['val_uar']:.3f}" in card
    )
    assert "LEAK" not in card
    assert "scored on what it was trained on" in model_card(config, scores | {"leak_allowed": True})
    assert "across a crossing" in model_card(config | {"leak_allowed": True})
    recipe = config["recipe"] | {"encoder": "bert", "encoder_settings": {"weights": "/some/bert"}}
    based = model_card(config | {"recipe": recipe})
    assert "published weights (/some/bert), licence: Apache-2.0" in based


# === Dockerfile ===


def test_dockerfile_goes_the_way_of_make() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
    typed = " && ".join(word for kind, word in steps if kind == "RUN")
    targets = re.findall(r"\bmake (\.\S+)", typed)
    rules = dict(re.findall(r"^([.\w/-]+): (.*)$", makefile, re.M))
    assert targets == [".venv/.installed", ".venv/.libraries"]
    assert set(targets[1:]) <= set(rules["test"].split())  # which CI runs
    assert "pip install -r requirements.txt -c constraints.txt" in re.sub(
        r"\$\(PIP\)", "pip", makefile
    )
    assert "pip" not in typed
    assert steps[0] == ["FROM", "python:3.11-slim"]
    # What the first target needs is copied before it; what is copied is there and not left out.
    first = next(word for kind, word in steps if kind == "COPY").split()
    needed = {word for word in rules[".venv/.installed"].split() if not word.startswith(".venv")}
    assert needed <= set(first)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    kept = ("Makefile", "requirements.txt", "scripts", "cli.py", "serving", "modeling", "commands")
    assert all((ROOT / name).exists() for name in kept)
    assert not {name for name in kept if {name, f"/{name}"} & set(ignored)}
    assert {".git", ".venv", "/data", "/runs", "/exports"} <= set(ignored)
    kinds = [kind for kind, _ in steps]
    assert dict(steps)["USER"] not in ("root", "0")
    assert kinds.index("USER") > max(i for i, kind in enumerate(kinds) if kind == "RUN")
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["python", "cli.py"]


# === Interrupted, refused ===


def test_an_interrupted_export_leaves_the_bundle_as_it_was(
    bundle: Path, fusion_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(saved: Path, name: str) -> list[str]:
        assert (saved / "saved_model.pb").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(warmup, "write", interrupted)
    monkeypatch.setattr(module, "export", copied(bundle / "models" / "both" / "1"))
    before = files_below(bundle)
    assert run("export", "--run", fusion_run, "--serving", bundle) == 130
    assert files_below(bundle) == before
    fresh = tmp_path / "fresh"
    assert run("export", "--run", fusion_run, "--serving", fresh) == 130
    assert not fresh.exists()


def test_a_cut_off_bundle_is_gone_on_with(
    bundle: Path, fusion_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "served"
    leftover = folder / "models" / "both" / "export.part-x1" / "1"
    leftover.mkdir(parents=True)
    (folder / "client.py").write_text("")
    monkeypatch.setattr(module, "export", copied(bundle / "models" / "both" / "1"))
    assert run("export", "--run", fusion_run, "--serving", folder, "--name", "both") == EXIT_OK
    assert [path.name for path in (folder / "models" / "both").iterdir()] == ["1"]
    assert dict(models_config(folder).version_labels) == {"stable": 1, "canary": 1}
    assert {path.name for path in folder.iterdir()} == {path.name for path in bundle.iterdir()}


def test_bad_input_is_one_line(
    bundle: Path, fusion_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    info = json.loads((fusion_run / RUN).read_text(encoding="utf-8"))
    (unfinished / RUN).write_text(json.dumps(info | {"finished": False}), encoding="utf-8")
    (unfinished / "best.keras").write_bytes((fusion_run / "best.keras").read_bytes())
    new = tmp_path / "new"
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((fusion_run, other), "not empty and not a bundle (thesis.txt is there"),
        ((fusion_run, other / "thesis.txt"), "a file; --serving wants a folder"),
        ((unfinished, new), "unfinished run; finish it with"),
        ((other, new), "not a run folder"),
        ((fusion_run, new, "--name", "../up"), "--name '../up': not a name"),
        ((fusion_run, new, "--name", ""), "--name '': not a name"),
        ((fusion_run, bundle, "--name", "else"), "holds the model both; use --name both"),
        ((fusion_run, bundle, "--version", 1), "versions are never overwritten"),
    ]
    for (given, folder, *words), wanted in cases:
        capfd.readouterr()
        code = run("export", "--run", given, "--serving", folder, *words)
        assert code == EXIT_NOTHING_DONE
        assert wanted in the_one_line(capfd.readouterr().err)
    assert not new.exists()
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "words", [(), ("--out", "x", "--serving", "y"), ("--out", "x", "--name", "z")]
)
def test_options_that_do_not_go_together(words: tuple[str, ...], tmp_path: Path) -> None:
    assert run("export", "--run", tmp_path, *words) == EXIT_USAGE
