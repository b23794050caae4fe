"""Recipe options of the training commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from affectstream.core import registry
from affectstream.modeling.recipes.recipe import Recipe

RECIPE_OPTIONS = (
    click.option(
        "--labels",
        type=click.Choice(registry.names("label-sets")),
        help="Label set. [default: the recipe's]",
    ),
    click.option("--epochs", type=click.IntRange(1)),
    click.option("--batch-size", type=click.IntRange(1)),
    click.option(
        "--set",
        "settings",
        metavar="KEY=VALUE",
        multiple=True,
        help="Any value of the recipe, encoder or fusion; STREAM.KEY=VALUE for a part; repeatable.",
    ),
)


def recipe_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds `--labels`, `--epochs`, `--batch-size` and `--set`; see `changed_recipe`."""
    for option in reversed(RECIPE_OPTIONS):
        command = option(command)
    return command


def changed_recipe(
    recipe: Recipe,
    labels: str | None,
    epochs: int | None,
    batch_size: int | None,
    settings: tuple[str, ...],
) -> tuple[Recipe, dict[str, list[str]]]:
    """The recipe with the typed settings, and the `key=value` settings of its streams.

    Raises:
      UserError: no such setting, or an invalid value.
    """
    given = (("labels", labels), ("epochs", epochs), ("batch_size", batch_size))
    words = [f"{key}={value}" for key, value in given if value]
    own, of_streams = split_stream_settings(settings, recipe)
    return recipe.with_settings([*words, *own]), of_streams


def split_stream_settings(
    settings: tuple[str, ...], recipe: Recipe
) -> tuple[list[str], dict[str, list[str]]]:
    """Separates `--set` of the recipe itself from `STREAM.key=value` of its streams."""
    streams = {registry.entry("recipes", name).stream for name in recipe.stream_recipes}
    own: list[str] = []
    of_streams: dict[str, list[str]] = {stream: [] for stream in streams}
    for word in settings:
        stream, dot, rest = word.partition(".")
        if dot and stream in streams:
            of_streams[stream].append(rest)
        else:
            own.append(word)
    return own, of_streams
