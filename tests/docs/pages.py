"""The pages for readers, taken apart: headings, links, commands, Python."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests import ROOT

PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *(ROOT / "docs").rglob("*.md"),
        *(ROOT / "deploy").glob("*.md"),
        *(ROOT / "pretrained").rglob("*.md"),
    ]
)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
# A table whose script was removed: `command`; machine, date, and this sentence.
_MEASURED_ONCE = re.compile(
    r"^`[^`\n]*`;[^\n]*Measured once; the script is in the git history.*$", re.MULTILINE
)
# Behind these a shell reads no more words of ours.
_ENDS = re.compile(r"\s(?:#|\||>|&&)\s?.*$")


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")
        found[slug] = found.get(slug, 0) + 1
    return {
        slug if number == 0 else f"{slug}-{number}"
        for slug, times in found.items()
        for number in range(times)
    }


def links(text: str) -> list[str]:
    """Targets of links and pictures; code is no link."""
    return LINK.findall(CODE.sub("", FENCE.sub("", text)))


def commands(text: str, program: str) -> list[list[str]]:
    """The words behind `program` of each command line in code blocks and between backticks.

    Args:
      program: such as "python cli.py".
    """
    joined = _MEASURED_ONCE.sub("", re.sub(r"\\\n\s*", " ", text))
    lines = [line.strip() for line in joined.splitlines() if "`" not in line]
    lines += CODE.findall(joined)
    behind = re.compile(rf"^(?:[A-Z_]+=\S+ )*{re.escape(program)} (.*)$")
    found = [match for line in lines if (match := behind.match(line)) is not None]
    return [shlex.split(_ENDS.sub("", match.group(1))) for match in found]


def blocks(text: str, language: str) -> list[str]:
    return [code for name, code in FENCE.findall(text) if name == language]


def commands_measured_once(text: str) -> list[str]:
    """Modules of benchmarks that a page says were removed after they had measured."""
    return re.findall(r"python -m (benchmarks[\w.]+)", "\n".join(_MEASURED_ONCE.findall(text)))
