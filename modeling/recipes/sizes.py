"""Sizes of the recipes' networks, from a generated file, so that listing builds no network."""

from __future__ import annotations

import functools
import json
from dataclasses import dataclass
from pathlib import Path

SIZES = Path(__file__).with_name("sizes.json")


@dataclass(frozen=True)
class RecipeSize:
    """Size of the network of a stream recipe.

    Attributes:
      parameters: of the network at 7 classes, without standardisation.
      input_shape: shape of the features without the batch, e.g. "128 x 282 x 1"; T is time.
    """

    parameters: int
    input_shape: str


@functools.cache
def recipe_sizes() -> dict[str, RecipeSize]:
    """Recipe -> size; without fusions and vocabularies whose size depends on the training.

    `scripts/recipe_sizes.py` writes the file.
    """
    return {name: RecipeSize(*size) for name, size in json.loads(SIZES.read_text("utf-8")).items()}
