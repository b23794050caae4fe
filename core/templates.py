"""Text by Jinja2: templates lie in `templates/`, beside the module that fills them in."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from affectstream.core.errors import pluralize

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, template: str, **values: Any) -> str:
    """The template with its values; what a template of HTML is given is escaped.

    Args:
      package: whose folder holds `templates/`, such as "affectstream.serving.export".
      template: name of the file, such as "model_card.md.j2".
    Raises:
      jinja2.UndefinedError: the template names a value that is not given.
    """
    return _environment(package).get_template(template).render(values)


@functools.cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    made = Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    made.filters |= {"decimals": _decimals, "pluralize": pluralize}
    made.tests["list"] = lambda value: isinstance(value, list | tuple)
    return made


def _decimals(value: float, digits: int = 3) -> str:
    """A number with so many digits behind its point."""
    return f"{value:.{digits}f}"
