"""HTML pages that need nothing else: one style, nothing from the network, a script where asked."""

from __future__ import annotations

import base64
import hashlib
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

#: Nothing may be loaded but what the page holds itself.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def render_page(package: str, template: str, script: str = "", **content: Any) -> str:
    """Return a page.

    Args:
        package: that holds the template.
        template: its file name; it extends ``base.html.j2``.
        script: file name of a script in the package, the only one that the page may run.
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
    policy, running = POLICY, ""
    if script:
        running = str(_read(package, script))
        digest = base64.b64encode(hashlib.sha256(running.encode()).digest()).decode()
        policy += f"; script-src 'sha256-{digest}'"
    page = environment.get_template(template)
    return page.render(policy=policy, script=Markup(running), **content)


def _read(package: str, name: str) -> str | None:
    file = resources.files(package) / name
    return file.read_text(encoding="utf-8") if file.is_file() else None
