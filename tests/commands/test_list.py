"""`list`: every row of the table, with licence and source."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from affectstream.cli import main
from affectstream.core import registry
from affectstream.core.registry import Entry
from affectstream.preprocessing.labels import BASIC7


@pytest.mark.parametrize("kind", registry.TABLE)
def test_every_row_is_shown(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    assert head.split()[0] == "name"
    assert [line.split()[0] for line in lines] == list(registry.names(kind))
    for name, line in zip(registry.names(kind), lines, strict=True):
        entry = said_by(kind, name)
        for text in (entry.summary, entry.licence, entry.source, entry.stream):
            assert text in line


def said_by(kind: str, name: str) -> Entry:
    """The row of the registry; a recipe tells summary and source itself."""
    entry = registry.entry(kind, name)
    if kind != "recipes":
        return entry
    recipe = registry.load(kind, name)
    return replace(entry, summary=recipe.summary, source=recipe.source)


@pytest.mark.parametrize("kind", registry.TABLE)
def test_json_says_the_same(kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", kind, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == list(registry.names(kind))
    for row in rows:
        entry = said_by(kind, row["name"])
        assert row["summary"] == entry.summary
        assert (row["licence"], row["source"]) == (entry.licence, entry.source)


def test_label_sets_show_their_labels_in_order(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "label-sets"]) == 0
    line = next(x for x in capsys.readouterr().out.splitlines() if x.startswith("basic7"))
    assert line.endswith("neutral, happy, sad, angry, fearful, disgust, surprised")
    assert main(["list", "label-sets", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["basic7"]["labels"] == list(BASIC7.labels)


def test_columns_line_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list", "corpora"]) == 0
    head, *lines = capsys.readouterr().out.splitlines()
    for name, line in zip(registry.names("corpora"), lines, strict=True):
        at = head.index("licence")
        assert line[at:].startswith(registry.entry("corpora", name).licence)
        assert line[at - 1] == " "


@pytest.mark.parametrize("words", [[], ["flavours"], ["corpora", "detectors"]])
def test_list_refuses_what_it_does_not_know(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["list", *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    for kind in registry.TABLE:
        assert kind in said.err.replace("\n", "").replace(" ", "") or len(words) == 2
