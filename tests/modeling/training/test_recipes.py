"""Recipes: what is in them, and what `--set` may change."""

from __future__ import annotations

import dataclasses
import json

import pytest

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import parse_transforms
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.recipes import (
    BERT_TEXT,
    DEFAULT_RECIPES,
    DENSE_FUSION,
    ELU_CNN_VIDEO,
    LATE_FUSION,
    RELU_CNN_AUDIO,
    TEXT_CNN,
    TFIDF_TEXT,
    Recipe,
)
from tests.support.encoder_cases import CASES

RECIPES = registry.names("recipes")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_the_registry(name: str) -> None:
    recipe: Recipe = registry.load("recipes", name)
    assert recipe.name == name
    assert recipe.stream == registry.entry("recipes", name).stream
    assert recipe.source
    assert recipe.validate() is recipe
    assert bool(recipe.encoder) is (recipe.stream != "fusion")
    assert bool(recipe.fusion) is (recipe.stream == "fusion")
    parse_transforms(recipe.transforms)
    assert Recipe.from_json(json.loads(json.dumps(recipe.as_json()))) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_what_the_list_says_of_its_network(name: str) -> None:
    entry, recipe = registry.entry("recipes", name), registry.load("recipes", name)
    if recipe.stream == "fusion":
        assert (entry.parameters, entry.input_shape) == ("", "")
        return
    case = CASES[recipe.encoder]  # test_encoders.py counts these
    if recipe.stream == "text":
        expected = ("", "terms")  # as many as the training part has
        if case.full_vocabulary_size:
            front_end = registry.load("features", recipe.features)
            tokens = f"up to {front_end.max_tokens} of {case.full_vocabulary_size:,} tokens"
            expected = (f"{case.parameters:,}", tokens)
        assert (entry.parameters, entry.input_shape) == expected
        assert not recipe.features_settings
        return
    of_recipe = {"resnet-asp-3x80-audio": 347_895}  # three spectrograms, and its bands joined
    assert entry.parameters == f"{of_recipe.get(name, case.parameters):,}"
    size_px = 48 if recipe.encoder == "resnet_face" else 112
    spec = InputSpec(48_000 if recipe.features == "log_mel_128_48k" else 16_000, size_px, 1)
    if recipe.features == "action_units":
        spec = InputSpec(action_units=[f"AU{i}" for i in range(35)])
    front_end = registry.load("features", recipe.features)
    shape = front_end.connect(spec.inputs(recipe.stream), spec).values.shape[1:]
    assert entry.input_shape == " x ".join("T" if size is None else str(size) for size in shape)


def test_a_default_for_each_stream() -> None:
    assert set(DEFAULT_RECIPES) == {"audio", "video", "text", "fusion"}
    for stream, name in DEFAULT_RECIPES.items():
        assert registry.load("recipes", name).stream == stream
    assert DEFAULT_RECIPES["fusion"] == "late-fusion"


def test_set_own_values() -> None:
    words = ["epochs=3", "learning_rate=0.01", "class_weights=no", "transforms=flip,cutout"]
    changed = ELU_CNN_VIDEO.with_settings([*words, "optimizer=adamw", " label_smoothing = 0.1 "])
    assert changed == dataclasses.replace(
        ELU_CNN_VIDEO,
        epochs=3,
        learning_rate=0.01,
        class_weights=False,
        transforms="flip,cutout",
        optimizer="adamw",
        label_smoothing=0.1,
    )
    assert ELU_CNN_VIDEO.epochs == 10  # frozen


def test_the_last_word_counts() -> None:
    assert RELU_CNN_AUDIO.with_settings(["epochs=3", "epochs=4"]).epochs == 4


def test_set_what_encoder_and_fusion_take() -> None:
    assert RELU_CNN_AUDIO.with_settings(["embedding_dim=64", "dropout=0.5"]).encoder_settings == {
        "embedding_dim": 64,
        "dropout": 0.5,
    }
    assert DENSE_FUSION.with_settings(["hidden_dim=16"]).fusion_settings == {"hidden_dim": 16}


def test_set_what_a_front_end_of_words_takes() -> None:
    changed = TEXT_CNN.with_settings(["max_tokens=32", "min_count=1", "filters=8"])
    assert changed.features_settings == {"max_tokens": 32, "min_count": 1}
    assert changed.encoder_settings == {"filters": 8}
    assert Recipe.from_json(json.loads(json.dumps(changed.as_json()))) == changed
    words = ["vocabulary=mine.txt", "lowercase=no", "weights=none"]
    pieces = BERT_TEXT.with_settings(words)
    assert pieces.features_settings == {"vocabulary": "mine.txt", "lowercase": False}
    assert (BERT_TEXT.pretrained, pieces.pretrained) == ("bert_base_en_uncased", "none")
    assert (TEXT_CNN.pretrained, RELU_CNN_AUDIO.pretrained) == ("none", "none")


@pytest.mark.parametrize(
    ("recipe", "word", "expected"),
    [
        (
            RELU_CNN_AUDIO,
            "epoch=3",
            "--set epoch: no such setting; known: batch_size, class_weights",
        ),
        (RELU_CNN_AUDIO, "hidden_dim=3", "--set hidden_dim: no such setting"),
        (RELU_CNN_AUDIO, "name=x", "--set name: no such setting"),
        (RELU_CNN_AUDIO, "epochs", "--set epochs: expected key=value"),
        (RELU_CNN_AUDIO, "epochs=many", "--set epochs=many: must be a whole number, like 45"),
        (
            RELU_CNN_AUDIO,
            "class_weights=perhaps",
            "--set class_weights=perhaps: must be true or false",
        ),
        (RELU_CNN_AUDIO, "epochs=0", "epochs=0: must be above 0"),
        (RELU_CNN_AUDIO, "learning_rate=-1", "learning_rate=-1.0: must be above 0"),
        (RELU_CNN_AUDIO, "dropout=x", "--set dropout=x: must be a number, like 0.2"),
        (RELU_CNN_AUDIO, "weight_decay=-1", "weight_decay=-1.0: must be 0 or more"),
        (RELU_CNN_AUDIO, "optimizer=sgd", "optimizer=sgd: must be one of adam, adamw"),
        (RELU_CNN_AUDIO, "schedule=linear", "schedule=linear: must be one of constant, cosine"),
        (RELU_CNN_AUDIO, "transforms=nose", "no transforms named 'nose'; known: noise, speed"),
        (
            RELU_CNN_AUDIO,
            "transforms=noise,flip",
            "transforms=noise,flip: one is for video, the recipe",
        ),
        (ELU_CNN_VIDEO, "transforms=spec_augment", "transforms=spec_augment: one is for features"),
        (LATE_FUSION, "transforms=mixup", "transforms=mixup: one is for batch, the recipe for fus"),
        (RELU_CNN_AUDIO, "encoder=vgg", "no encoders named 'vgg'; known: alexnet"),
        (RELU_CNN_AUDIO, "features=mfcc", "no features named 'mfcc'; known: log_mel_128_16k"),
        (RELU_CNN_AUDIO, "labels=seven", "no label-sets named 'seven'; known: ravdess8"),
        (TEXT_CNN, "max_tokens=all", "--set max_tokens=all: must be a whole number, like 64"),
        (TEXT_CNN, "stream=audio", "--set stream: no such setting"),
        (TEXT_CNN, "vocabulary=a", "--set vocabulary: no such setting"),  # learnt, never set
        (TFIDF_TEXT, "idf=1", "--set idf: no such setting"),
        (RELU_CNN_AUDIO, "max_tokens=9", "--set max_tokens: no such setting"),
        (TEXT_CNN, "transforms=noise", "transforms=noise: one is for audio, the recipe for text"),
        (LATE_FUSION, "fusion=mean", "no fusions named 'mean'; known: sum, calibrated_late, dense"),
    ],
)
def test_what_cannot_be_set(recipe: Recipe, word: str, expected: str) -> None:
    with pytest.raises(UserError) as raised:
        recipe.with_settings([word])
    assert str(raised.value).startswith(expected)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("recipe", [RELU_CNN_AUDIO, DENSE_FUSION], ids=lambda recipe: recipe.name)
def test_an_unknown_key_answers_with_all_that_are_known(recipe: Recipe) -> None:
    with pytest.raises(UserError) as raised:
        recipe.with_settings(["colour=red"])
    known = str(raised.value).partition("known: ")[2].split(", ")
    for key in known:
        default = getattr(recipe, key, None)
        if default is not None and not isinstance(default, str):
            recipe.with_settings([f"{key}={default}"])
    assert {"epochs", "batch_size", "learning_rate", "transforms", "early_stopping"} <= set(known)
    assert {"embedding_dim" if recipe.encoder else "hidden_dim"} <= set(known)
