"""`list`: the registered components, from the table without heavy imports."""

from __future__ import annotations

import json
from typing import Any

import click

from affectstream.core import registry
from affectstream.modeling.recipes.sizes import recipe_sizes

COLUMNS = ("name", "stream", "summary", "parameters", "shape", "licence", "source")
LABELS, RECIPES = "label-sets", "recipes"


@click.command("list")
@click.argument("kind", type=click.Choice(tuple(registry.TABLE)))
@click.option("--json", "as_json", is_flag=True, help="One JSON list, for machines.")
def command(kind: str, as_json: bool) -> None:
    """Says what exists of a KIND: name, what it is, licence and source."""
    rows = [_row(kind, name) for name in registry.names(kind)]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    for line in _table(rows):
        click.echo(line)


def _row(kind: str, name: str) -> dict[str, Any]:
    """One row of the table; a label set also shows its labels, in output order."""
    entry = registry.entry(kind, name)
    row: dict[str, Any] = {
        "name": name,
        "stream": entry.stream,
        "summary": entry.summary,
        "parameters": "",
        "shape": "",
        "licence": entry.licence,
        "source": entry.source,
    }
    if kind == RECIPES:
        recipe, size = registry.load(kind, name), recipe_sizes().get(name)
        row |= {"summary": recipe.summary, "source": recipe.source}
        if size is not None:
            row |= {"parameters": f"{size.parameters:,}", "shape": size.input_shape}
    if kind == LABELS:
        row["labels"] = list(registry.load(kind, name).labels)
    return row


def _table(rows: list[dict[str, Any]]) -> list[str]:
    """Aligned columns without empty ones."""
    cells = [{key: _cell(value) for key, value in row.items()} for row in rows]
    shown = [key for key in (*COLUMNS, "labels") if any(row.get(key) for row in cells)]
    widths = {key: max(len(key), *(len(row[key]) for row in cells)) for key in shown}
    lines = [{key: key for key in shown}, *cells]
    return ["  ".join(row[key].ljust(widths[key]) for key in shown).rstrip() for row in lines]


def _cell(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else str(value)
