"""Published text networks: tiny ones that these tests write in both formats, and what is none."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import kagglehub
import keras
import keras_hub
import numpy as np
import pytest
import tensorflow as tf
from safetensors.numpy import load_file, save_file

from affectstream.core.errors import EXIT_FAILURE, UserError
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import BASE
from affectstream.modeling.models.stream_model import StreamModel, build_stream_model
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.recipes.text import BERT_TEXT, DISTILBERT_TEXT
from affectstream.modeling.runs.checkpoints import load_model, save_model
from tests.support.models import error_line, records, run, write_data

pytestmark = pytest.mark.slow

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "i", "I", "feel", "good", "##ish", "!"]
WIDTH, HEADS, BETWEEN, LENGTH = 8, 2, 12, 16
TEXTS = ["I feel goodish!", "good", "", "what I feel " * 9]
RECIPES = {"bert": BERT_TEXT, "distilbert": DISTILBERT_TEXT}
# Each format once in lower case and once not.
LOWERCASE = {("bert", "hub"): True, ("bert", "hf"): False}
LOWERCASE |= {("distilbert", "hub"): False, ("distilbert", "hf"): True}
PRESETS = list(LOWERCASE)

# === Tiny presets ===


def tiny(family: str) -> keras.Model:
    """A backbone of one layer whose weights are none of those that it starts with."""
    classes = {
        "bert": keras_hub.models.BertBackbone,
        "distilbert": keras_hub.models.DistilBertBackbone,
    }
    backbone = classes[family](
        vocabulary_size=len(VOCABULARY),
        num_layers=1,
        num_heads=HEADS,
        hidden_dim=WIDTH,
        intermediate_dim=BETWEEN,
        max_sequence_length=LENGTH,
    )
    rng = np.random.default_rng(len(family))
    backbone.set_weights([rng.normal(0, 0.5, w.shape) for w in backbone.get_weights()])
    return backbone


def tokenizer_of(family: str, lowercase: bool) -> Any:
    classes = {
        "bert": keras_hub.tokenizers.BertTokenizer,
        "distilbert": keras_hub.tokenizers.DistilBertTokenizer,
    }
    return classes[family](VOCABULARY, lowercase=lowercase)


def write_hub(folder: Path, family: str, backbone: keras.Model, lowercase: bool) -> None:
    backbone.save_to_preset(str(folder))
    tokenizer_of(family, lowercase).save_to_preset(str(folder))


# Names of Hugging Face: of the layer, then query, key, value, output, its norm, dense, dense, norm.
BLOCKS = {
    "bert": (
        "bert.encoder.layer.0.",
        *("attention.self.query", "attention.self.key", "attention.self.value"),
        *("attention.output.dense", "attention.output.LayerNorm"),
        *("intermediate.dense", "output.dense", "output.LayerNorm"),
    ),
    "distilbert": (
        "distilbert.transformer.layer.0.",
        *("attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin"),
        *("sa_layer_norm", "ffn.lin1", "ffn.lin2", "output_layer_norm"),
    ),
}


def tensors_of(family: str, backbone: keras.Model) -> dict[str, np.ndarray]:
    """The weights under Hugging Face's names, dense ones (out, in) as PyTorch keeps them."""
    made: dict[str, np.ndarray] = {}

    def dense(name: str, layer: Any, inside: int = WIDTH) -> None:
        made[f"{name}.weight"] = np.asarray(layer.kernel).reshape(inside, -1).T
        made[f"{name}.bias"] = np.asarray(layer.bias).reshape(-1)

    def norm(name: str, layer: Any) -> None:
        made[f"{name}.weight"], made[f"{name}.bias"] = (
            np.asarray(layer.gamma),
            np.asarray(layer.beta),
        )

    embedded = f"{family}.embeddings."
    if family == "bert":
        block = backbone.get_layer("transformer_layer_0")
        words, places = (backbone.get_layer(f"{n}_embedding") for n in ("token", "position"))
        kinds = backbone.get_layer("segment_embedding").embeddings
        made[f"{embedded}token_type_embeddings.weight"] = np.asarray(kinds)
        dense("bert.pooler.dense", backbone.get_layer("pooled_dense"))
    else:
        block = backbone.transformer_layers[0]
        both = backbone.get_layer("token_and_position_embedding")
        words, places = both.token_embedding, both.position_embedding
    made[f"{embedded}word_embeddings.weight"] = np.asarray(words.embeddings)
    made[f"{embedded}position_embeddings.weight"] = np.asarray(places.position_embeddings)
    norm(f"{embedded}LayerNorm", backbone.get_layer("embeddings_layer_norm"))
    prefix, query, key, value, output, own_norm, first, second, last_norm = BLOCKS[family]
    attention = block._self_attention_layer
    for name, part in ((query, "query"), (key, "key"), (value, "value"), (output, "output")):
        dense(prefix + name, getattr(attention, f"{part}_dense"))
    norm(prefix + own_norm, block._self_attention_layer_norm)
    dense(prefix + first, block._feedforward_intermediate_dense)
    dense(prefix + second, block._feedforward_output_dense, BETWEEN)
    norm(prefix + last_norm, block._feedforward_layer_norm)
    return {name: np.ascontiguousarray(value, np.float32) for name, value in made.items()}


def write_hf(folder: Path, family: str, backbone: keras.Model, lowercase: bool) -> None:
    folder.mkdir()
    shape: dict[str, Any] = {"vocab_size": len(VOCABULARY), "max_position_embeddings": LENGTH}
    if family == "bert":
        names = ("num_hidden_layers", "num_attention_heads", "hidden_size", "intermediate_size")
    else:
        names = ("n_layers", "n_heads", "dim", "hidden_dim")
        shape["dropout"] = 0.1
    shape |= dict(zip(names, (1, HEADS, WIDTH, BETWEEN), strict=True))
    (folder / "config.json").write_text(json.dumps({"model_type": family, **shape}))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    (folder / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n")
    save_file(tensors_of(family, backbone), folder / "model.safetensors", {"format": "pt"})


@pytest.fixture(scope="module")
def presets(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """(family, format) -> its folder."""
    out = tmp_path_factory.mktemp("presets")
    found = {}
    for (family, kind), lowercase in LOWERCASE.items():
        found[family, kind] = out / f"{family}-{kind}"
        write = write_hub if kind == "hub" else write_hf
        write(found[family, kind], family, tiny(family), lowercase)
    return found


def built_from(family: str, weights: object, *words: str) -> StreamModel:
    recipe: StreamRecipe = RECIPES[family].with_settings(
        [f"weights={weights}", "max_tokens=14", *words]
    )
    return build_stream_model(recipe, 3, InputSpec(), ["words of no use here"])


def answers(model: keras.Model) -> dict[str, np.ndarray]:
    texts = tf.constant([text.encode() for text in TEXTS])
    made = model({"text": texts}, training=False)
    return {name: np.asarray(value) for name, value in made.items()}


# === Loaded ===


@pytest.mark.parametrize(("family", "kind"), PRESETS)
def test_loaded_is_what_was_written(
    family: str, kind: str, presets: dict[tuple[str, str], Path]
) -> None:
    lowercase, source = LOWERCASE[family, kind], tiny(family)
    built = built_from(family, presets[family, kind])
    pieces = built.front.get_layer("pieces")
    assert list(pieces.vocabulary) == VOCABULARY
    assert pieces.lowercase is lowercase
    reference = tokenizer_of(family, lowercase)
    rows = [[2, *np.asarray(reference(text)).tolist()[:12], 3] for text in TEXTS]
    ids = np.zeros((len(rows), 14), np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    assert ids[0].tolist()[1:6] == [5 if lowercase else 6, 7, 8, 9, 10]
    given = {"token_ids": ids, "padding_mask": (ids > 0).astype(np.int32)}
    if family == "bert":
        given["segment_ids"] = np.zeros_like(ids)
    encoder = built.network.get_layer(family)
    loaded, expected = (model(given) for model in (encoder.get_layer(BASE), source))
    for one, other in zip(tf.nest.flatten(loaded), tf.nest.flatten(expected), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    # From text to logits.
    if family == "bert":
        embedding = np.asarray(expected["pooled_output"])
    else:
        dense = encoder.get_layer("pooled_dense")
        embedding = np.maximum(np.asarray(expected)[:, 0] @ dense.kernel + dense.bias, 0)
    head = encoder.get_layer("logits")
    made = answers(built.whole)
    np.testing.assert_allclose(made["embedding"], embedding, atol=1e-5)
    np.testing.assert_allclose(made["logits"], embedding @ head.kernel + head.bias, atol=1e-5)


def by_hand(tensors: dict[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
    """BERT's pooled output of one row without padding, in NumPy (Devlin et al. 2019)."""
    tensors = {name.removeprefix("bert."): value for name, value in tensors.items()}

    def dense(x: np.ndarray, name: str) -> np.ndarray:
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        return scaled * tensors[f"{name}.weight"] + tensors[f"{name}.bias"]

    x = tensors["embeddings.word_embeddings.weight"][ids]
    x = x + tensors["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    layer = "encoder.layer.0."
    query, key, value = (
        dense(x, f"{layer}attention.self.{part}").reshape(len(ids), HEADS, -1).transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    scores = np.exp(query @ key.transpose(0, 2, 1) / np.sqrt(WIDTH / HEADS))
    mixed = (scores / scores.sum(axis=-1, keepdims=True)) @ value
    mixed = mixed.transpose(1, 0, 2).reshape(len(ids), WIDTH)
    mixed = dense(mixed, f"{layer}attention.output.dense")
    x = norm(x + mixed, f"{layer}attention.output.LayerNorm")
    wide = dense(x, f"{layer}intermediate.dense")
    # GELU by tanh, as in Google's code and keras-hub; PyTorch's BERT is up to 5e-4 from it.
    wide = wide * 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (wide + 0.044715 * wide**3)))
    x = norm(x + dense(wide, f"{layer}output.dense"), f"{layer}output.LayerNorm")
    return np.tanh(dense(x[0], "pooler.dense"))


def test_bert_worked_out_from_the_file(presets: dict[tuple[str, str], Path]) -> None:
    tensors = load_file(presets["bert", "hf"] / "model.safetensors")
    made = answers(built_from("bert", presets["bert", "hf"]).whole)["embedding"]
    for row, ids in ((0, [2, 6, 7, 8, 9, 10, 3]), (1, [2, 8, 3]), (2, [2, 3])):
        np.testing.assert_allclose(made[row], by_hand(tensors, np.array(ids)), atol=1e-5)


def test_a_trained_model_needs_its_preset_no_more(
    presets: dict[tuple[str, str], Path], tmp_path: Path
) -> None:
    folder = tmp_path / "preset"
    shutil.copytree(presets["distilbert", "hub"], folder)
    whole = built_from("distilbert", folder).whole
    save_model(whole, tmp_path / "model.keras")
    shutil.rmtree(folder)
    made = answers(load_model(tmp_path / "model.keras"))
    for name, value in answers(whole).items():
        np.testing.assert_allclose(made[name], value, atol=1e-6)


# === What cannot be had ===


def refused(family: str, weights: object, *words: str) -> str:
    with pytest.raises(UserError) as caught:
        built_from(family, weights, *words)
    message = str(caught.value)
    assert "\n" not in message
    assert f"weights={weights}" in message
    return message


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*args: Any, **kwargs: Any) -> Any:
        raise OSError("cannot reach the hub\nsecond line of its message")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", unreachable)
    monkeypatch.setattr(kagglehub, "model_download", unreachable)


@pytest.mark.parametrize("weights", ["hf://nobody/nothing", "bert_tiny_en_uncased"])
def test_without_a_network(weights: str, offline: None) -> None:
    line = refused("bert", weights)
    assert "cannot be read (cannot reach the hub)" in line
    assert line.endswith("or train from scratch (--set weights=none)")


def test_without_a_network_at_the_command_line(
    offline: None, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_data(tmp_path / "data", records(streams=("text",)))
    words = ("--recipe", "bert-text", "--data", data, "--out", tmp_path / "run")
    assert run("train", *words, "--set", "weights=hf://nobody/nothing") == EXIT_FAILURE
    assert "local folder of keras-hub or Hugging Face" in error_line(capfd.readouterr().err)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_network(presets: dict[tuple[str, str], Path]) -> None:
    for kind in ("hub", "hf"):
        line = refused("bert", presets["distilbert", kind])
        assert "a DistilBertBackbone, where a BertBackbone is needed" in line


def test_a_tokenizer_without_word_pieces(tmp_path: Path) -> None:
    known = {"<|endoftext|>": 0, "a": 1, "b": 2, "ab": 3}
    tokenizer = keras_hub.tokenizers.GPT2Tokenizer(vocabulary=known, merges=["a b"])
    keras_hub.models.GPT2Backbone(4, 1, 1, 4, 4, max_sequence_length=8).save_to_preset(
        str(tmp_path)
    )
    tokenizer.save_to_preset(str(tmp_path))
    line = refused("bert", tmp_path)
    assert "its tokenizer is GPT2Tokenizer, not word pieces" in line


def test_folders_that_are_no_preset(presets: dict[tuple[str, str], Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "cannot be read" in refused("bert", tmp_path / "empty")
    assert "cannot be read" in refused("bert", tmp_path / "absent")
    broken = tmp_path / "broken"
    shutil.copytree(presets["bert", "hf"], broken)
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    assert "cannot be read" in refused("bert", broken)


def test_a_vocabulary_beside_weights(presets: dict[tuple[str, str], Path]) -> None:
    line = refused("bert", presets["bert", "hf"], "vocabulary=mine.txt")
    assert "vocabulary=mine.txt" in line
    assert "bring their own" in line


def test_more_tokens_than_the_weights_have_places(presets: dict[tuple[str, str], Path]) -> None:
    line = refused("bert", presets["bert", "hub"], f"max_tokens={LENGTH + 1}")
    assert f"made for {LENGTH} tokens, the recipe gives up to {LENGTH + 1}" in line
    assert line.endswith(f"(--set max_tokens={LENGTH})")
