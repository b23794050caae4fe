"""TensorFlow Serving's gRPC services over the published stubs, and the health service.

Importing this module imports TensorFlow, see `messages`. What is not here (Classify, Regress,
MultiInference, HandleReloadConfigRequest) the stubs' base classes answer with UNIMPLEMENTED.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
import tensorflow as tf
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    model_service_pb2,
    model_service_pb2_grpc,
    predict_pb2,
    prediction_service_pb2,
    prediction_service_pb2_grpc,
)

from server import messages
from server.limits import Limits
from server.security import TokenInterceptor
from server.status import ServingError, invalid

if TYPE_CHECKING:
    from server.metrics import Metrics
    from server.model_server import ModelServer

LOG = logging.getLogger(__name__)
Service = TypeVar("Service")

NUM_THREADS = 64
# Of which some wait for a thread; more are refused with RESOURCE_EXHAUSTED.
MAX_CALLS = 2 * NUM_THREADS
# A message travels as trailer of an answer, whose size clients limit.
MESSAGE_CHARACTERS = 1000
SERVICES = (
    "",
    prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name,
    model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name,
)


class GrpcServer:
    """The services on one port.

    Args:
      model_server: answers.
      limits: `max_body_bytes` of a message, `drain_s` to stop.
      metrics: counts requests.
      token: asked for in the metadata; None asks for nothing.
    """

    def __init__(
        self, model_server: ModelServer, limits: Limits, metrics: Metrics, token: str | None
    ) -> None:
        self._drain_s = limits.drain_s
        self._threads = ThreadPoolExecutor(NUM_THREADS, thread_name_prefix="grpc")
        self._health = health.HealthServicer()
        self._server = grpc.server(
            self._threads,
            interceptors=[] if token is None else [TokenInterceptor(token)],
            maximum_concurrent_rpcs=MAX_CALLS,
            options=[
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", limits.max_body_bytes),
                ("grpc.max_send_message_length", limits.max_body_bytes),
                ("grpc.max_concurrent_streams", MAX_CALLS),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            Prediction(model_server, limits, metrics), self._server
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            Models(model_server, metrics), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def bind(self, address: str) -> int:
        """Takes the port of `HOST:PORT`; returns the real one. RuntimeError: not to be had."""
        port: int = self._server.add_insecure_port(address)
        return port

    def start(self) -> None:
        """Begins to answer."""
        self.set_serving(True)
        self._server.start()

    def set_serving(self, is_serving: bool) -> None:
        """What the health service tells of every service."""
        status = health_pb2.HealthCheckResponse
        for service in SERVICES:
            self._health.set(service, status.SERVING if is_serving else status.NOT_SERVING)

    def stop(self) -> None:
        """Refuses new calls, gives the running ones `drain_s`, then ends them."""
        self.set_serving(False)
        self._server.stop(self._drain_s).wait()
        self._threads.shutdown(wait=False, cancel_futures=True)


def answered(method: Callable[[Any, Any, Any], Any]) -> Callable[[Any, Any, Any], Any]:
    """Turns a ServingError into its code; what else fails is told to the log, not to the client."""

    @functools.wraps(method)
    def call(self: Any, request: Any, context: grpc.ServicerContext) -> Any:
        try:
            with self.metrics.timed("GRPC", method.__name__):
                return method(self, request, context)
        except ServingError as error:
            code, message = error.code, error.message
        except Exception:  # a defect of ours must not reach the client in its own words
            LOG.exception("%s failed", method.__name__)
            code, message = grpc.StatusCode.INTERNAL, "internal error"
        return context.abort(code, message[:MESSAGE_CHARACTERS])  # raises

    return call


# === Services ===


class Prediction(prediction_service_pb2_grpc.PredictionServiceServicer):
    """`tensorflow.serving.PredictionService`: Predict and GetModelMetadata."""

    def __init__(self, model_server: ModelServer, limits: Limits, metrics: Metrics) -> None:
        self._server = model_server
        self._limits = limits
        self.metrics = metrics

    @answered
    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """Inputs by name to outputs by name, all of them or those of `output_filter`."""
        name, version, label = _spec(request)
        if not context.is_active():
            raise ServingError(grpc.StatusCode.CANCELLED, "cancelled before it was begun")
        signature = request.model_spec.signature_name
        with self._server.prepare(name, version, label, signature) as (loaded, signature):
            specs = loaded.signatures[signature]
            wanted = _filtered(request.output_filter, loaded.signature_defs[signature].outputs)
            _require_names(request.inputs, specs)
            inputs = {
                key: messages.to_array(key, tensor, specs[key], self._limits.max_body_bytes)
                for key, tensor in request.inputs.items()
            }
            answer = self._server.run(loaded, signature, inputs, context.time_remaining())
        response = predict_pb2.PredictResponse()
        response.model_spec.name = name
        response.model_spec.version.value = answer.version
        response.model_spec.signature_name = answer.signature
        for key in wanted:
            response.outputs[key].CopyFrom(tf.make_tensor_proto(answer.outputs[key]))
        return response

    @answered
    def GetModelMetadata(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """The signatures, packed; after servables/tensorflow/get_model_metadata_impl.cc."""
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != messages.SIGNATURE_DEF:
                raise invalid(f"Metadata field {field[:100]} is not supported")
        name, version, label = _spec(request)
        loaded = self._server.metadata(name, version, label)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = name
        response.model_spec.version.value = loaded.number
        packed = messages.signature_map(loaded.signature_defs)
        response.metadata[messages.SIGNATURE_DEF].Pack(packed)
        return response


class Models(model_service_pb2_grpc.ModelServiceServicer):
    """`tensorflow.serving.ModelService`: GetModelStatus."""

    def __init__(self, model_server: ModelServer, metrics: Metrics) -> None:
        self._server = model_server
        self.metrics = metrics

    @answered
    def GetModelStatus(self, request: Any, context: grpc.ServicerContext) -> Any:  # noqa: N802
        """State of one version or of all."""
        return messages.model_status(self._server.statuses(*_spec(request)))


def _spec(request: Any) -> tuple[str, int | None, str | None]:
    """Name, version and label that a request asks for."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    chosen = spec.WhichOneof("version_choice")
    version = int(spec.version.value) if chosen == "version" else None
    return spec.name, version, spec.version_label if chosen == "version_label" else None


def _require_names(inputs: Any, specs: Any) -> None:
    """In the words of servables/tensorflow/predict_util.cc."""
    extra = sorted(set(inputs) - set(specs))
    missing = sorted(set(specs) - set(inputs))
    if extra or missing:
        told = ",".join(name[:60] for name in extra[:8])
        raise invalid(
            f"input size does not match signature: {len(inputs)}!={len(specs)}."
            f" Sent extra: {{{told}}}. Missing but required: {{{','.join(missing)}}}."
        )


def _filtered(output_filter: Any, outputs: Any) -> list[str]:
    """Outputs to send; all when nothing is filtered (servables/tensorflow/predict_util.cc)."""
    wanted = list(output_filter)
    for alias in wanted:
        if alias not in outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias[:100]}"
                f" Outputs expected to be in the set {{{','.join(sorted(outputs))}}}."
            )
    if len(set(wanted)) < len(wanted):
        raise invalid("duplicate output tensor alias")
    return wanted or sorted(outputs)
