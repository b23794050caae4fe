"""Writes modeling/recipes/sizes.json anew: python -m scripts.recipe_sizes."""

from __future__ import annotations

import dataclasses

from affectstream.core import atomic_io, registry
from affectstream.modeling.models.measure_recipe import measure_recipe
from affectstream.modeling.recipes.recipe import StreamRecipe
from affectstream.modeling.recipes.sizes import SIZES

if __name__ == "__main__":
    recipes = [registry.load("recipes", name) for name in registry.names("recipes")]
    sizes = {
        recipe.name: dataclasses.astuple(measure_recipe(recipe))
        for recipe in recipes
        if isinstance(recipe, StreamRecipe) and recipe.features != "tfidf"
    }
    atomic_io.write_json(SIZES, sizes)
