"""Models of words as SavedModel: with a string, with numbers of tokens, with other streams."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from affectstream.core.errors import EXIT_FAILURE, EXIT_OK
from affectstream.modeling.evaluation.inference import inference_model, load_run
from affectstream.modeling.evaluation.token_model import token_model, vocabulary_of
from affectstream.modeling.features.text.tfidf import TFIDF
from affectstream.serving import load
from affectstream.serving.export.savedmodel_export import TOLERANCE, read_config
from tests.support.models import (
    LABELS,
    error_line,
    records,
    run,
    save_arrays,
    settings,
    train,
    write_data,
)
from tests.support.stubs import stub_trainer

TEXTS = [
    b"Furious shout!",
    b"",
    "我 😡 lonely tears".encode(),
    b"wow unexpected " * 2500,
    b"\xff caf\xe9 rotten",
    b" \t\n ",
]
# Rows of TEXTS with words in them. Around none, word pieces still have [CLS] and [SEP], which are
# tokens: only a row of zeros is a missing text.
SAID = [0, 2, 3, 4]
SMALL_BERT = ("weights=none", "num_layers=1", "hidden_dim=8", "num_heads=2", "intermediate_dim=16")
RECIPES = {
    "words": ("text-cnn", "token_dim=16", "filters=16", "embedding_dim=16", "max_tokens=16"),
    "pieces": ("bert-text", *SMALL_BERT, "vocabulary_size=150", "max_tokens=24"),
    "terms": ("tfidf-text", "min_df=2"),
}

# Runs with TensorFlow and NumPy alone, elsewhere, with nothing of ours on the path.
FRESH = """
import importlib.util, sys
import numpy as np
import tensorflow as tf

saved, inputs, answers, with_text = sys.argv[1:]
if with_text == "True":
    import tensorflow_text
assert importlib.util.find_spec("modeling") is None
serve = tf.saved_model.load(saved).signatures["serving_default"]
given = {n: tf.constant(v.tolist() if v.dtype.kind == "S" else v)
         for n, v in np.load(inputs).items()}
made = {name: value.numpy() for name, value in serve(**given).items()}
made["label"] = made["label"].astype(str)
assert ("tensorflow_text" in sys.modules) == (with_text == "True")
np.savez(answers, **made)
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both") / "data"
    return write_data(folder, records(num_takes=2, streams=("audio", "text")))


@pytest.fixture(scope="module")
def runs(data: Path, audio_run: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Features -> a run of them; and `fused`, words beside sound."""
    out = tmp_path_factory.mktemp("runs")
    made = {}
    for name, (recipe, *changes) in RECIPES.items():
        made[name] = out / name
        words = ("--recipe", recipe, "--epochs", 1, *settings(*changes, "learning_rate=0.01"))
        with stub_trainer():  # an export of weights that learnt nothing is as good here
            assert train(made[name], *words, stream="text", data=data) == EXIT_OK
    made["fused"] = out / "fused"
    parts = ("--audio-run", audio_run, "--text-run", made["words"])
    assert train(made["fused"], *parts, stream="fusion", data=data) == EXIT_OK
    return made


@pytest.fixture(scope="module")
def exports(runs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run -> its exported version; those that end in "-ids" were made with --text-input."""
    out = tmp_path_factory.mktemp("exports")
    made = {}
    for name, folder in runs.items():
        assert run("export", "--run", folder, "--out", out / name) == EXIT_OK
        made[name] = out / name / "1"
    for name in ("words", "pieces"):
        words = ("--run", runs[name], "--out", out / f"{name}-ids", "--text-input", "token_ids")
        assert run("export", *words) == EXIT_OK
        made[f"{name}-ids"] = out / f"{name}-ids" / "1"
    return made


def sounds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(2)
    lengths = np.array([20_000, 20_000, 0, 9_000, 0, 0], np.int32)
    return {
        "audio": rng.normal(0, 0.1, (6, 20_000)).astype(np.float32),
        "audio_length": lengths,
    }


def given_to(name: str, run_folder: Path, ids: bool = False) -> dict[str, np.ndarray]:
    """Inputs of one batch, ragged, with empty texts in it."""
    made = sounds() if name == "fused" else {}
    if not ids:
        return {**made, "text": np.array(TEXTS, object)}
    model, info = load_run(run_folder)
    text = model if info.streams == ("text",) else model.get_layer("text_stream")
    front = keras.Model(text.input, text.get_layer("tokens").output)
    return {**made, "token_ids": np.asarray(front({"text": tf.constant(TEXTS)}))}


@functools.cache
def loaded(saved: Path) -> Any:
    return tf.saved_model.load(str(saved))


@functools.cache
def inference_of(run_folder: Path) -> keras.Model:
    return inference_model(*load_run(run_folder))


def expected(run_folder: Path, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    inference = inference_of(run_folder)
    tensors = {name: tf.constant(value) for name, value in given.items()}
    return {k: np.asarray(v) for k, v in inference(tensors, training=False).items()}


def assert_equal(
    made: dict[str, np.ndarray], wanted: dict[str, np.ndarray], rows: Any = slice(None)
) -> None:
    assert set(made) == {*wanted, "label"}
    made = {name: value[rows] for name, value in made.items()}
    wanted = {name: value[rows] for name, value in wanted.items()}
    for name, value in wanted.items():
        np.testing.assert_allclose(made[name], value, atol=TOLERANCE, err_msg=name)
    labels = [LABELS[i] for i in wanted["probabilities"].argmax(axis=1)]
    assert [str(label) for label in made["label"]] == labels


def serve(saved: Path, signature: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    made = loaded(saved).signatures[signature](
        **{name: tf.constant(value) for name, value in given.items()}
    )
    arrays = {name: value.numpy() for name, value in made.items()}
    return {**arrays, "label": arrays["label"].astype(str)}


def ops_of(saved: Path) -> set[str]:
    """Names of all operations of a SavedModel."""
    model = saved_model_pb2.SavedModel.FromString((saved / "saved_model.pb").read_bytes())
    graphs = [meta.graph_def for meta in model.meta_graphs]
    found = {node.op for graph in graphs for node in graph.node}
    functions = [function for graph in graphs for function in graph.library.function]
    return found | {node.op for function in functions for node in function.node_def}


def text_ops_of(saved: Path) -> set[str]:
    return {op for op in ops_of(saved) if op.startswith(("TFText>", "FastBert", "FastWordpiece"))}


# === String ===


@pytest.mark.parametrize("name", [*RECIPES, "fused"])
def test_the_string_signature(name: str, runs: dict[str, Path], exports: dict[str, Path]) -> None:
    given = given_to(name, runs[name])
    wanted = expected(runs[name], given)
    assert_equal(serve(exports[name], "serving_default", given), wanted)
    # A row alone is the row in its batch: widths of tokens follow the batch.
    for row in (0, 3):
        alone = {key: value[row : row + 1] for key, value in given.items()}
        made = serve(exports[name], "serving_default", alone)
        np.testing.assert_allclose(
            made["probabilities"][0], wanted["probabilities"][row], atol=1e-5
        )


@pytest.mark.parametrize(
    ("name", "with_text"),
    [
        ("words", False),
        ("pieces", True),
        ("pieces-ids", False),
    ],
)
def test_in_a_fresh_process_without_our_code(
    name: str,
    with_text: bool,
    runs: dict[str, Path],
    exports: dict[str, Path],
    tmp_path: Path,
) -> None:
    source = name.removesuffix("-ids")
    ids = name != source
    given = given_to(source, runs[source], ids)
    plain = {k: v.astype(bytes) if v.dtype == object else v for k, v in given.items()}
    save_arrays(tmp_path / "inputs.npz", plain)
    paths = (exports[name], tmp_path / "inputs.npz", tmp_path / "answers.npz")
    done = subprocess.run(
        [sys.executable, "-I", "-c", FRESH, *map(str, paths), str(with_text)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    wanted = expected(runs[source], given_to(source, runs[source]))
    rows = SAID if name == "pieces-ids" else slice(None)
    assert_equal(dict(np.load(tmp_path / "answers.npz")), wanted, rows)


@pytest.mark.parametrize("name", [*RECIPES, "pieces-ids"])
def test_a_missing_text_has_no_embedding(name: str, exports: dict[str, Path]) -> None:
    """Words alone, by the signature of their stream."""
    given: dict[str, Any] = {"text": [b"furious shout", b" ", b""]}
    if name == "pieces-ids":
        given = {"token_ids": np.array([[2, 9, 3], [0, 0, 0], [0, 0, 0]], np.int32)}
    made = serve(exports[name], "text", given)
    assert set(made) == {"probabilities", "label", "embedding"}
    assert made["embedding"].any(axis=1).tolist() == [True, False, False]


def test_an_empty_text_is_a_missing_stream(runs: dict[str, Path], exports: dict[str, Path]) -> None:
    given = given_to("fused", runs["fused"])
    made = serve(exports["fused"], "serving_default", given)
    assert np.ptp(made["probabilities"][5]) < 1e-6  # neither words nor sound
    voice = made["audio_probabilities"][1]  # sound alone
    np.testing.assert_allclose(made["probabilities"][1], voice, atol=1e-6)
    words = made["text_probabilities"][2]
    np.testing.assert_allclose(made["probabilities"][2], words, atol=1e-6)


# === Numbers of tokens ===


@pytest.mark.parametrize("name", ["words", "pieces", "fused"])
def test_numbers_of_tokens_say_the_same(
    name: str, runs: dict[str, Path], exports: dict[str, Path]
) -> None:
    wanted = expected(runs[name], given_to(name, runs[name]))
    given = given_to(name, runs[name], ids=True)
    rows = SAID if name == "pieces" else slice(None)
    assert_equal(serve(exports[name], "token_ids", given), wanted, rows)
    if name != "fused":
        assert_equal(serve(exports[f"{name}-ids"], "serving_default", given), wanted, rows)
    narrow = {k: v[:1, :4] if k == "token_ids" else v[:1] for k, v in given.items()}
    if name == "words":  # two tokens need no padding from the client
        made = serve(exports[name], "token_ids", narrow)["probabilities"][0]
        np.testing.assert_allclose(made, wanted["probabilities"][0], atol=1e-5)


def test_signatures_and_what_they_take(exports: dict[str, Path]) -> None:
    strings, ids = ("text", (None,), "string"), ("token_ids", (None, None), "int32")
    for name, signature, wanted in (
        ("words", "serving_default", strings),
        ("words", "token_ids", ids),
        ("terms", "serving_default", strings),
        ("pieces-ids", "serving_default", ids),
    ):
        given = loaded(exports[name]).signatures[signature]
        ((key, spec),) = given.structured_input_signature[1].items()
        assert (key, tuple(spec.shape), spec.dtype.name) == wanted
    both = {"serving_default", "text", "labels"}
    for name in ("terms", "words-ids"):
        assert set(loaded(exports[name]).signatures) == both
    assert set(loaded(exports["words"]).signatures) == {*both, "token_ids"}
    everything = {*both, "token_ids", "audio", "serve_bytes"}
    assert set(loaded(exports["fused"]).signatures) == everything
    taken = loaded(exports["fused"]).signatures["serve_bytes"].structured_input_signature[1]
    assert {key: tuple(spec.shape) for key, spec in taken.items()} == {
        "wav": (None,),
        "text": (None,),
    }


def test_which_need_tensorflow_text(exports: dict[str, Path]) -> None:
    assert text_ops_of(exports["pieces"])
    for name in set(exports) - {"pieces"}:
        assert not text_ops_of(exports[name]), name


def test_tokens_of_a_fusion_leave_its_model_as_it_was(runs: dict[str, Path]) -> None:
    model, info = load_run(runs["fused"])
    assert token_model(model, info.streams) is not None
    assert set(model.input) == {"audio", "audio_length", "text"}
    terms, info = load_run(runs["terms"])
    assert token_model(terms, info.streams) is None
    fitted = TFIDF.from_model(terms).terms
    assert len(fitted) > 20
    assert vocabulary_of(terms, info.streams) == ["[UNK]", *fitted]


# === What lies inside ===


@pytest.mark.parametrize("name", ["words", "words-ids", "pieces", "fused"])
def test_a_line_of_the_vocabulary_is_a_number(
    name: str, runs: dict[str, Path], exports: dict[str, Path]
) -> None:
    source = name.removesuffix("-ids")
    text = (exports[name] / "assets" / "vocabulary.txt").read_text(encoding="utf-8")
    lines = text.split("\n")
    assert lines.pop() == ""
    rows = given_to(source, runs[source], ids=True)["token_ids"]
    said = [lines[i] for i in rows[0] if i]
    if source == "pieces":
        assert (said[0], said[-1]) == ("[CLS]", "[SEP]")
        assert "".join(said[1:-1]).replace("##", "").startswith("furiousshout")
    else:
        assert said[:2] == ["furious", "shout"]
    config = read_config(exports[name])
    assert config["text_input"] == ("token_ids" if name != source else "string")
    assert config["labels"] == list(LABELS)


def test_a_line_of_the_vocabulary_is_a_term(
    runs: dict[str, Path], exports: dict[str, Path]
) -> None:
    text = (exports["terms"] / "assets" / "vocabulary.txt").read_text(encoding="utf-8")
    model, _ = load_run(runs["terms"])
    assert text == "".join(f"{term}\n" for term in ("[UNK]", *TFIDF.from_model(model).terms))


@pytest.mark.parametrize("name", ["words", "pieces", "terms"])
def test_an_export_knows_the_words_that_its_run_knows(
    name: str, runs: dict[str, Path], exports: dict[str, Path]
) -> None:
    lines = (exports[name] / "assets" / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    two = " ".join(sorted(filter(str.isalpha, lines), key=len)[-2:])
    for path in (runs[name], exports[name]):
        recognizer = load(path)
        known = recognizer.predict_text(two)
        assert (known.known_word_share, known.warnings) == (1.0, ())
        german = recognizer.predict_text("ich habe furchtbare Angst")
        assert german.known_word_share == 0.0
        assert german.warnings == (
            "no word is known to the model: the answer from words means little",
        )


# === What does not go ===


def test_token_ids_of_what_has_none(
    runs: dict[str, Path], audio_run: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for folder in (runs["terms"], audio_run):
        words: tuple[Any, ...] = ("--run", folder, "--out", tmp_path / "out")
        capfd.readouterr()
        assert run("export", *words, "--text-input", "token_ids") == EXIT_FAILURE
        assert "takes no tokens of a text" in error_line(capfd.readouterr().err)
        assert not (tmp_path / "out").exists()


def test_predict_wants_the_text_itself(
    exports: dict[str, Path], capfd: pytest.CaptureFixture[str]
) -> None:
    capfd.readouterr()
    words = ("--model", exports["words-ids"], "--text", "furious")
    assert run("predict", *words) == EXIT_FAILURE
    line = error_line(capfd.readouterr().err)
    assert "takes numbers of tokens, made for servers" in line
