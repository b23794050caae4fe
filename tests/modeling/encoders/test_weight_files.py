"""Weights from files and hubs: read back, fetched, and refused where they are not ours."""

from __future__ import annotations

import http.server
import io
import tarfile
import threading
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core.errors import UserError
from affectstream.modeling import pretrained_weights
from affectstream.modeling.encoders.audio.vgg19 import vgg19
from affectstream.modeling.encoders.audio.yamnet import audioset_class_names, yamnet_base

PICTURE = (32, 40, 1)

# === Files of YAMNet ===


def said(error: pytest.ExceptionInfo[UserError]) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def write_h5(path: Path, layers: dict[str, dict[str, np.ndarray]]) -> Path:
    """As Keras 2 wrote weights."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in layers]
        for name, arrays in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{key}:0".encode() for key in arrays]
            for key, value in arrays.items():
                group[f"{name}/{key}:0"] = value
    return path


def test_a_written_file_is_read_back(tmp_path: Path) -> None:
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="part_dense")])
    kernel, bias = np.ones((3, 2), np.float32), np.full(2, 5.0, np.float32)
    layers: pretrained_weights.LayerWeights = {
        "part/dense": {"kernel": kernel, "bias": bias},
        "other": {"bias": bias},
    }
    pretrained_weights.assign_layer_weights(
        net, pretrained_weights.read_h5_layers(write_h5(tmp_path / "a.h5", layers)), "a.h5"
    )
    np.testing.assert_array_equal(net(np.ones((1, 3))), [[8.0, 8.0]])


def test_yamnet_from_a_file_of_another_network(tmp_path: Path) -> None:
    stem = {"kernel": np.zeros((3, 3, 1, 32), np.float32)}
    missing = write_h5(tmp_path / "missing.h5", {"layer1/conv": stem})
    with pytest.raises(UserError) as caught:
        yamnet_base(str(missing))
    assert "layer1_conv_bn" in said(caught)
    assert str(missing) in said(caught)
    wider = {"kernel": np.zeros((3, 3, 3, 32), np.float32)}
    with pytest.raises(UserError) as caught:
        yamnet_base(str(write_h5(tmp_path / "wider.h5", {"layer1/conv": wider})))
    assert "(3, 3, 3, 32), expected (3, 3, 1, 32)" in said(caught)
    with pytest.raises(UserError) as caught:
        yamnet_base(str(write_h5(tmp_path / "bare.h5", {"layer1/conv": {"bias": wider["kernel"]}})))
    assert "kernel of layer 'layer1_conv' is missing" in said(caught)


def test_nothing_is_changed_by_weights_that_do_not_fit() -> None:
    net = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="dense")])
    before = net.get_weights()
    wrong = {"dense": {"kernel": np.ones((3, 2)), "bias": np.ones(3)}}
    with pytest.raises(UserError, match=r"bias of layer 'dense' has shape \(3,\)"):
        pretrained_weights.assign_layer_weights(net, wrong, "file")
    for now, then in zip(net.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_yamnet_from_what_is_no_weights_file(tmp_path: Path) -> None:
    text = tmp_path / "text.h5"
    text.write_text("hello")
    empty = tmp_path / "empty.h5"
    h5py.File(empty, "w").close()
    for path, word in (
        (tmp_path / "absent.h5", "not found"),
        (text, "no weights file"),
        (empty, "no weights file"),
        (tmp_path, "no SavedModel"),
    ):
        with pytest.raises(UserError, match=word) as caught:
            yamnet_base(str(path))
        assert str(path) in said(caught)


def test_yamnet_from_another_saved_model(tmp_path: Path) -> None:
    module = tf.Module()
    module.number = tf.Variable(1.0)
    tf.saved_model.save(module, str(tmp_path / "other"))
    with pytest.raises(UserError, match="holds no layers of Keras") as caught:
        yamnet_base(str(tmp_path / "other"))
    said(caught)
    index = tmp_path / "other" / "variables" / "variables.index"
    index.write_bytes(b"broken")
    with pytest.raises(UserError, match="cannot be read") as caught:
        yamnet_base(str(tmp_path / "other"))
    said(caught)


def test_a_class_map_that_is_absent_or_short_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not found"):
        audioset_class_names(tmp_path / "absent.csv")
    short = tmp_path / "short.csv"
    short.write_text("index,mid,display_name\n0,/m/09x0r,Speech\n")
    with pytest.raises(UserError, match="no class map of YAMNet \\(1 names of 521\\)"):
        audioset_class_names(short)


# === A hub ===


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TFHUB_CACHE_DIR", str(tmp_path / "hub"))
    return tmp_path / "hub"


@pytest.fixture
def hub(real_models: Path) -> Iterator[str]:
    """A hub on this machine that serves YAMNet as TF-Hub does; yields its address."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        archive.add(real_models / "yamnet" / "saved_model", arcname=".")

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.path.startswith("/google/yamnet/1?")
            self.send_response(200 if is_known else 404)
            self.end_headers()
            self.wfile.write(packed.getvalue() if is_known else b"")

        def log_message(self, *words: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.real
def test_yamnet_from_a_hub(hub: str, hub_cache: Path, real_models: Path) -> None:
    fetched = yamnet_base(f"{hub}/google/yamnet/1").get_weights()
    wanted = yamnet_base(str(real_models / "yamnet" / "yamnet.h5")).get_weights()
    for ours, theirs in zip(fetched, wanted, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    with pytest.raises(UserError, match="weights=PATH") as caught:
        yamnet_base(f"{hub}/google/other/1")
    assert f"{hub}/google/other/1" in said(caught)


def test_a_hub_out_of_reach(hub_cache: Path) -> None:
    with pytest.raises(UserError, match="cannot be fetched") as caught:
        yamnet_base("http://127.0.0.1:1/google/yamnet/1")
    assert "weights=PATH" in said(caught)
    assert "weights=none" in said(caught)


# === VGG19's files ===


def test_vgg19_from_a_file(tmp_path: Path) -> None:
    donor = keras.applications.VGG19(include_top=False, weights=None, input_shape=(32, 40, 3))
    path = tmp_path / "donor.weights.h5"
    donor.save_weights(path)
    model = vgg19(PICTURE, 4, weights=str(path))
    for ours, theirs in zip(
        model.get_layer("base").get_weights(), donor.get_weights(), strict=True
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_vgg19_from_what_does_not_fit(tmp_path: Path) -> None:
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other.save_weights(tmp_path / "other.weights.h5")
    (tmp_path / "text.h5").write_text("hello")
    legacy = write_h5(tmp_path / "legacy.h5", {"dense": {"kernel": np.zeros((3, 2))}})
    for path in (tmp_path / "other.weights.h5", tmp_path / "text.h5", legacy):
        with pytest.raises(UserError, match="no weights of VGG19") as caught:
            vgg19(PICTURE, 4, weights=str(path))
        assert str(path) in said(caught)
    with pytest.raises(UserError, match="not found"):
        vgg19(PICTURE, 4, weights=str(tmp_path / "absent.h5"))


def test_vgg19_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from keras.src.utils import file_utils

    def refuse(*_: Any, **__: Any) -> None:
        raise urllib.error.URLError("no route to host")

    monkeypatch.setattr(file_utils, "urlretrieve", refuse)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    with pytest.raises(UserError, match="cannot be fetched") as caught:
        vgg19(PICTURE, 4)
    assert "weights=PATH" in said(caught)
    assert "weights=none" in said(caught)


def test_vgg19_blocks_out_of_range() -> None:
    with pytest.raises(UserError, match="trainable_blocks=6: must be 0 to 5"):
        vgg19(PICTURE, 4, weights="none", trainable_blocks=6)
