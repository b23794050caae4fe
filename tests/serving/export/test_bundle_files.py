"""Files beside the versions of a bundle, each read by what will read it, as far as that is here.

No TensorFlow Serving runs here. For two of its settings there are no protos: they are read against
the fields below, copied from its sources by name and number.
"""

from __future__ import annotations

import json
import re
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from affectstream.serving.export import warmup
from tests.conftest import ROOT
from tests.support.bundles import models_config
from tests.support.models import LABELS

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


def test_batching_config_is_read_by_its_protobuf(bundle: Path) -> None:
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


def test_monitoring_config_is_read_by_its_protobuf(bundle: Path) -> None:
    text = (bundle / "monitoring.config").read_text(encoding="utf-8")
    empty = _message("MonitoringConfig", PrometheusConfig=PROMETHEUS, MonitoringConfig=MONITORING)
    made = text_format.Parse(text, empty)
    assert made.prometheus_config.enable is True
    assert made.prometheus_config.path == "/monitoring/prometheus/metrics"


# === docker-compose.yaml ===


def test_compose_mounts_what_is_there(bundle: Path) -> None:
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


@pytest.mark.parametrize("which", ["bundle", "words_bundle", "tokens_bundle"])
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


def test_the_body_of_tokens_is_as_wide_as_all_requests(tokens_bundle: Path) -> None:
    body = json.loads((tokens_bundle / "request.json").read_text(encoding="utf-8"))
    facts = json.loads((tokens_bundle / "client.json").read_text(encoding="utf-8"))
    (row,) = body["inputs"]["token_ids"]
    assert len(row) == facts["max_tokens"] > 1
    assert (row[0], set(row[1:])) == (1, {0})


# With a real curl against a server: test_bundle_client.
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
    kept = ["Makefile", "requirements.txt", "scripts", "cli.py", "serving", "modeling", "commands"]
    kept += ["server", "server/page/static/index.html"]
    assert all((ROOT / name).exists() for name in kept)
    assert not {name for name in kept if {name, f"/{name}"} & set(ignored)}
    assert {".git", ".venv", "/data", "/runs", "/exports"} <= set(ignored)
    kinds = [kind for kind, _ in steps]
    assert dict(steps)["USER"] not in ("root", "0")
    assert kinds.index("USER") > max(i for i, kind in enumerate(kinds) if kind == "RUN")
    assert json.loads(dict(steps)["ENTRYPOINT"]) == ["python", "cli.py"]
