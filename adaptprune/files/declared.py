"""What YAML files declare: closed schemas, and all declarations of a kind. Torch-free."""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING, Any, TypeVar

import pydantic
import yaml

from adaptprune.errors import UserError, refusal

if TYPE_CHECKING:
    from pathlib import Path

Declaration = TypeVar("Declaration")
Schema = TypeVar("Schema", bound=pydantic.BaseModel)


class Closed(pydantic.BaseModel):
    """A declaration or a record that has no room for misspelt keys and does not change."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


def packaged_yaml(package: str, folder: str) -> dict[str, Any]:
    """Return the content of the YAML files in a folder of a package, by name without suffix."""
    files = {file.name: file for file in (resources.files(package) / folder).iterdir()}
    return {
        name.removesuffix(".yaml"): yaml.safe_load(files[name].read_text(encoding="utf-8"))
        for name in sorted(files)
        if name.endswith(".yaml")
    }


def declared(
    schema: pydantic.TypeAdapter[Declaration], package: str, folder: str
) -> list[Declaration]:
    """Return what the YAML files in a folder of a package declare, in the order of their names."""
    return [schema.validate_python(content) for content in packaged_yaml(package, folder).values()]


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML file that holds a mapping.

    Raises:
        UserError: the file cannot be read, is not YAML, or holds something else.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # no text, or no date, say
        line = " ".join(str(error).split())
        raise UserError(f"{path}: not valid YAML ({line})") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping of keys to values")
    return content


def read_declared(schema: type[Schema], path: Path) -> Schema:
    """Read a YAML file of a schema.

    Raises:
        UserError: the file cannot be read or is not valid; the message names the key.
    """
    try:
        return schema.model_validate(read_yaml(path))
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: {refusal(error)}") from None
