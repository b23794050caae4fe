"""`export --serving`: versions, their warm-up, and what is left after an interruption.

No TensorFlow Serving runs here: its own protos read `models.config` and the warm-up.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from google.protobuf import text_format
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
from tensorflow_serving.config import model_server_config_pb2

from affectstream.core import atomic_io
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE
from affectstream.modeling.runs.run_folder import RUN
from affectstream.serving.export import bundle as module
from affectstream.serving.export import warmup
from tests.support.bundles import copy_export, files_below, models_config
from tests.support.models import error_line, run

# === Versions and models.config ===


def test_two_versions_and_their_labels(bundle: Path) -> None:
    config = models_config(bundle)
    assert (config.name, config.base_path) == ("both", "/models/both")
    assert config.model_platform == "tensorflow"
    assert config.model_version_policy.WhichOneof("policy_choice") == "all"
    assert dict(config.version_labels) == {"stable": 1, "canary": 2}
    assert sorted(path.name for path in (bundle / "models" / "both").iterdir()) == ["1", "2"]
    assert {path.name for path in bundle.iterdir()} == {
        *module.TEMPLATE_NAMES,
        *("models", "models.config", "client.json", "request.json", "MODEL_CARD.md"),
    }


def test_one_version_is_stable_and_canary(words_bundle: Path) -> None:
    config = models_config(words_bundle)
    assert config.name == "my-words"
    assert dict(config.version_labels) == {"stable": 1, "canary": 1}


def test_labels_of_many_versions() -> None:
    text = module.models_config("m", [2, 9, 10])
    parsed = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    labels = dict(parsed.model_config_list.config[0].version_labels)
    assert labels == {"stable": 9, "canary": 10}


# === Warm-up ===


def warmup_of(version: Path) -> list[predict_pb2.PredictRequest]:
    logs = []
    for record in tf.data.TFRecordDataset(str(version / warmup.WARMUP_FILE)):
        log = prediction_log_pb2.PredictionLog.FromString(record.numpy())
        assert log.WhichOneof("log_type") == "predict_log"
        logs.append(log.predict_log.request)
    return logs


@pytest.fixture(scope="module")
def loaded(bundle: Path) -> Any:
    return tf.saved_model.load(str(bundle / "models" / "both" / "2"))


def test_warmup_is_answered_by_the_saved_model(bundle: Path, loaded: Any) -> None:
    found = warmup_of(bundle / "models" / "both" / "2")
    sizes: dict[str, list[int]] = {}
    for request in found:
        assert request.model_spec.name == "both"
        made = warmup.replay(loaded, request)
        (rows,) = {len(value) for value in made.values()}
        sizes.setdefault(request.model_spec.signature_name, []).append(rows)
        if "probabilities" in made:
            np.testing.assert_allclose(made["probabilities"].sum(axis=1), 1, atol=1e-5)
    assert sizes == {name: [1, 8] for name in loaded.signatures}


@pytest.mark.parametrize("which", ["words_bundle", "tokens_bundle"])
def test_warmup_of_words(which: str, request: pytest.FixtureRequest) -> None:
    folder: Path = request.getfixturevalue(which)
    version = folder / "models" / models_config(folder).name / "1"
    served = tf.saved_model.load(str(version))
    found = warmup_of(version)
    assert {one.model_spec.signature_name for one in found} == set(served.signatures)
    for one in found:
        assert len(warmup.replay(served, one)) >= 1


def test_what_no_request_can_be_made_for() -> None:
    known = {"audio": warmup.InputSpec("float32", (None, None))}
    assert warmup.can_generate(known)
    assert warmup.can_generate({"any": warmup.InputSpec("object", (None,))})
    assert not warmup.can_generate(known | {"depth": warmup.InputSpec("float32", (None, None))})
    assert not warmup.can_generate({})


def test_a_failing_warmup_stops_the_export(
    bundle: Path, fusion_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    def narrow(spec: warmup.InputSpec, config: dict[str, Any]) -> np.ndarray:
        return np.zeros(
            (warmup.NUM_FRAMES + 1, *(size or 1 for size in spec.shape[2:]))
        )  # more frames than mask

    monkeypatch.setitem(warmup._MAKERS, "video", narrow)
    monkeypatch.setattr(module, "export", copy_export(bundle / "models" / "both" / "1"))
    folder = tmp_path / "served"
    assert run("export", "--run", fusion_run, "--serving", folder) == EXIT_FAILURE
    assert "fails on its warm-up" in error_line(capfd.readouterr().err)
    assert not folder.exists()


# === Interrupted, refused ===


def test_an_interrupted_export_leaves_the_bundle_as_it_was(
    bundle: Path, fusion_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(saved: Path, name: str) -> list[str]:
        assert (saved / "saved_model.pb").is_file()
        raise KeyboardInterrupt

    monkeypatch.setattr(warmup, "write_warmup", interrupted)
    monkeypatch.setattr(module, "export", copy_export(bundle / "models" / "both" / "1"))
    before = files_below(bundle)
    assert run("export", "--run", fusion_run, "--serving", bundle) == 130
    assert files_below(bundle) == before
    fresh = tmp_path / "fresh"
    assert run("export", "--run", fusion_run, "--serving", fresh) == 130
    assert not fresh.exists()


def test_a_cut_off_bundle_is_gone_on_with(
    bundle: Path, fusion_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "served"
    leftover = folder / "models" / "both" / "export.part-x1y2z3w4" / "1"
    leftover.mkdir(parents=True)
    (folder / "client.py").write_text("")
    monkeypatch.setattr(module, "export", copy_export(bundle / "models" / "both" / "1"))
    assert run("export", "--run", fusion_run, "--serving", folder, "--name", "both") == EXIT_OK
    assert [path.name for path in (folder / "models" / "both").iterdir()] == ["1"]
    assert dict(models_config(folder).version_labels) == {"stable": 1, "canary": 1}
    assert {path.name for path in folder.iterdir()} == {path.name for path in bundle.iterdir()}


def test_bad_input_is_one_line(
    bundle: Path, fusion_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    unfinished = tmp_path / "unfinished"
    unfinished.mkdir()
    info = atomic_io.read_checksummed_json(fusion_run / RUN)
    atomic_io.write_checksummed_json(unfinished / RUN, info | {"finished": False})
    (unfinished / "best.keras").write_bytes((fusion_run / "best.keras").read_bytes())
    new = tmp_path / "new"
    cases: list[tuple[tuple[Any, ...], str]] = [
        ((fusion_run, other), "not empty and not a bundle (thesis.txt is there"),
        ((fusion_run, other / "thesis.txt"), "a file; --serving wants a folder"),
        ((unfinished, new), "unfinished run; finish it with"),
        ((other, new), "not a run folder"),
        ((fusion_run, new, "--name", "../up"), "--name '../up': not a name"),
        ((fusion_run, new, "--name", ""), "--name '': not a name"),
        ((fusion_run, bundle, "--name", "else"), "holds the model both; use --name both"),
        ((fusion_run, bundle, "--version", 1), "versions are never overwritten"),
    ]
    for (given, folder, *words), wanted in cases:
        capfd.readouterr()
        code = run("export", "--run", given, "--serving", folder, *words)
        assert code == EXIT_FAILURE
        assert wanted in error_line(capfd.readouterr().err)
    assert not new.exists()
    assert [path.name for path in other.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "words", [(), ("--out", "x", "--serving", "y"), ("--out", "x", "--name", "z")]
)
def test_options_that_do_not_go_together(words: tuple[str, ...], tmp_path: Path) -> None:
    assert run("export", "--run", tmp_path, *words) == EXIT_USAGE
