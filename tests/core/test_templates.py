"""Templates of reports: what they escape and refuse, and that each of them can be read."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from affectstream.core import templates
from tests import ROOT

PACKAGES = [path.name for path in (ROOT / "affectstream").iterdir() if path.is_dir()]
FILES = sorted(
    path.relative_to(ROOT)
    for package in PACKAGES
    for path in (ROOT / package).glob("**/templates/*.j2")
)
CROSSVAL = "affectstream.modeling.crossval"


def page(name: str) -> str:
    return templates.render(CROSSVAL, name, title="<b> & |", facts=["<i>"], tables=[], plots=[])


def test_a_page_is_escaped_and_markdown_is_not() -> None:
    html = page("report.html.j2")
    assert "<h1>&lt;b&gt; &amp; |</h1>" in html and "<li>&lt;i&gt;</li>" in html
    assert "# <b> & |\n\n- <i>\n" in page("report.md.j2")


def test_a_value_that_is_not_given_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError, match="'facts' is undefined"):
        templates.render(CROSSVAL, "report.md.j2", title="x", tables=[], plots=[])


@pytest.mark.parametrize("file", FILES, ids=str)
def test_a_template_is_found_in_its_package(file: Path) -> None:
    package = ".".join(["affectstream", *file.parts[:-2]])
    assert templates._environment(package).get_template(file.name)


def test_there_are_templates() -> None:
    assert len(FILES) > 8
