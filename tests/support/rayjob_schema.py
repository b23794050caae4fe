"""The fields of a RayJob as a JSON schema: KubeRay's own is on no package index.

Source: ray-project/kuberay, ray-operator/apis/ray/v1/rayjob_types.go and raycluster_types.go. Only
fields that all its versions of `ray.io/v1` have, without status; pods are checked by Kubernetes's
schema.
"""

from __future__ import annotations

from typing import Any

TEXT, WHOLE, NUMBER, FLAG = ({"type": name} for name in ("string", "integer", "number", "boolean"))
ANY_OBJECT = {"type": "object"}
TEXTS = {"type": "object", "additionalProperties": TEXT}


def _object(required: tuple[str, ...] = (), **properties: Any) -> dict[str, Any]:
    """An object of these fields and no other."""
    return {
        "type": "object",
        "required": list(required),
        "properties": properties,
        "additionalProperties": False,
    }


_GROUP = {"rayStartParams": TEXTS, "template": ANY_OBJECT}
_HEAD = _object(
    ("rayStartParams", "template"),
    **_GROUP,
    serviceType=TEXT,
    headService=ANY_OBJECT,
    enableIngress=FLAG,
)
_WORKERS = _object(
    ("groupName", "maxReplicas", "minReplicas", "rayStartParams", "template"),
    **_GROUP,
    groupName=TEXT,
    replicas=WHOLE,
    minReplicas=WHOLE,
    maxReplicas=WHOLE,
    numOfHosts=WHOLE,
    scaleStrategy=_object(workersToDelete={"type": "array", "items": TEXT}),
)
_CLUSTER = _object(
    ("headGroupSpec",),
    headGroupSpec=_HEAD,
    workerGroupSpecs={"type": "array", "items": _WORKERS},
    rayVersion=TEXT,
    enableInTreeAutoscaling=FLAG,
    autoscalerOptions=ANY_OBJECT,
    headServiceAnnotations=TEXTS,
    suspend=FLAG,
)
_SPEC = _object(
    activeDeadlineSeconds=WHOLE,
    backoffLimit=WHOLE,
    clusterSelector=TEXTS,
    entrypoint=TEXT,
    entrypointNumCpus=NUMBER,
    entrypointNumGpus=NUMBER,
    entrypointResources=TEXT,
    jobId=TEXT,
    metadata=TEXTS,
    rayClusterSpec=_CLUSTER,
    runtimeEnvYAML=TEXT,
    shutdownAfterJobFinishes=FLAG,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    submitterConfig=_object(backoffLimit=WHOLE),
    submitterPodTemplate=ANY_OBJECT,
    suspend=FLAG,
    ttlSecondsAfterFinished=WHOLE,
)
RAYJOB = _object(
    ("apiVersion", "kind", "metadata", "spec"),
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=ANY_OBJECT,
    spec=_SPEC,
)
