"""Graphs read as data: what is refused before TensorFlow loads anything."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.framework import op_def_registry

from affectstream.core.errors import UserError
from affectstream.serving.exported import allowed_ops as operations
from affectstream.serving.exported.savedmodel_audit import require_safe
from benchmarks.speed import litert_recipes

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


def test_exports_of_words_pass(words_bundle: Path, tokens_bundle: Path) -> None:
    for folder in (words_bundle, tokens_bundle):
        (version,) = (folder / "models").glob("*/1")
        require_safe(version)


@pytest.mark.slow
@pytest.mark.parametrize(
    "recipe", ["two-stream-sum", "lstm-audio", "convlstm-video", "action-units", "text-transformer"]
)
def test_recipes_pass(recipe: str, tmp_path: Path) -> None:
    inference = litert_recipes.untrained(recipe, 32).inference
    specs = {
        name: tf.TensorSpec(value.shape, value.dtype, name)
        for name, value in inference.input.items()
    }
    served = tf.Module()
    served.model = inference
    answer = tf.function(lambda **inputs: inference(inputs, training=False))
    version = write(tmp_path, graph())
    tf.saved_model.save(served, str(version), answer.get_concrete_function(**specs))
    checked = require_safe(version)
    assert set(checked.signature_defs["serving_default"].inputs) == set(specs)


# === Operations ===


@pytest.mark.parametrize(
    "operation",
    [
        *("PyFunc", "PyFuncStateless", "EagerPyFunc"),
        *("ReadFile", "WriteFile", "MatchingFiles", "WholeFileReaderV2", "TFRecordDatasetV2"),
        *("InitializeTableFromTextFileV2", "FixedUnigramCandidateSampler", "Skipgram"),
        *("DecodeProtoV2", "EncodeProto", "PrintV2", "WriteGraphSummary", "DebugIdentityV3"),
        *("RpcCall", "_Recv", "DataServiceDatasetV4", "RemoteCall", "CollectiveReduceV2"),
        *("InfeedEnqueue", "InfeedDequeueTuple", "OutfeedEnqueue", "OutfeedDequeueTupleV2"),
        *("XlaCustomCallV2", "XlaCallModule", "TRTEngineOp", "MlirPassthroughOp"),
        *("Abort", "SleepOp", "SleepDataset", "QueueDequeueV2", "BarrierTakeMany", "Stage"),
        *("SymbolicGradient", "For", "RandomUniform"),
        *("NoSuchOperation", "__inference_serve_1", "matmul", "MatMul "),
    ],
)
@pytest.mark.parametrize("in_function", [False, True])
def test_what_is_not_on_the_list_is_refused(
    operation: str, in_function: bool, tmp_path: Path
) -> None:
    saved = graph()
    definition = saved.meta_graphs[0].graph_def
    nodes = definition.library.function[1].node_def if in_function else definition.node
    nodes.add(name="harm", op=operation)
    where = "function __inference_serve_1" if in_function else "the graph"
    with pytest.raises(UserError, match=f"operation {operation} in {where} is none that a model"):
        require_safe(write(tmp_path, saved))


def test_only_functions_of_the_graph_may_be_called(tmp_path: Path) -> None:
    for number, change in enumerate(("one", "several")):
        saved = graph()
        serve = saved.meta_graphs[0].graph_def.library.function[1]
        node = serve.node_def.add(name="c", op="StatefulPartitionedCall")
        if change == "one":
            node.attr["f"].func.name = "ReadFile"
        else:
            node.attr["branches"].list.func.add(name="ReadFile")
        with pytest.raises(UserError, match="serve_1 calls ReadFile, not a function of its own"):
            require_safe(write(tmp_path / str(number), saved))


def test_the_list_holds_what_it_says() -> None:
    """No misspelt name, no operation that is told of a file, no state where none belongs."""
    import tensorflow_text  # noqa: F401  (registers its operations)

    with_state = operations.STRUCTURE | operations.CONTROL | operations.CHECKPOINT_OPS
    with_state |= operations.TABLES | operations.TENSORFLOW_TEXT
    with_state |= {"CudnnRNN", "CudnnRNNV2", "CudnnRNNV3", "Empty", "StatelessRandomGetAlg"}
    for name in sorted(operations.ALLOWED_OPS):
        known = op_def_registry.get(name)
        assert known is not None, name
        assert name in with_state or not known.is_stateful, name
        told = " ".join(one.name for one in (*known.input_arg, *known.attr))
        if name not in operations.CHECKPOINT_OPS:
            assert not re.search("file|path|host|address|url|library", told), (name, told)


def test_a_real_model_with_python_in_it_is_refused(tmp_path: Path) -> None:
    class Sly(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,))])
        def serve(self, x: tf.Tensor) -> tf.Tensor:
            return tf.ensure_shape(tf.numpy_function(lambda value: value, [x], tf.float32), [None])

    version = write(tmp_path, graph())
    sly = Sly()
    tf.saved_model.save(sly, str(version), signatures=sly.serve)
    with pytest.raises(UserError, match=r"operation PyFunc in function .* is none that .* serve"):
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


# === Between check and load ===


def swapped(version: Path) -> None:
    """Another file of the same bytes, size and time."""
    file, other = version / "saved_model.pb", version.parent / "other"
    shutil.copy2(file, other)
    other.replace(file)


def rewritten(version: Path) -> None:
    """Another byte in the same file, its times as they were."""
    file = version / "saved_model.pb"
    about, content = file.stat(), bytearray(file.read_bytes())
    content[-1] ^= 1
    with open(file, "r+b") as opened:
        opened.write(content)
    os.utime(file, ns=(about.st_atime_ns, about.st_mtime_ns))


def added(version: Path) -> None:
    (version / "assets" / "more.txt").touch()


def moved(version: Path) -> None:
    version.rename(version.parent / "elsewhere")


@pytest.mark.parametrize("change", [swapped, rewritten, added, moved])
def test_a_change_after_the_check_is_found(change: Callable[[Path], None], tmp_path: Path) -> None:
    version = write(tmp_path, graph())
    checked = require_safe(version)
    checked.require_unchanged()
    change(version)
    with pytest.raises(UserError, match="1: changed while it was loaded; copy"):
        checked.require_unchanged()


def test_a_link_that_moves_after_the_check_is_found(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(write(tmp_path / "a", graph()))
    checked = require_safe(link)
    assert checked.folder == tmp_path / "a" / "1"
    link.unlink()
    link.symlink_to(write(tmp_path / "b", graph()))
    with pytest.raises(UserError, match="link: changed while it was loaded"):
        checked.require_unchanged()
