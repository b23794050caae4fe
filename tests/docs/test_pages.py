"""Links, commands and Python of every page: what is written exists."""

from __future__ import annotations

import argparse
import ast
import importlib
import importlib.util
import re
from pathlib import Path
from typing import Any

import click
import pytest

from affectstream.cli import COMMANDS, cli
from tests import ROOT
from tests.docs.pages import (
    CODE,
    LINK,
    PAGES,
    anchors,
    blocks,
    commands,
    commands_measured_once,
    links,
    name_of,
    read,
)

README = ROOT / "README.md"
MAX_README_LINES = 150
MAX_CELL_CHARACTERS = 100
# What a reader puts a name of their own in place of.
PLACEHOLDERS = {"RECIPE": "late-fusion", "NAME": "ravdess", "KIND": "recipes"}


def with_words(program: str) -> list[Any]:
    """A parameter for each command line of each page; an ellipsis stands for what is left out."""
    return [
        pytest.param(words, id=f"{name_of(page)}: {' '.join(words)[:60]}")
        for page in PAGES
        for words in commands(read(page), program)
        if words and "..." not in words
    ]


# === Links ===


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(read(page)):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), link
        assert found.is_relative_to(ROOT), link
        if anchor:
            assert anchor in anchors(read(found)), link


def test_every_page_of_the_docs_is_linked() -> None:
    linked = {
        (page.parent / link.partition("#")[0]).resolve()
        for page in PAGES
        for link in links(read(page))
    }
    assert [page for page in (ROOT / "docs").rglob("*.md") if page not in linked] == []


def test_code_names_pages_that_exist() -> None:
    sources = [path for path in ROOT.rglob("*.py") if ".venv" not in path.parts]
    for path in {source.resolve() for source in sources}:
        for page in re.findall(r"docs/[\w/]+\.(?:md|json|png)", path.read_text(encoding="utf-8")):
            assert (ROOT / page).is_file(), f"{path}: {page}"


# === Commands ===


def command_named(name: str) -> click.Command:
    command = cli.get_command(click.Context(cli), name)
    assert command is not None, name
    return command


@pytest.mark.parametrize("words", with_words("python cli.py"))
def test_commands_parse(words: list[str]) -> None:
    if words[0] == "COMMAND" or words[0].startswith("-"):
        return
    name, *rest = (PLACEHOLDERS.get(word, word) for word in words)
    # A path stands for a URL: a store would be opened.
    rest = [re.sub(r"^(s3|gs)://", "store/", word) for word in rest]
    try:
        command_named(name).make_context(name, rest)
    except click.exceptions.Exit as end:  # --help
        assert end.exit_code == 0


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_options_named_beside_a_command_exist(page: Path) -> None:
    """Between backticks: `predict --text` and the like."""
    for code in CODE.findall(read(page)):
        name, *rest = code.split() or [""]
        if name not in COMMANDS:
            continue
        known = {option for one in command_named(name).params for option in one.opts}
        for word in rest:
            if word.startswith("--"):
                assert word.partition("=")[0].rstrip(",;") in known | {"--help"}, code


class _ParsedError(Exception):
    """Raised once the arguments of a benchmark are parsed, so that it does not run."""


@pytest.mark.parametrize("words", with_words("python -m"))
def test_modules_take_these_arguments(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    name, *rest = words
    assert importlib.util.find_spec(name) is not None, name
    if not name.startswith("benchmarks."):
        return
    parse = argparse.ArgumentParser.parse_args

    def parse_only(self: argparse.ArgumentParser, *given: Any, **named: Any) -> None:
        parse(self, *given, **named)
        raise _ParsedError

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_only)
    with pytest.raises(_ParsedError):
        importlib.import_module(name).main(rest)


def test_benchmarks_that_are_said_to_be_removed_are() -> None:
    removed = [name for page in PAGES for name in commands_measured_once(read(page))]
    assert len(removed) > 10
    for name in removed:
        assert importlib.util.find_spec(name) is None, name


@pytest.mark.parametrize("words", with_words("make"))
def test_make_targets_exist(words: list[str]) -> None:
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert words[0] in targets


# === Python ===


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_python_imports_what_exists(page: Path) -> None:
    for code in blocks(read(page), "python"):
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("affectstream"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    assert hasattr(module, name.name) or importlib.import_module(
                        f"{node.module}.{name.name}"
                    )


# === README ===


def test_the_readme_is_short() -> None:
    lines = read(README).splitlines()
    assert len(lines) <= MAX_README_LINES
    rows = [LINK.sub(_text_of_link, line) for line in lines if line.startswith("|")]
    cells = [cell.strip() for row in rows for cell in row.strip("|").split("|")]
    assert [cell for cell in cells if len(cell) > MAX_CELL_CHARACTERS] == []


def _text_of_link(link: re.Match[str]) -> str:
    return link.group(0)[1:].partition("]")[0]
