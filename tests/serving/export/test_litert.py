"""`export --format litert` and `predict --model X.tflite`: the same answers without TensorFlow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from affectstream.core import tf_setup
from affectstream.core.errors import EXIT_FAILURE, EXIT_OK, EXIT_USAGE, UserError
from affectstream.modeling.evaluation.inference import inference_model, load_run
from affectstream.modeling.features.audio.window import FitWindow
from affectstream.serving import load
from affectstream.serving.export import litert_export
from affectstream.serving.export.litert_export import (
    ConversionError,
    convert,
    error_summary,
    export_litert,
)
from affectstream.serving.export.savedmodel_export import example_inputs
from affectstream.serving.inference.litert_model import LitertModel, read_litert_config
from benchmarks.speed import cold_start, litert_recipes
from tests.conftest import ROOT
from tests.support.factories import sample_source
from tests.support.models import LABELS, error_line, run, sound

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def two_streams(fusion_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fused toy run as `.tflite`."""
    out = tmp_path_factory.mktemp("litert") / "two.tflite"
    assert run("export", "--run", fusion_run, "--format", "litert", "--out", out) == EXIT_OK
    return out


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """4.2 s of a tone, longer than a window of `predict`."""
    import soundfile

    path = tmp_path_factory.mktemp("wav") / "tone.wav"
    soundfile.write(path, sound(2, np.random.default_rng(1), 16_000, 5.7), 16_000)
    return path


@pytest.fixture(scope="module")
def film() -> Path:
    """2 s of a drawn face that speaks."""
    return sorted(sample_source().rglob("*.mp4"))[0]


def same(given: Any, wanted: Any) -> None:
    """Two answers of `predict --json`, equal but for 1e-4 in their numbers."""
    if isinstance(wanted, dict):
        assert given.keys() == wanted.keys()
        for key, value in wanted.items():
            same(given[key], value)
    elif isinstance(wanted, list):
        assert len(given) == len(wanted)
        for one, other in zip(given, wanted, strict=True):
            same(one, other)
    elif isinstance(wanted, float):
        assert given == pytest.approx(wanted, abs=TOLERANCE)
    else:
        assert given == wanted


# === The file ===


@pytest.mark.parametrize("streams", ["audio", "video", "fusion"])
def test_same_answers_as_the_keras_model(
    streams: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    folder = request.getfixturevalue(f"{streams}_run")
    path = export_litert(folder, tmp_path)
    assert path == tmp_path / f"{folder.name}.tflite"
    model = inference_model(*load_run(folder))
    given = example_inputs(model, seed=9)
    wanted = model(given, training=False)
    answer = LitertModel.open(path)(given)
    assert answer.keys() == wanted.keys()
    for name, value in wanted.items():
        assert answer[name].dtype == np.float32
        np.testing.assert_allclose(answer[name], np.asarray(value), atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize("recipe", ["relu-cnn-audio", "elu-cnn-video", "two-stream-sum"])
def test_recipes_that_must_convert(recipe: str) -> None:
    """The two-stream models, untrained: converted, run, and the same answers for every output."""
    tried = litert_recipes.untrained(recipe, litert_recipes.QUICK_FACE_PX)
    expected = litert_export.reference_examples(tried.inference, tried.config)
    model = LitertModel(*convert(tried.inference, tried.config, recipe))
    for given, wanted in expected:
        answer = model(given)
        assert answer.keys() == wanted.keys()
        for name, value in wanted.items():
            assert litert_export.difference(answer[name], np.asarray(value)) <= TOLERANCE, name


def test_inputs_are_fixed_and_named(two_streams: Path) -> None:
    from ai_edge_litert.interpreter import Interpreter

    config = read_litert_config(two_streams)
    assert config["labels"] == list(LABELS)
    assert config["streams"] == ["audio", "video"]
    assert config["litert"]["inputs"] == {
        "audio": {"dtype": "float32", "shape": [1, 47_770]},
        "audio_length": {"dtype": "int32", "shape": [1]},
        "video": {"dtype": "uint8", "shape": [1, 4, 32, 32, 1]},
        "video_mask": {"dtype": "bool", "shape": [1, 4]},
    }
    runner = Interpreter(model_path=str(two_streams)).get_signature_runner("serving_default")
    for name, detail in runner.get_input_details().items():
        spec = config["litert"]["inputs"][name]
        assert detail["shape"].tolist() == spec["shape"]
        assert np.dtype(detail["dtype"]).name == spec["dtype"]


def test_rows_are_cut_as_the_model_cuts_them(two_streams: Path) -> None:
    model = LitertModel.open(two_streams)
    window = FitWindow(47_770, 8_000)
    rng = np.random.default_rng(4)
    audio = rng.normal(size=(5, 60_000)).astype(np.float32)
    lengths = np.array([60_000, 55_000, 47_770, 30_000, 0], np.int32)
    video = np.arange(5 * 9, dtype=np.uint8).reshape(5, 9, 1, 1, 1) * np.ones((32, 32, 1), np.uint8)
    mask = np.ones((5, 9), bool)
    mask[1, ::2] = False
    mask[2] = False
    inputs: dict[str, np.ndarray] = {
        "audio": audio,
        "audio_length": lengths,
        "video": video,
        "video_mask": mask,
    }
    wanted = window(tf.constant(audio), tf.constant(lengths)).numpy()
    rows = [model.row(inputs, number) for number in range(5)]
    np.testing.assert_array_equal(np.concatenate([row["audio"] for row in rows]), wanted)
    assert [int(row["audio_length"][0]) for row in rows] == [47_770, 47_770, 47_770, 30_000, 0]
    assert rows[0]["video"][0, :, 0, 0, 0].tolist() == [0, 3, 5, 8]
    assert rows[1]["video"][0, :, 0, 0, 0].tolist() == [10, 12, 14, 16]
    assert [row["video_mask"].sum() for row in rows] == [4, 4, 0, 4, 4]


# === What is refused ===


def test_nothing_is_overwritten(two_streams: Path, fusion_run: Path) -> None:
    before = two_streams.read_bytes()
    with pytest.raises(UserError, match="exists already"):
        export_litert(fusion_run, two_streams)
    assert two_streams.read_bytes() == before


def test_a_config_of_something_else_is_left_alone(
    audio_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`x.json` may be anybody's, there before or come while the model was converted."""
    other = tmp_path / "x.json"
    other.write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match=r"x\.json: exists already"):
        export_litert(audio_run, tmp_path / "x.tflite")
    other.unlink()

    def slow(*given: Any) -> tuple[bytes, dict[str, Any]]:
        other.write_text("mine", encoding="utf-8")
        return b"", {}

    monkeypatch.setattr(litert_export, "convert", slow)
    with pytest.raises(UserError, match=r"x\.json: exists already"):
        export_litert(audio_run, tmp_path / "x.tflite")
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]
    assert other.read_text(encoding="utf-8") == "mine"


def test_a_write_that_fails_takes_its_own_config_along(
    audio_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path) -> Any:
        raise OSError("disk full")

    monkeypatch.setattr(litert_export, "convert", lambda *given: (b"", {}))
    monkeypatch.setattr(litert_export.atomic_io, "atomic_write", full)
    with pytest.raises(OSError, match="disk full"):
        export_litert(audio_run, tmp_path / "x.tflite")
    assert list(tmp_path.iterdir()) == []


def test_words_are_options_of_one_form(
    audio_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ("export", "--run", audio_run, "--format", "litert")
    assert run(*base, "--serving", tmp_path) == EXIT_USAGE
    assert run(*base, "--out", tmp_path, "--version", 2) == EXIT_USAGE
    capsys.readouterr()
    words = ("--text-input", "token_ids")
    assert run(*base, "--out", tmp_path, *words) == EXIT_FAILURE
    assert "takes no tokens" in error_line(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_another_answer_leaves_nothing_behind(
    audio_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(litert_export, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="differs from the trained model"):
        export_litert(audio_run, tmp_path / "new")
    assert list(tmp_path.rglob("*")) == []


def test_an_operation_that_is_missing_is_named() -> None:
    video = keras.Input((None, 8, 8, 1), dtype="uint8", name="video")
    mask = keras.Input((None,), dtype="bool", name="video_mask")
    x = keras.ops.max_pool(keras.ops.cast(video, "float32"), (1, 2, 2))
    x = keras.layers.GlobalAveragePooling3D()(x)
    model = keras.Model({"video": video, "video_mask": mask}, {"probabilities": x})
    with pytest.raises(ConversionError, match=r"^toy: LiteRT cannot do it .*tf\.MaxPool3D") as got:
        convert(model, {"preparation": {"sampling": {"num_frames": 4}}}, "toy")
    assert "\n" not in str(got.value)


def test_causes_are_one_line() -> None:
    flex = ValueError("a\nSome ops need Flex.\nFlex ops: FlexErf, FlexRFFT\nDetails: ...")
    assert error_summary(flex) == "needs operations that are no built-in ones: FlexErf, FlexRFFT"
    many = RuntimeError("".join(f"error: 'tf.Op{n}' op tensor<1xf64>\n" for n in range(5)))
    told = "no built-in operation of float64 for tf.Op0, tf.Op1, tf.Op2 and 2 more"
    assert error_summary(many) == told
    assert error_summary(ValueError("first\nsecond")) == "first"


def test_a_pair_that_does_not_belong_together(two_streams: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    with pytest.raises(UserError, match=r"a\.tflite: not found"):
        load(path)
    path.write_bytes(two_streams.read_bytes())
    with pytest.raises(UserError, match=r"without a\.json beside it"):
        load(path)
    beside = path.with_suffix(".json")
    config = json.loads(two_streams.with_suffix(".json").read_text())
    del config["litert"]
    beside.write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"not written by `export --format litert`"):
        load(path)
    beside.write_bytes(two_streams.with_suffix(".json").read_bytes())
    assert load(path).labels == LABELS
    path.write_bytes(two_streams.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged, or not the file"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"litert": {"inputs": {}}}, "litert.inputs are empty, not audio, "),
        ({"litert": {"inputs": [1]}}, "lacks litert.inputs"),
        ({"litert": {"window_samples": None}}, "lacks litert.window_samples"),
        ({"litert": {"inputs": {"video_mask": {"shape": [1, 9], "dtype": "bool"}}}}, "not audio"),
        ({"labels": None}, "labels is null"),
        ({"labels": list(LABELS[1:])}, "6 labels for 7 outputs"),
        ({"preparation": None}, "preparation is null"),
    ],
)
def test_a_config_that_was_edited_is_one_line(
    two_streams: Path,
    clip: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    changes: dict[str, Any],
    said: str,
) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(two_streams.read_bytes())
    config = json.loads(two_streams.with_suffix(".json").read_text())
    own = config["litert"] | changes.get("litert", {})
    path.with_suffix(".json").write_text(json.dumps(config | changes | {"litert": own}))
    needs_runtime = "outputs" in said
    commands = [("predict", clip, "--model", path), ("describe", path)][: 1 if needs_runtime else 2]
    for words in commands:
        capfd.readouterr()
        assert run(*words) == EXIT_FAILURE
        line = error_line(capfd.readouterr().err)
        assert f"Error: {path.with_suffix('.json')}: not as `export` writes it (" in line
        assert said in line and line.endswith("; export it again")


def test_a_shape_that_is_not_the_models(two_streams: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(two_streams.read_bytes())
    config = json.loads(two_streams.with_suffix(".json").read_text())
    config["litert"]["inputs"]["video_mask"]["shape"] = [1, 9]
    path.with_suffix(".json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"video_mask is \(1, 4\) bool, not \(1, 9\) bool"):
        load(path)


def test_wrong_words_are_told_before_tensorflow_is_loaded(
    audio_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def imported() -> None:
        raise AssertionError("TensorFlow was waited for")

    monkeypatch.setattr(tf_setup, "import_tensorflow", imported)
    (tmp_path / "taken").write_text("x")
    litert = ("--format", "litert", "--out")
    for words, said in (
        ((*litert, tmp_path / "taken"), "taken: a file; --out wants NAME.tflite"),
        ((*litert, tmp_path / "taken" / "x.tflite"), "taken: a file"),
        (("--serving", tmp_path / "new", "--name", "a/b"), "--name 'a/b': not a name"),
    ):
        capsys.readouterr()
        assert run("export", "--run", audio_run, *words) == EXIT_FAILURE
        assert said in error_line(capsys.readouterr().err)


def test_tokens_are_for_servers(two_streams: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.tflite"
    path.write_bytes(two_streams.read_bytes())
    config = json.loads(two_streams.with_suffix(".json").read_text())
    path.with_suffix(".json").write_text(json.dumps(config | {"text_input": "token_ids"}))
    with pytest.raises(UserError, match="takes numbers of tokens"):
        load(path)


# === predict ===

# What `predict` must not need of a `.tflite`; of sound alone no face detector either.
WITHOUT = """
import sys
from affectstream import cli

code = cli.main(sys.argv[2:])
heavy = {"tensorflow", "keras", "librosa", "scipy", "sklearn", "matplotlib", *sys.argv[1].split()}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
sys.exit(code)
"""


def predicted(model: Path, path: Path, *unneeded: str) -> dict[str, Any]:
    """The answer of a process of its own that imports no TensorFlow."""
    words = ["predict", "--model", str(model), "--json", str(path)]
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT, " ".join(unneeded), *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_OK, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def test_predict_a_wav(two_streams: Path, exported: Path, clip: Path) -> None:
    answer = predicted(two_streams, clip, "mediapipe", "affectstream.opencv_model.detectors.haar")
    assert len(answer["windows"]) == 3
    assert list(answer["streams"]) == ["audio"]
    same(answer, load(exported)(clip).as_json())


def test_predict_a_film(two_streams: Path, exported: Path, film: Path) -> None:
    answer = predicted(two_streams, film)
    assert list(answer["streams"]) == ["audio", "video"]
    assert answer["face_coverage"] > 0.5
    same(answer, load(exported)(film).as_json())


def test_real_clips(two_streams: Path, exported: Path, real_data: Path) -> None:
    """Every recording there is, whatever it lacks."""
    clips = sorted((real_data / "clips").glob("*.m*"))[:3]
    if not clips:
        pytest.skip(f"no clips in {real_data}")
    quick, slow = load(two_streams), load(exported)
    for path in clips:
        same(quick(path).as_json(), slow(path).as_json())


# === The tables ===


def test_table_of_recipes(tmp_path: Path) -> None:
    out = tmp_path / "table.md"
    assert litert_recipes.main(["--quick", "action-units", "tfidf-text", "--out", str(out)]) == 0
    rows = [line.split("|") for line in out.read_text("utf-8").splitlines() if "|" in line][2:]
    units, tfidf = [[cell.strip() for cell in row[1:-1]] for row in rows]
    assert units[:3] == ["action-units", "yes", "yes"]
    assert float(units[3]) < TOLERANCE
    assert tfidf[:2] == ["tfidf-text", "no"]
    assert "strings" in tfidf[-1]


def test_table_of_cold_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = {"a.tflite": 0.8, "export": 7.6}
    monkeypatch.setattr(cold_start, "seconds", lambda model, wav: taken[model.name])
    out = tmp_path / "table.md"
    assert cold_start.main(["a.tflite", "export", "--rounds", "2", "--out", str(out)]) == 0
    text = out.read_text("utf-8")
    assert "| a.tflite | LiteRT | 0.80 | 0.80 | 0.80 | 1.0 |" in text
    assert "| export | SavedModel | 7.60 | 7.60 | 7.60 | 9.5 |" in text
    assert "0.80 s, met" in text
