"""Recipes: what is in them, and what `--set` may change."""

from __future__ import annotations

import dataclasses
import json

import pytest

from affectstream.core import registry
from affectstream.core.errors import UserError
from affectstream.data_augmentation.chain import parse_transforms
from affectstream.modeling.models.measure_recipe import measure_recipe
from affectstream.modeling.recipes.audio import RELU_CNN_AUDIO
from affectstream.modeling.recipes.fusion import DENSE_FUSION, LATE_FUSION
from affectstream.modeling.recipes.recipe import (
    DEFAULT_RECIPES,
    FusionRecipe,
    Recipe,
    StreamRecipe,
    recipe_from_json,
)
from affectstream.modeling.recipes.sizes import recipe_sizes
from affectstream.modeling.recipes.text import BERT_TEXT, TEXT_CNN, TFIDF_TEXT
from affectstream.modeling.recipes.video import ELU_CNN_VIDEO
from tests.support.encoder_cases import CASES

RECIPES = registry.names("recipes")


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_of_the_registry(name: str) -> None:
    recipe: Recipe = registry.load("recipes", name)
    assert recipe.name == name
    assert recipe.stream == registry.entry("recipes", name).stream
    assert recipe.source and recipe.summary
    assert recipe.validate() is recipe
    assert isinstance(recipe, FusionRecipe) is (recipe.stream == "fusion")
    if isinstance(recipe, FusionRecipe):
        for part in recipe.stream_recipes:
            assert isinstance(registry.load("recipes", part), StreamRecipe)
    else:
        parse_transforms(recipe.transforms)
    assert recipe_from_json(json.loads(json.dumps(recipe.as_json()))) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_sizes_of_its_network(name: str) -> None:
    recipe: Recipe = registry.load("recipes", name)
    size = recipe_sizes().get(name)
    if isinstance(recipe, FusionRecipe) or recipe.features == "tfidf":  # depend on the training
        assert size is None
        return
    assert size is not None
    case = CASES[recipe.encoder]  # test_encoder_contract.py counts these
    joined = {"resnet-asp-3x80-audio": 347_895}  # three spectrograms, and its bands joined
    assert size.parameters == joined.get(name, case.parameters)
    if recipe.stream == "text":
        front_end = registry.load("features", recipe.features)
        tokens = f"up to {front_end.max_tokens} of {case.full_vocabulary_size:,} tokens"
        assert (size.input_shape, recipe.features_settings) == (tokens, {})


@pytest.mark.parametrize("name", ["relu-cnn-audio", "action-units", "resnet-face", "text-cnn"])
def test_the_stored_sizes_are_current(name: str) -> None:
    assert measure_recipe(registry.load("recipes", name)) == recipe_sizes()[name]


def test_a_default_for_each_stream() -> None:
    assert set(DEFAULT_RECIPES) == {"audio", "video", "text", "fusion"}
    for stream, name in DEFAULT_RECIPES.items():
        assert registry.load("recipes", name).stream == stream
    assert DEFAULT_RECIPES["fusion"] == "late-fusion"


def test_set_own_values() -> None:
    words = ["epochs=3", "learning_rate=0.01", "class_weights=no", "transforms=flip,cutout"]
    changed = ELU_CNN_VIDEO.with_settings([*words, "optimizer=adamw", " label_smoothing = 0.1 "])
    settings = {"epochs": 3, "learning_rate": 0.01, "class_weights": False}
    expected = ELU_CNN_VIDEO.with_training(**settings, optimizer="adamw", label_smoothing=0.1)
    assert changed == dataclasses.replace(expected, transforms="flip,cutout")
    assert ELU_CNN_VIDEO.training.epochs == 10  # frozen


def test_the_last_word_counts() -> None:
    assert RELU_CNN_AUDIO.with_settings(["epochs=3", "epochs=4"]).training.epochs == 4


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
    assert recipe_from_json(json.loads(json.dumps(changed.as_json()))) == changed
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
            "--set epoch: no such setting; known: cached_augmentations, encoder, ensemble_size",
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
        (LATE_FUSION, "transforms=mixup", "--set transforms: no such setting; known: fusion"),
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
        default = getattr(recipe, key, getattr(recipe.training, key, None))
        if default is not None and not isinstance(default, str):
            recipe.with_settings([f"{key}={default}"])
    own = {"modality_dropout", "hidden_dim"}
    if isinstance(recipe, StreamRecipe):
        own = {"transforms", "embedding_dim"}
    training = {"epochs", "batch_size", "learning_rate", "early_stopping_patience"}
    assert training | own <= set(known)
