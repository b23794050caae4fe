"""One version of a model in memory: its signatures, run on arrays."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc

from affectstream.core import tf_setup
from affectstream.core.errors import UserError
from affectstream.server.errors import ServingError, invalid
from affectstream.server.versions.arrays import Arrays
from affectstream.serving.exported.savedmodel_audit import require_safe
from affectstream.serving.exported.version_folder import (
    CONFIG_ASSET,
    DEFAULT_SIGNATURE,
    check_config,
    read_checked_config,
    read_config,
    read_vocabulary,
    version_number,
)

LOG = logging.getLogger(__name__)
MAX_MESSAGE = 300
PROBABILITIES = "probabilities"
# Parts of TensorFlow's messages that surround the useful line: "2 root error(s) found", names of
# nodes and functions, "assertion failed: [...]".
NODE = re.compile(r"\n\s*\[\[")
BRACES = re.compile(r"\{\{[^}]*\}\}\s*")
OPERATION = re.compile(r"\s*(?:\[Op:[^\]]*\]|\[\[.*?\]\]).*$")
NUMBER_PREFIX_PATTERN = re.compile(r"^\(\d+\)\s*(?:[A-Z_]+:)?\s*")
ASSERTION_PATTERN = re.compile(r"^assertion failed: \[(.*)\]$")
PATH = re.compile(r"(?<![\w/])/(?:[\w.@+-]+/)+[\w.@+-]*")


class LoadedVersion:
    """A version that is ready to run.

    Args:
      number: version number.
      folder: source folder.
      config: `assets/config.json`.
      signatures: input specs of each public signature.
      signature_defs: from `saved_model.pb`, for the metadata.
      functions: signature -> concrete function of the loaded SavedModel.
      saved: the SavedModel, which keeps the functions' variables alive.
      vocabulary: `assets/vocabulary.txt`; empty for a model without text.
    """

    def __init__(
        self,
        number: int,
        folder: Path,
        config: dict[str, Any],
        signatures: dict[str, Any],
        signature_defs: Mapping[str, Any],
        functions: Mapping[str, Any],
        saved: Any = None,
        vocabulary: Sequence[str] = (),
    ) -> None:
        self.number = number
        self.folder = folder
        self.config = config
        self.signatures = signatures
        self.signature_defs = signature_defs
        self.vocabulary = vocabulary
        self._functions = dict(functions)
        self._saved = saved

    def __repr__(self) -> str:
        return f"LoadedVersion({self.number}, {', '.join(self.signatures)})"

    def run(self, signature: str, inputs: Arrays) -> Arrays:
        """Runs one batch; thread-safe.

        Args:
          inputs: checked (`arrays.check_inputs`) and merged.
        Returns:
          output -> (rows, ...); strings as object arrays of bytes.
        Raises:
          ServingError: INVALID_ARGUMENT with the model's message, RESOURCE_EXHAUSTED if memory is
            short, else INTERNAL.
        """
        import tensorflow as tf

        function = self._functions[signature]
        try:
            tensors = {name: tf.constant(value) for name, value in inputs.items()}
            return {name: value.numpy() for name, value in function(**tensors).items()}
        except tf.errors.InvalidArgumentError as error:
            raise invalid(client_message(str(error.message))) from error
        except (tf.errors.ResourceExhaustedError, MemoryError) as error:
            message = "not enough memory for this request; send fewer rows or frames"
            raise ServingError(grpc.StatusCode.RESOURCE_EXHAUSTED, message) from error
        except (tf.errors.OpError, TypeError, ValueError) as error:
            LOG.exception("version %d, signature %s failed", self.number, signature)
            message = f"the model failed on this request ({type(error).__name__})"
            raise ServingError(grpc.StatusCode.INTERNAL, message) from error

    def warm_up(self) -> int:
        """Replays the warm-up requests of the version, if it has any.

        Returns:
          number of requests.
        Raises:
          UserError: damaged requests, or one fails; TensorFlow Serving does not load such a version
            either (tensorflow/serving, servables/tensorflow/saved_model_warmup_util.cc).
        """
        import tensorflow as tf
        from google.protobuf.message import DecodeError
        from tensorflow_serving.apis import prediction_log_pb2

        from affectstream.modeling.data.no_autotune import without_autotune
        from affectstream.serving.export.warmup import WARMUP_FILE

        file = self.folder / WARMUP_FILE
        if not file.is_file():
            return 0
        number = 0
        try:
            for record in without_autotune(tf.data.TFRecordDataset(str(file))).as_numpy_iterator():
                log = prediction_log_pb2.PredictionLog.FromString(record)
                request = log.predict_log.request
                inputs = {name: tf.make_ndarray(tensor) for name, tensor in request.inputs.items()}
                self.run(request.model_spec.signature_name, inputs)
                number += 1
        except (ServingError, tf.errors.OpError, DecodeError, KeyError, ValueError) as error:
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise UserError(
                f"{self.folder}: warm-up request {number + 1} fails ({first}); export it again"
            ) from error
        return number

    def close(self) -> None:
        """Frees the model's memory; nothing may run afterwards."""
        self._functions.clear()
        self._saved = None
        gc.collect()  # a loaded SavedModel has reference cycles


def load_version(folder: Path) -> LoadedVersion:
    """Loads one exported version after checking that its graph is safe.

    Args:
      folder: folder of the version; its name is the version number, 1 if it is not a number.
    Raises:
      UserError: not an export, unsafe, damaged, changed in the meantime, or with a config that does
        not match.
    """
    file = folder / "assets" / CONFIG_ASSET
    if file.is_file():
        read_checked_config(file)
    checked = require_safe(folder)
    tf_setup.import_tensorflow()
    from affectstream.serving.export.savedmodel_export import load_saved_model
    from affectstream.serving.export.warmup import public_signatures

    definitions = checked.signature_defs
    signatures = public_signatures(definitions)
    try:
        config, saved = read_config(checked.folder), load_saved_model(checked.folder)
        vocabulary = read_vocabulary(checked.folder)
    except UserError as error:  # with the path that the caller used
        raise UserError(str(error).replace(str(checked.folder), str(folder))) from error
    checked.require_unchanged()
    check_config(config, file, _num_outputs(definitions))
    functions = {name: saved.signatures[name] for name in signatures}
    number = version_number(folder) or 1
    return LoadedVersion(
        number, folder, config, signatures, definitions, functions, saved, vocabulary
    )


def _num_outputs(definitions: Mapping[str, Any]) -> int | None:
    """Last dimension of the probabilities; None if the model leaves it open."""
    if (
        DEFAULT_SIGNATURE not in definitions
        or PROBABILITIES not in definitions[DEFAULT_SIGNATURE].outputs
    ):
        return None
    sizes = [d.size for d in definitions[DEFAULT_SIGNATURE].outputs[PROBABILITIES].tensor_shape.dim]
    return sizes[-1] if sizes and sizes[-1] >= 0 else None


def client_message(message: str) -> str:
    """The useful line of a TensorFlow error for the client, without paths."""
    lines = [line.strip() for line in NODE.split(message)[0].splitlines() if line.strip()]
    line = OPERATION.sub("", BRACES.sub("", lines[-1])) if lines else ""
    line = NUMBER_PREFIX_PATTERN.sub("", line)
    asserted = ASSERTION_PATTERN.match(line)
    line = PATH.sub("(path)", asserted[1] if asserted else line)
    return line[:MAX_MESSAGE] or "the model refused this request"
