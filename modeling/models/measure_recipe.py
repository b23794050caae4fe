"""Measures the network of a recipe; `scripts/recipe_sizes.py` stores what it returns."""

from __future__ import annotations

import dataclasses

from affectstream.core import registry
from affectstream.modeling.input_spec import InputSpec
from affectstream.modeling.layer_names import STANDARDISE
from affectstream.modeling.models.stream_model import build_stream_model
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.recipes.settings import builder_defaults
from affectstream.modeling.recipes.sizes import RecipeSize

NUM_CLASSES = 7
NUM_ACTION_UNITS = 35
# Vocabulary size of the published, uncased BERT and DistilBERT.
PUBLISHED_VOCABULARY_SIZE = 30_522
# Face size in px, except for the encoder for smaller faces.
FACE_SIZE_PX = {"resnet_face": 48}


def measure_recipe(recipe: StreamRecipe) -> RecipeSize:
    """Builds the network at 7 classes without pretrained weights and counts its parameters.

    Text networks are counted at the largest vocabulary that their front end allows, or at that of
    the published weights.
    """
    starts_pretrained = recipe.pretrained != "none"
    if "weights" in builder_defaults("encoders", recipe.encoder):
        settings = {**recipe.encoder_settings, "weights": "none"}
        recipe = dataclasses.replace(recipe, encoder_settings=settings)
    if recipe.stream == "text":
        front_end = registry.load("features", recipe.features)
        size = PUBLISHED_VOCABULARY_SIZE if starts_pretrained else front_end.vocabulary_size
        build = registry.load("encoders", recipe.encoder)
        network = build((None,), NUM_CLASSES, vocabulary_size=size, **recipe.encoder_settings)
        shape = f"up to {front_end.max_tokens} of {size:,} tokens"
        return RecipeSize(network.count_params(), shape)
    units = [f"AU{i}" for i in range(NUM_ACTION_UNITS)]
    face_px = FACE_SIZE_PX.get(recipe.encoder, 112)
    spec = InputSpec(16_000, face_px, 1, units if recipe.features == "action_units" else None)
    built = build_stream_model(recipe, NUM_CLASSES, spec)
    features = built.front.output["features"]
    standardise = [layer for layer in built.network.layers if layer.name == STANDARDISE]
    parameters = built.network.count_params() - sum(one.count_params() for one in standardise)
    shape = " x ".join("T" if size is None else str(size) for size in features.shape[1:])
    return RecipeSize(parameters, shape)
