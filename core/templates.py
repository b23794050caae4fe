"""Text from Jinja2 templates in the folder `templates/` beside the calling module."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from affectstream.core.errors import pluralize

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, template: str, **values: Any) -> str:
    """Renders a template; values in an HTML template are escaped.

    Args:
      package: package with the folder `templates/`, such as "affectstream.serving.export".
      template: file name, such as "model_card.md.j2".
    Raises:
      jinja2.UndefinedError: the template uses a value that is not given.
    """
    return _environment(package).get_template(template).render(values)


@functools.cache
def _environment(package: str) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

    environment = Environment(
        loader=PackageLoader(package),
        autoescape=select_autoescape(("html.j2",)),
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {"decimals": _decimals, "pluralize": pluralize}
    environment.tests["list"] = lambda value: isinstance(value, list | tuple)
    return environment


def _decimals(value: float, digits: int = 3) -> str:
    """A number with a fixed number of decimals."""
    return f"{value:.{digits}f}"
