"""What the reference takes from the code itself: options of the commands, keys of a profile."""

from __future__ import annotations

import inspect
import json
from typing import Any

import typer

from adaptprune.cli import app
from adaptprune.workflow.profiles import Profile


def _table(*rows: tuple[str, ...]) -> str:
    """Return a Markdown table; the first row is its head."""
    head, *lines = [[cell.replace("|", "\\|").replace("``", "`") for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [head, ["---"] * len(head), *lines])


def options_of_commands() -> str:
    """Return a section for every command that is listed: its purpose and its options."""
    group: Any = typer.main.get_command(app)
    sections = ["## All options"]
    for name, command in sorted(group.commands.items()):
        if command.hidden:
            continue
        context = command.make_context(name, [], resilient_parsing=True)
        records = [option.get_help_record(context) for option in command.get_params(context)]
        rows = [(f"`{named}`", meaning) for named, meaning in records if named != "--help"]
        sections += [f"### {name}", inspect.cleandoc(command.help).replace("``", "`")]
        sections += [_table(("option", "meaning"), *rows)] if rows else []
    return "\n\n".join(sections) + "\n"


def schema_of_profiles() -> str:
    """Return a table of the keys of a profile, and one of what stands inside each."""
    schema = Profile.model_json_schema()
    sections = ["## Types and defaults", _keys(schema)]
    for name, inner in schema["$defs"].items():
        keys = [key for key, spec in schema["properties"].items() if f"$defs/{name}'" in str(spec)]
        sections += [f"### Inside {', '.join(f'`{key}`' for key in keys)}", _keys(inner)]
    return "\n\n".join(sections) + "\n"


def _keys(schema: dict[str, Any]) -> str:
    """Return the table of one level of a JSON schema."""
    required = schema.get("required", [])
    rows = [
        (
            f"`{key}`",
            _words(spec),
            "required" if key in required else _printed(spec.get("default")),
        )
        for key, spec in schema["properties"].items()
    ]
    return _table(("key", "type", "default"), *rows)


def _printed(default: Any) -> str:
    """Return a default as a profile would write it."""
    return "none" if default in (None, "") else f"`{json.dumps(default)}`"


WORDS = {
    "string": "text",
    "integer": "whole number",
    "number": "number",
    "boolean": "true or false",
    "null": "none",
}


def _words(spec: dict[str, Any]) -> str:
    """Return a JSON schema of one value in words."""
    if "anyOf" in spec:
        parts = [_words(part) for part in spec["anyOf"]]
        return " or ".join(part for part in parts if part != "none")
    if "enum" in spec:
        return ", ".join(f"`{value}`" for value in spec["enum"])
    if "const" in spec:
        return f"`{spec['const']}`"
    if "$ref" in spec:
        return "keys, see below"
    if spec.get("type") == "array":
        return f"list of: {_words(spec['items'])}"
    if spec.get("type") == "object":
        values = spec.get("additionalProperties")
        return "by name: " + (_words(values) if isinstance(values, dict) else "values")
    bounds = [f"{sign} {spec[key]}" for key, sign in BOUNDS.items() if key in spec]
    return ", ".join([WORDS[spec["type"]], *bounds]) if "type" in spec else "any value"


BOUNDS = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "exclusiveMaximum": "<"}
