"""TensorFlow Serving's gRPC methods with its published messages.

Importing this module imports TensorFlow, see `messages`. Other methods (Classify, Regress,
MultiInference, HandleReloadConfigRequest) are UNIMPLEMENTED.
"""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, Protocol

import grpc
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    get_model_status_pb2,
    model_service_pb2,
    predict_pb2,
    prediction_service_pb2,
)

from affectstream.server.errors import ServingError, invalid
from affectstream.server.grpc import messages
from affectstream.server.grpc.message_size import WireFormatError, check_num_fields
from affectstream.server.versions import arrays
from affectstream.serving.exported.version_folder import DEFAULT_SIGNATURE

if TYPE_CHECKING:
    from affectstream.server.limits import ServerLimits
    from affectstream.server.memory_quota import MemoryQuota, QuotaReservation
    from affectstream.server.versions.arrays import Arrays
    from affectstream.server.versions.loaded_version import LoadedVersion
    from affectstream.server.versions.model_server import ModelServer, PredictResult

PREDICTION = prediction_service_pb2.DESCRIPTOR.services_by_name["PredictionService"].full_name
MODEL = model_service_pb2.DESCRIPTOR.services_by_name["ModelService"].full_name

PREDICT = "Predict"
# Size limit of a status or metadata request, which names one model and one field.
MAX_STATUS_REQUEST_BYTES = 64 * 1024


class Method(Protocol):
    """One method; it blocks and runs in a thread.

    Args:
      received: a list with the message, which is removed from it, so that no other reference
        remains.
      reservation: holds the bytes of the message; grows by those of arrays.
      due_s: deadline of the client on the monotonic clock; None without a deadline.
    Returns:
      the serialised response.
    Raises:
      ServingError: the error for the client.
    """

    def __call__(
        self, received: list[bytes], reservation: QuotaReservation, due_s: float | None
    ) -> bytes: ...


class Services:
    """`tensorflow.serving.PredictionService` and `tensorflow.serving.ModelService`.

    Args:
      model_server: runs the requests.
      limits: `max_body_bytes`, also for an array.
      quota: shared by all requests.
    """

    def __init__(self, model_server: ModelServer, limits: ServerLimits, quota: MemoryQuota) -> None:
        self._server = model_server
        self._limits = limits
        self._quota = quota

    def methods(self) -> dict[str, dict[str, Method]]:
        """Service -> name -> method."""
        return {
            PREDICTION: {PREDICT: self._predict, "GetModelMetadata": self._metadata},
            MODEL: {"GetModelStatus": self._status},
        }

    # === Prediction ===

    def _predict(
        self, received: list[bytes], reservation: QuotaReservation, due_s: float | None
    ) -> bytes:
        """Maps inputs to outputs by name: all outputs or those in `output_filter`."""
        with contextlib.ExitStack() as leases:
            with self._quota.parse_slots:
                num_bytes = len(received[0])
                loaded, signature, inputs, wanted = self._read(received, reservation, leases)
            reservation.release(num_bytes)
            left_s = None if due_s is None else due_s - time.monotonic()
            answer = self._server.run(loaded, signature, inputs, left_s)
        return _response(self._server.store.name, answer, wanted)

    def _read(
        self, received: list[bytes], reservation: QuotaReservation, leases: contextlib.ExitStack
    ) -> tuple[LoadedVersion, str, Arrays, list[str]]:
        """Version, signature, inputs and requested outputs; the message itself is freed."""
        request = _parsed(predict_pb2.PredictRequest, received)
        loaded = leases.enter_context(self._server.lease_version(*_named_spec(request)))
        signature = request.model_spec.signature_name or DEFAULT_SIGNATURE
        if signature not in loaded.signatures:
            raise _unknown_signature(signature)
        specs = loaded.signatures[signature]
        arrays.check_names(specs, request.inputs)
        most = self._limits.max_body_bytes
        inputs = {
            key: messages.tensor_to_array(key, tensor, specs[key], most, reservation.add)
            for key, tensor in request.inputs.items()
        }
        wanted = _filtered(request.output_filter, loaded.signature_defs[signature].outputs)
        return loaded, signature, inputs, wanted

    # === About the model ===

    def _metadata(
        self, received: list[bytes], reservation: QuotaReservation, due_s: float | None
    ) -> bytes:
        """The packed signatures; follows servables/tensorflow/get_model_metadata_impl.cc."""
        request = _question(get_model_metadata_pb2.GetModelMetadataRequest, received)
        if not request.metadata_field:
            raise invalid("GetModelMetadataRequest must specify at least one metadata_field")
        for field in request.metadata_field:
            if field != messages.SIGNATURE_DEF:
                raise invalid(f"Metadata field {field[:100]} is not supported")
        name, version, label = _named_spec(request)
        loaded = self._server.metadata(name, version, label)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = name
        response.model_spec.version.value = loaded.number
        packed = messages.signature_map(loaded.signature_defs)
        response.metadata[messages.SIGNATURE_DEF].Pack(packed)
        return bytes(response.SerializeToString())

    def _status(
        self, received: list[bytes], reservation: QuotaReservation, due_s: float | None
    ) -> bytes:
        """State of one version or of all."""
        request = _question(get_model_status_pb2.GetModelStatusRequest, received)
        response = messages.model_status(self._server.statuses(*_spec(request)))
        return bytes(response.SerializeToString())


def _question(kind: Any, received: list[bytes]) -> Any:
    """Parses a small message at once, without waiting for large ones."""
    if len(received[0]) > MAX_STATUS_REQUEST_BYTES:
        name, most = kind.DESCRIPTOR.name, MAX_STATUS_REQUEST_BYTES
        raise invalid(f"{name}: {len(received[0])} bytes; at most {most} are read")
    return _parsed(kind, received)


def _parsed(kind: Any, received: list[bytes]) -> Any:
    try:
        check_num_fields(kind.DESCRIPTOR, received[0])
        return kind.FromString(received.pop())
    except (DecodeError, WireFormatError) as error:  # gRPC's own code for it
        text = f"this is no {kind.DESCRIPTOR.name}"
        raise ServingError(grpc.StatusCode.INTERNAL, text) from error


def _response(name: str, answer: PredictResult, wanted: list[str]) -> bytes:
    response = predict_pb2.PredictResponse()
    response.model_spec.name = name
    response.model_spec.version.value = answer.version
    response.model_spec.signature_name = answer.signature
    for key in wanted:
        response.outputs[key].CopyFrom(tf.make_tensor_proto(answer.outputs[key]))
    return bytes(response.SerializeToString())


def _spec(request: Any) -> tuple[str, int | None, str | None]:
    """Requested name, version and label."""
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")
    spec = request.model_spec
    chosen = spec.WhichOneof("version_choice")
    version = int(spec.version.value) if chosen == "version" else None
    return spec.name, version, spec.version_label if chosen == "version_label" else None


def _named_spec(request: Any) -> tuple[str, int | None, str | None]:
    """As `_spec`, but the name is required; error text of model_servers/server_core.cc."""
    spec = _spec(request)
    if not spec[0]:
        raise invalid("ModelSpec has no name specified.")
    return spec


def _unknown_signature(signature: str) -> ServingError:
    """Error text of tensorflow/serving, servables/tensorflow/predict_util.cc; REST differs."""
    text = f'Serving signature key "{signature[:64]}" not found.'
    return ServingError(grpc.StatusCode.FAILED_PRECONDITION, text)


def _filtered(output_filter: Any, outputs: Any) -> list[str]:
    """Outputs to send; all without a filter (servables/tensorflow/predict_util.cc)."""
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
