"""`python -m scripts.python_api`: writes the parts of docs/python_api.md that come from docstrings.

A part stands between the lines `<!-- api NAME -->` and `<!-- /api -->`. The rest is hand-written.
"""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parent.parent / "docs" / "python_api.md"
MAX_LINE_LENGTH = 100
PART = re.compile(r"<!-- api (\S+) -->\n.*?<!-- /api -->", re.DOTALL)


def render(page: str) -> str:
    """The page with each generated part written anew.

    Raises:
      ImportError, AttributeError: a part names something that does not exist.
    """
    return PART.sub(lambda part: _part(part.group(1)), page)


def documented_names(page: str) -> list[str]:
    """Full names of the parts, in their order."""
    return PART.findall(page)


def resolve(name: str) -> Any:
    """The object with the full name `package.module.object.attribute`.

    Raises:
      ImportError, AttributeError: there is none.
    """
    words = name.split(".")
    for length in range(len(words), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(words[:length]))
        except ModuleNotFoundError:
            continue
        for word in words[length:]:
            found = getattr(found, word)
        return found
    raise ImportError(name)


def _part(name: str) -> str:
    found = resolve(name)
    text = inspect.cleandoc(found.__doc__ or "")
    # An example stands in the page, where a test runs it; nobody but `load` makes a recognizer.
    unwanted = "\n\nArgs:" if inspect.isclass(found) else "\nExample:"
    text = text.partition(unwanted)[0].strip()
    return f"<!-- api {name} -->\n```text\n{_heading(name, found)}\n\n{text}\n```\n<!-- /api -->"


def _heading(name: str, found: Any) -> str:
    *_, owner, short = name.split(".")
    if inspect.isclass(found):
        return f"class {short}"
    signature = inspect.signature(found)
    words = [_shown(one) for one in signature.parameters.values() if one.name != "self"]
    if "self" in signature.parameters:
        short = "recognizer" if short == "__call__" else f"{owner}.{short}"
    line = f"{short}({', '.join(words)}) -> {signature.return_annotation}"
    if len(line) <= MAX_LINE_LENGTH:
        return line
    rows = "".join(f"    {word},\n" for word in words)
    return f"{short}(\n{rows}) -> {signature.return_annotation}"


def _shown(parameter: inspect.Parameter) -> str:
    """`name: type = default`; the types are strings already."""
    default = "" if parameter.default is parameter.empty else f" = {parameter.default!r}"
    return f"{parameter.name}: {parameter.annotation}{default}"


def main() -> None:
    PAGE.write_text(render(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
