"""Graphs read as data: what is refused before TensorFlow loads anything."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from errors import UserError
from serving.safe_graph import require_safe

CONFIG = {"streams": ["audio"], "labels": ["a"], "input": {}, "window_s": 1.0}


def graph() -> saved_model_pb2.SavedModel:
    """As `tf.saved_model.save` lays one out: a signature, and a checkpoint kept apart."""
    saved = saved_model_pb2.SavedModel()
    meta = saved.meta_graphs.add()
    meta.graph_def.node.add(name="x", op="Placeholder")
    saver = meta.graph_def.node.add(name="saver", op="StatefulPartitionedCall")
    saver.attr["f"].func.name = "__inference__traced_restore_1"
    restore = meta.graph_def.library.function.add()
    restore.signature.name = "__inference__traced_restore_1"
    restore.node_def.add(name="r", op="RestoreV2")
    serve = meta.graph_def.library.function.add()
    serve.signature.name = "__inference_serve_1"
    serve.node_def.add(name="m", op="MatMul")
    meta.object_graph_def.nodes.add()
    meta.object_graph_def.concrete_functions["__inference_serve_1"].SetInParent()
    return saved


def write(folder: Path, saved: saved_model_pb2.SavedModel) -> Path:
    version = folder / "1"
    (version / "assets").mkdir(parents=True)
    (version / "saved_model.pb").write_bytes(saved.SerializeToString())
    (version / "assets" / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    return version


def test_a_plain_graph_passes(tmp_path: Path) -> None:
    require_safe(write(tmp_path, graph()))


def test_an_export_passes(exported: Path) -> None:
    require_safe(exported / "1")


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("PyFunc", "runs Python"),
        ("PyFuncStateless", "runs Python"),
        ("EagerPyFunc", "runs Python"),
        ("ReadFile", "touches files"),
        ("WriteFile", "touches files"),
        ("MatchingFiles", "touches files"),
        ("InitializeTableFromTextFileV2", "touches files"),
        ("PrintV2", "touches files"),
        ("TFRecordDatasetV2", "touches files"),
        ("WholeFileReaderV2", "touches files"),
        ("DebugIdentityV3", "touches files"),
        ("WriteGraphSummary", "touches files"),
        ("RpcCall", "speaks to other machines"),
        ("_Recv", "speaks to other machines"),
        ("DataServiceDatasetV4", "touches files|speaks"),
        ("XlaCustomCallV2", "runs code"),
        ("TRTEngineOp", "runs code"),
    ],
)
@pytest.mark.parametrize("in_function", [False, True])
def test_operations_that_can_harm_are_refused(
    operation: str, what: str, in_function: bool, tmp_path: Path
) -> None:
    saved = graph()
    definition = saved.meta_graphs[0].graph_def
    nodes = definition.library.function[1].node_def if in_function else definition.node
    nodes.add(name="harm", op=operation)
    where = "function __inference_serve_1" if in_function else "the graph"
    with pytest.raises(UserError, match=f"operation {operation} in {where} ({what})"):
        require_safe(write(tmp_path, saved))


def test_a_real_model_with_python_in_it_is_refused(tmp_path: Path) -> None:
    class Sly(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,))])
        def serve(self, x: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(lambda value: value, [x], tf.float32), [None])

    version = write(tmp_path, graph())
    sly = Sly()
    tf.saved_model.save(sly, str(version), signatures=sly.serve)
    with pytest.raises(UserError, match=r"operation PyFunc in function .* runs Python; serve only"):
        require_safe(version)


# === The checkpoint ===


def test_a_model_may_not_call_its_checkpoint(tmp_path: Path) -> None:
    for number, change in enumerate(("call", "by_name", "node", "exported", "inside")):
        saved = graph()
        meta = saved.meta_graphs[0]
        serve = meta.graph_def.library.function[1]
        if change == "call":
            node = serve.node_def.add(name="c", op="PartitionedCall")
            node.attr["f"].func.name = "__inference__traced_restore_1"
        elif change == "by_name":
            serve.node_def.add(name="c", op="__inference__traced_restore_1")
        elif change == "node":
            meta.graph_def.node.add(name="s", op="SaveV2")
        elif change == "exported":
            meta.object_graph_def.concrete_functions["__inference__traced_restore_1"].SetInParent()
        else:
            serve.node_def.add(name="s", op="SaveV2")
        with pytest.raises(UserError, match="reaches its checkpoint"):
            require_safe(write(tmp_path / str(number), saved))


# === The folder ===


def test_links_may_not_leave_the_folder(tmp_path: Path) -> None:
    version = write(tmp_path, graph())
    outside = tmp_path / "outside"
    outside.mkdir()
    (version / "assets" / "here.txt").symlink_to("config.json")
    require_safe(version)
    for target in (outside, Path("/etc/hostname"), tmp_path / "missing"):
        (version / "assets" / "away").symlink_to(target)
        with pytest.raises(UserError, match="away: a link that leads out of the version"):
            require_safe(version)
        (version / "assets" / "away").unlink()


def test_a_linked_version_is_judged_by_what_it_holds(tmp_path: Path) -> None:
    version = write(tmp_path / "store", graph())
    link = tmp_path / "2"
    link.symlink_to(version)
    require_safe(link)


def test_special_files_are_refused(tmp_path: Path) -> None:
    version = write(tmp_path, graph())
    os.mkfifo(version / "pipe")
    with pytest.raises(UserError, match="pipe: neither file nor folder"):
        require_safe(version)


def test_assets_stay_in_their_folder(tmp_path: Path) -> None:
    saved = graph()
    saved.meta_graphs[0].asset_file_def.add(filename="../../secret")
    with pytest.raises(UserError, match="an asset outside of its folder"):
        require_safe(write(tmp_path, saved))


def test_what_is_no_export_is_refused(tmp_path: Path) -> None:
    version = write(tmp_path, graph())
    file = version / "saved_model.pb"
    file.write_bytes(b"\xff" * 100)
    with pytest.raises(UserError, match=r"saved_model\.pb: cannot be read"):
        require_safe(version)
    file.write_bytes(b"")
    with pytest.raises(UserError, match="not of TensorFlow 2"):
        require_safe(version)
    (version / "assets" / "config.json").write_text('{"streams": []}', encoding="utf-8")
    with pytest.raises(UserError, match="no labels in it"):
        require_safe(version)
    (version / "assets" / "config.json").unlink()
    with pytest.raises(UserError, match="no export"):
        require_safe(version)
