"""HTML pages that need nothing else: one style, no script, nothing from the network."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2

#: Nothing may be loaded but what the page holds itself.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_page(package: str, template: str, **content: Any) -> str:
    """Return a page.

    Args:
        package: that holds the template.
        template: its file name; it extends ``base.html.j2``.
        content: what it shows.
    """
    loader = jinja2.ChoiceLoader(
        [
            jinja2.FunctionLoader(lambda name: _read(package, name)),
            jinja2.FunctionLoader(lambda name: _read("adaptprune.tables", name)),
        ]
    )
    environment = jinja2.Environment(
        loader=loader,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template(template).render(policy=POLICY, **content)


def _read(package: str, name: str) -> str | None:
    file = resources.files(package) / name
    return file.read_text(encoding="utf-8") if file.is_file() else None
