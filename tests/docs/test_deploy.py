"""Manifests of deploy/: as Kubernetes and KubeRay take them, with command lines that exist."""

from __future__ import annotations

import copy
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml

from affectstream.cli import COMMANDS, cli
from affectstream.commands.serve import TOKEN_VARIABLE
from affectstream.server import routes
from affectstream.server.limits import SHUTDOWN_TIMEOUT_S
from tests.conftest import ROOT
from tests.support.rayjob_schema import RAYJOB

DEPLOY = ROOT / "deploy"
KUBERNETES = "1.37"
PROBES = ("startupProbe", "readinessProbe", "livenessProbe")


def documents(name: str) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((DEPLOY / name).read_text("utf-8")))


EVERY = [
    (file.name, one["kind"], one)
    for file in sorted(DEPLOY.glob("*.yaml"))
    for one in documents(file.name)
]
(RAY_JOB,) = (one for _, kind, one in EVERY if kind == "RayJob")
CLUSTER: dict[str, Any] = RAY_JOB["spec"]["rayClusterSpec"]
RAY_GROUPS: list[dict[str, Any]] = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]


def check(one: dict[str, Any]) -> None:
    """As the API server would; of a RayJob also the pods within."""
    if one["kind"] != "RayJob":
        kubernetes_validate.validate(one, KUBERNETES, strict=True)
        return
    jsonschema.validate(one, RAYJOB)
    cluster = one["spec"]["rayClusterSpec"]
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        template = {"apiVersion": "v1", "kind": "PodTemplate", "template": group["template"]}
        kubernetes_validate.validate(template, KUBERNETES, strict=True)


def pods() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every pod that a manifest describes, with the name of its file."""
    for name, kind, one in EVERY:
        if kind == "Deployment":
            yield name, one["spec"]["template"]["spec"]
    for group in RAY_GROUPS:
        yield "rayjob.yaml", group["template"]["spec"]


def container(name: str) -> dict[str, Any]:
    (pod,) = (pod for file, pod in pods() if file == name)
    (only,) = pod["containers"]
    return dict(only)


# === Schemas ===


@pytest.mark.parametrize(("name", "kind", "one"), EVERY, ids=lambda one: str(one)[:20])
def test_manifests_keep_to_the_schema_of_their_kind(
    name: str, kind: str, one: dict[str, Any]
) -> None:
    check(one)


def _leaf(one: dict[str, Any], *way: str | int) -> Any:
    found: Any = one
    for key in way:
        found = found[key]
    return found


HEAD = ("spec", "rayClusterSpec", "headGroupSpec")
POD = ("template", "spec", "containers", 0)


@pytest.mark.parametrize(
    ("kind", "way", "key", "value"),
    [
        ("RayJob", ("spec",), "entryPoint", "x"),
        ("RayJob", ("spec",), "ttlSecondsAfterFinished", "600"),
        ("RayJob", HEAD, "rayStartParams", {"num-cpus": 0}),
        ("RayJob", HEAD, "template", None),
        ("RayJob", (*HEAD, *POD), "imagePullPolicies", "Always"),
        ("RayJob", ("spec", "rayClusterSpec", "workerGroupSpecs", 0), "replica", 4),
        ("Deployment", ("spec", *POD), "readynessProbe", {}),
        ("Deployment", ("spec",), "replicas", "two"),
        ("Service", ("spec", "ports", 0), "port", "grpc"),
    ],
)
def test_a_wrong_field_is_refused(
    kind: str, way: tuple[str | int, ...], key: str, value: object
) -> None:
    wrong = copy.deepcopy(next(one for _, other, one in EVERY if other == kind))
    _leaf(wrong, *way)[key] = value
    with pytest.raises(jsonschema.ValidationError):
        check(wrong)


# === What they say to each other ===


def test_names_are_the_same_on_both_sides() -> None:
    claims = {one["metadata"]["name"] for _, kind, one in EVERY if kind == "PersistentVolumeClaim"}
    for name, pod in pods():
        (volume,) = pod["volumes"]
        assert volume["persistentVolumeClaim"]["claimName"] in claims, name
        (only,) = pod["containers"]
        assert {mount["name"] for mount in only["volumeMounts"]} == {volume["name"]}
    for name in ("serve.yaml", "tf-serving.yaml"):
        deployment, service = documents(name)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        assert service["spec"]["selector"] == labels
        named = {port["name"] for port in container(name)["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= named
        for probe in PROBES:
            (how,) = (
                container(name)[probe][k]
                for k in ("httpGet", "tcpSocket")
                if k in container(name)[probe]
            )
            assert how["port"] in named


def test_processes_of_a_pod_fit_into_it() -> None:
    limit_gib = preparing().params["memory_limit_gb"]
    for group in CLUSTER["workerGroupSpecs"]:
        (only,) = group["template"]["spec"]["containers"]
        limits = only["resources"]["limits"]
        assert group["rayStartParams"]["num-cpus"] == limits["cpu"]
        assert int(limits["cpu"]) * limit_gib < int(limits["memory"].removesuffix("Gi"))


# === Command lines ===


def parsed(words: list[str]) -> click.Context:
    """The command of ours with its options, not run.

    Raises:
      click.UsageError: there is no such command or option, or a value is wrong.
    """
    name, *rest = words
    assert name in COMMANDS
    command = cli.get_command(click.Context(cli), name)
    assert command is not None
    return command.make_context(name, rest)


def preparing() -> click.Context:
    """The command line of the Ray job."""
    python, program, *words = shlex.split(RAY_JOB["spec"]["entrypoint"])
    assert (python, program) == ("/app/.venv/bin/python", "/app/cli.py")
    return parsed(words)


def test_the_ray_job_prepares_on_its_cluster() -> None:
    given = preparing()
    assert given.info_name == "preprocess"
    assert (given.params["engine"], given.params["address"]) == ("ray", "auto")
    assert given.params["workers"] is None
    for group in RAY_GROUPS:
        (mount,) = group["template"]["spec"]["containers"][0]["volumeMounts"]
        for where in (given.params["source"], given.params["out"]):
            assert where.is_relative_to(mount["mountPath"])


def test_our_server_is_started_with_options_that_it_has() -> None:
    one = container("serve.yaml")
    given = parsed(one["args"])
    assert given.info_name == "serve"
    assert given.params["model"].is_relative_to(one["volumeMounts"][0]["mountPath"])
    ports = {port["name"]: port["containerPort"] for port in one["ports"]}
    assert ports == {"rest": given.params["rest_port"], "grpc": given.params["grpc_port"]}
    assert [one[probe]["httpGet"]["path"] for probe in PROBES] == [
        routes.READY,
        routes.READY,
        routes.HEALTH,
    ]
    assert [variable["name"] for variable in one["env"]] == [TOKEN_VARIABLE]
    ((_, pod),) = (both for both in pods() if both[0] == "serve.yaml")
    assert pod["terminationGracePeriodSeconds"] > given.params["drain_s"] + SHUTDOWN_TIMEOUT_S


def test_a_misspelt_option_is_refused() -> None:
    with pytest.raises(click.NoSuchOption):
        parsed(["serve", "--modell=/data"])


def test_tensorflow_serving_is_started_as_in_the_bundle() -> None:
    template = ROOT / "serving" / "export" / "templates" / "docker-compose.yaml"
    service = yaml.safe_load(template.read_text("utf-8"))["services"]["serving"]
    one = container("tf-serving.yaml")
    assert one["image"] == service["image"]
    assert (one["command"], one["args"]) == (service["entrypoint"], service["command"])
    mounts = {mount["mountPath"]: mount["subPath"] for mount in one["volumeMounts"]}
    assert mounts == {"/bundle": "bundle", "/models": "bundle/models"}


# === Image ===


def pins(path: Path) -> dict[str, str]:
    lines = (line.partition("#")[0].strip() for line in path.read_text("utf-8").splitlines())
    return dict(line.split("==") for line in lines if "==" in line)


def test_the_image_has_the_ray_that_the_job_names() -> None:
    wanted = pins(ROOT / "requirements-cluster.txt")["ray"]
    asked = pins(DEPLOY / "requirements.txt")
    assert asked.pop("ray[default]") == wanted == CLUSTER["rayVersion"]
    assert not set(asked) & set(pins(ROOT / "constraints.txt"))
    images = {group["template"]["spec"]["containers"][0]["image"] for group in RAY_GROUPS}
    assert images == {"affectstream-ray:latest"}
    dockerfile = (DEPLOY / "Dockerfile").read_text("utf-8")
    assert "docker build -t affectstream-ray -f deploy/Dockerfile ." in dockerfile
    files = "-r deploy/requirements.txt -r requirements-cloud.txt -c constraints.txt"
    assert f"pip install -q {files}" in dockerfile
    ignored = (ROOT / ".dockerignore").read_text("utf-8").split()
    assert "/deploy" not in ignored
    users = re.findall(r"^USER (\w+)$", dockerfile, re.M)
    assert (
        users[-1] == re.findall(r"^USER (\w+)$", (ROOT / "Dockerfile").read_text("utf-8"), re.M)[-1]
    )
