"""Checks that a SavedModel is safe to load: its graph is a program, so it is audited first.

TensorFlow runs any operation in a SavedModel (tensorflow/tensorflow, SECURITY.md: models are
programs). Here the graph is read as data. It passes if every operation is listed in `allowed_ops`,
calls only functions of the same graph, and leaves the checkpoint to the saver. The result holds
only for the bytes read here, and TensorFlow reads the file again. So `CheckedVersion` checks
afterwards whether TensorFlow can have read other bytes. Time and memory are not limited: an
arithmetic loop may run for ever.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from affectstream.core import atomic_io
from affectstream.core.errors import UserError
from affectstream.serving.exported.allowed_ops import ALLOWED_OPS, CHECKPOINT_OPS
from affectstream.serving.exported.version_folder import CONFIG_ASSET, SAVED_MODEL

CONFIG = Path("assets") / CONFIG_ASSET
CONFIG_KEYS = ("streams", "labels", "input", "window_s")
REMEDY = "serve only what `export` wrote, from a source that you trust"

FileStats = tuple[tuple[str | int, ...], ...]


@dataclass(frozen=True)
class CheckedVersion:
    """A version that passed the audit.

    Attributes:
      folder: folder of the version, with links resolved.
      signature_defs: name -> SignatureDef, from the checked bytes.
    """

    folder: Path
    signature_defs: dict[str, Any] = field(repr=False)
    _given: Path
    _digest: str
    _file_stats: FileStats = field(repr=False)

    def require_unchanged(self) -> None:
        """Checks that the version has not changed; call it after loading from `folder`.

        A file that was replaced in between, even if it was restored, has another inode or change
        time. `saved_model.pb` is also read again.

        Raises:
          UserError: a file, or the target of the version's link, has changed.
        """
        try:
            same = (
                self._given.resolve() == self.folder
                and file_stats(self.folder) == self._file_stats
                and _digest((self.folder / SAVED_MODEL).read_bytes()) == self._digest
            )
        except OSError:
            same = False
        if not same:
            raise UserError(
                f"{self._given}: changed while it was loaded; copy a version elsewhere, then"
                " rename it into place"
            )


def require_safe(version: Path) -> CheckedVersion:
    """Audits a version as data and rejects anything that `export` never writes.

    Args:
      version: folder of the version, or a link to it.
    Returns:
      the checked version; load its folder, then call `require_unchanged`.
    Raises:
      UserError: an operation that is not allowed, a checkpoint that signatures can reach, a link
        that leaves the folder; not an export, or damaged.
    """
    home = version.resolve()
    _require_export(version)
    stats, content = _read(version, home)
    _require_closed(version)
    graph = _graph(version / SAVED_MODEL, content)
    _require_checkpoint_apart(version, graph)
    functions = {function.signature.name for function in graph.graph_def.library.function}
    for where, node in _nodes(graph.graph_def):
        if node.op not in ALLOWED_OPS:
            raise UserError(
                f"{version}: operation {node.op[:80]} in {where} is none that a model needs;"
                f" {REMEDY}"
            )
        unknown = set(_functions(node)) - functions
        if unknown:
            name = min(unknown)[:80]
            raise UserError(f"{version}: {where} calls {name}, not a function of its own; {REMEDY}")
    for asset in graph.asset_file_def:
        if Path(asset.filename).name != asset.filename or asset.filename in ("", ".", ".."):
            raise UserError(f"{version}: an asset outside of its folder; {REMEDY}")
    return CheckedVersion(home, _copied(graph.signature_def), version, _digest(content), stats)


def _read(version: Path, home: Path) -> tuple[FileStats, bytes]:
    try:
        return file_stats(home), (home / SAVED_MODEL).read_bytes()
    except OSError as error:
        raise UserError(f"{version}: cannot be read ({error}); export it again") from error


def file_stats(folder: Path) -> FileStats:
    """The folder and all files below it: name, inode, size in bytes, change times in ns.

    Raises:
      OSError: a file cannot be read, or changes at this moment.
    """
    paths = [folder]
    for home, names, files in os.walk(folder):
        paths += [Path(home) / name for name in (*names, *files)]
    about = [(str(path), path.lstat()) for path in sorted(paths)]
    return tuple(
        (name, one.st_dev, one.st_ino, one.st_size, one.st_mtime_ns, one.st_ctime_ns)
        for name, one in about
    )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _require_closed(version: Path) -> None:
    """Refuses links in the folder that lead out of it."""
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
    config = atomic_io.read_json(version / CONFIG)
    missing = [key for key in CONFIG_KEYS if not isinstance(config, dict) or key not in config]
    if missing:
        raise UserError(f"{version / CONFIG}: no {missing[0]} in it; {REMEDY}")


def _graph(file: Path, content: bytes) -> Any:
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    try:
        saved = saved_model_pb2.SavedModel.FromString(content)
    except DecodeError as error:
        raise UserError(f"{file}: cannot be read ({error}); export it again") from error
    if len(saved.meta_graphs) != 1 or not saved.meta_graphs[0].object_graph_def.nodes:
        raise UserError(f"{file}: not of TensorFlow 2, or more than one graph; {REMEDY}")
    return saved.meta_graphs[0]


def _copied(definitions: Any) -> dict[str, Any]:
    """Copies the definitions, so that they do not keep the graph in memory."""
    kept = {}
    for name, definition in definitions.items():
        kept[name] = type(definition)()
        kept[name].CopyFrom(definition)
    return kept


def _nodes(graph: Any) -> Iterator[tuple[str, Any]]:
    """Each node of the graph and of its functions, with the name of its function."""
    for node in graph.node:
        yield "the graph", node
    for function in graph.library.function:
        for node in function.node_def:
            yield f"function {function.signature.name[:60]}", node


def _require_checkpoint_apart(version: Path, graph: Any) -> None:
    """A signature that reaches SaveV2 or RestoreV2 could write or read any file."""
    functions = graph.graph_def.library.function
    keepers = {
        function.signature.name
        for function in functions
        if any(node.op in CHECKPOINT_OPS for node in function.node_def)
    }
    called = {name for function in functions for node in function.node_def for name in _calls(node)}
    reached = keepers & (called | set(graph.object_graph_def.concrete_functions))
    if reached or any(node.op in CHECKPOINT_OPS for node in graph.graph_def.node):
        raise UserError(f"{version}: a function of the model reaches its checkpoint; {REMEDY}")


def _functions(node: Any) -> Iterator[str]:
    """Names of functions among a node's attributes."""
    for value in node.attr.values():
        if value.HasField("func"):
            yield value.func.name
        for function in value.list.func:
            yield function.name


def _calls(node: Any) -> Iterator[str]:
    """Names of the functions that a node may call."""
    yield node.op  # an operation name may be a function
    yield from _functions(node)
    for value in node.attr.values():
        yield value.s.decode("utf-8", "replace")
