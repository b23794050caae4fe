"""docs/python_api.md: its generated parts are current, its examples run."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scripts import python_api
from tests import ROOT
from tests.docs.pages import blocks, read
from tests.support.factories import tone, write_media

PAGE = ROOT / "docs" / "python_api.md"


def test_generated_parts_are_current() -> None:
    assert python_api.render(read(PAGE)) == read(PAGE), "run `python -m scripts.python_api`"


@pytest.mark.parametrize("package", ["affectstream", "affectstream.serving"])
def test_every_name_that_a_package_exports_has_an_example(package: str) -> None:
    examples = "\n".join(blocks(read(PAGE), "python"))
    for name in importlib.import_module(package).__all__:
        assert name in examples, name


def test_every_documented_name_has_an_example() -> None:
    examples = "\n".join(blocks(read(PAGE), "python"))
    for name in python_api.documented_names(read(PAGE)):
        owner, _, short = name.rpartition(".")
        word = owner.rpartition(".")[2] if short == "__call__" else short
        assert word in examples, name


def test_examples_run(tmp_path: Path, toy_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = [np.full((96, 128, 3), 90, np.uint8)] * 25
    write_media(tmp_path / "holiday.mp4", pictures, waveform=tone(1.0))
    (tmp_path / "pretrained").symlink_to(ROOT / "pretrained")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine").symlink_to(toy_data)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    for code in blocks(read(PAGE), "python"):
        exec(compile(code, str(PAGE), "exec"), names)
    assert names["prediction"].label in names["recognizer"].labels
