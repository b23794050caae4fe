"""Whether a SavedModel can be loaded without harm: its graph is a program, so it is read first.

TensorFlow runs whatever operations a SavedModel holds (tensorflow/tensorflow, SECURITY.md: models
are programs). Here the graph is read as data. Restoring its own checkpoint is all that it may do
outside of arithmetic.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import storage
from errors import UserError

# What an operation can do -> names of those that can, of tensorflow/core/ops (2.21 registers 1,910)
# and the add-ons of its own house. None of it is in an export of ours.
REFUSED = {
    "runs Python": r"(Eager)?PyFunc(Stateless)?|GeneratorDataset",
    "touches files": (
        r"(Read|Write)File|(Experimental)?MatchingFiles(Dataset)?|Save|SaveSlices|Restore"
        r"|RestoreSlice|DistributedSave|DTensorRestoreV\d|LoadAndRemapMatrix|RecordInput"
        r"|FileSystemSetConfiguration|InitializeTableFromTextFile(V\d)?|CalibrationStatisticsSaver"
        r"|.*Reader(V\d)?|Reader[A-Z].*|.*Dataset(V\d)?|DatasetTo.*|.*(LMDB|Sql|BigQuery|Bigtable).*"
        r"|.*Summary.*|Print(V\d)?|DumpTensor|Debug(Gradient)?(Identity|NumericSummary|NanCount).*"
        r"|IO_?.*|.*Snapshot.*"
    ),
    "speaks to other machines or devices": (
        r"Rpc.*|.*RpcFuture.*|RemoteCall|RegisterDataset.*|DataService.*|Collective.*|_?Nccl.*"
        r"|_?(Host)?(Send|Recv)|.*(TPU|Tpu).*|.*DTensor.*|WorkerHeartbeat"
        r"|_?Xla(Host|Send|Recv).*|Kafka.*|PubSub.*"
    ),
    "runs code that is not TensorFlow's": (
        r"_?Xla(CustomCall|CallModule|Compile|Run|Launch).*|TRTEngineOp|.*TensorRT.*|.*LoadLibrary.*"
        r"|TfLite.*|.*RemoteFused.*"
    ),
}
_REFUSED = {what: re.compile(f"(?:{names})") for what, names in REFUSED.items()}
# Only in the two functions that keep the checkpoint, which nothing but the saver calls.
CHECKPOINT = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename", "ShardedFilespec"}
SAVED_MODEL = "saved_model.pb"
CONFIG = Path("assets") / "config.json"
CONFIG_KEYS = ("streams", "labels", "input", "window_s")
REMEDY = "serve only what `export` wrote, from a source that you trust"


def require_safe(version: Path) -> None:
    """Reads a version as data and refuses what an export of ours never holds.

    Args:
      version: folder of the version.
    Raises:
      UserError: an operation that runs Python, touches files beside the checkpoint, speaks to other
        machines or runs foreign code; a link that leaves the folder; no export, or damaged.
    """
    _require_closed(version)
    _require_export(version)
    saved = _read(version / SAVED_MODEL)
    for graph in saved.meta_graphs:
        for where, node in _nodes(graph.graph_def):
            for what, pattern in _REFUSED.items():
                if pattern.fullmatch(node.op):
                    raise UserError(f"{version}: operation {node.op} in {where} {what}; {REMEDY}")
        _require_checkpoint_apart(version, graph)
        for asset in graph.asset_file_def:
            if Path(asset.filename).name != asset.filename or asset.filename in ("", ".", ".."):
                raise UserError(f"{version}: an asset outside of its folder; {REMEDY}")


def _require_closed(version: Path) -> None:
    """No link in the folder leads out of it."""
    home = version.resolve()
    for folder, names, files in os.walk(version):
        for name in (*names, *files):
            path = Path(folder) / name
            if path.is_symlink() and not path.resolve().is_relative_to(home):
                raise UserError(
                    f"{path}: a link that leads out of the version; copy the file there instead"
                )
            if not (path.is_file() or path.is_dir() or path.is_symlink()):
                raise UserError(f"{path}: neither file nor folder; {REMEDY}")


def _require_export(version: Path) -> None:
    if not (version / SAVED_MODEL).is_file() or not (version / CONFIG).is_file():
        raise UserError(f"{version}: no export, {SAVED_MODEL} or {CONFIG} is missing; {REMEDY}")
    config = storage.read_json(version / CONFIG)
    missing = [key for key in CONFIG_KEYS if not isinstance(config, dict) or key not in config]
    if missing:
        raise UserError(f"{version / CONFIG}: no {missing[0]} in it; {REMEDY}")


def _read(file: Path) -> Any:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise UserError(f"{file}: cannot be read ({error}); export it again") from error
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].object_graph_def.nodes:
        raise UserError(f"{file}: not of TensorFlow 2, or more than one graph; {REMEDY}")
    return saved


def _nodes(graph: Any) -> Iterator[tuple[str, Any]]:
    """Each node of the graph and its functions, with the name of where it is."""
    for node in graph.node:
        yield "the graph", node
    for function in graph.library.function:
        for node in function.node_def:
            yield f"function {function.signature.name[:60]}", node


def _require_checkpoint_apart(version: Path, graph: Any) -> None:
    """A signature that reached SaveV2 or RestoreV2 could write or read any file."""
    functions = graph.graph_def.library.function
    keepers = {
        function.signature.name
        for function in functions
        if any(node.op in CHECKPOINT for node in function.node_def)
    }
    called = {name for function in functions for node in function.node_def for name in _calls(node)}
    reached = keepers & (called | set(graph.object_graph_def.concrete_functions))
    if reached or any(node.op in CHECKPOINT for node in graph.graph_def.node):
        raise UserError(f"{version}: a function of the model reaches its checkpoint; {REMEDY}")


def _calls(node: Any) -> Iterator[str]:
    """Names of the functions that a node may call."""
    yield node.op  # a function may be called by its name as an operation
    for value in node.attr.values():
        yield value.func.name
        for function in value.list.func:
            yield function.name
        yield value.s.decode("utf-8", "replace")
