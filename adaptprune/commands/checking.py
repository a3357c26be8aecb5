"""The command that says whether a method can take part."""

from __future__ import annotations

from typing import Annotated

import typer

from adaptprune.commands.options import (
    MethodFileOption,
    MethodOption,
    SetOption,
    choose_method,
    parse_settings,
    parse_sparsities,
)


def check_method(
    method: MethodOption = None,
    method_file: MethodFileOption = None,
    settings: SetOption = None,
    sparsities: Annotated[str, typer.Option(help="percentages to try")] = "20,50,90",
) -> None:
    """Check that a method holds what all methods must hold, on tiny models; takes seconds."""
    from adaptprune.cells import split_variant
    from adaptprune.pruning.registry import find_method

    chosen = find_method(split_variant(choose_method(method, method_file))[0])
    given = parse_settings(settings)
    wanted = parse_sparsities(sparsities)
    from adaptprune.testing import check_method as check  # imports torch

    held: list[str] = []

    def report(rule: str) -> None:
        held.append(rule)
        print(f"ok  {rule}")

    check(chosen, settings=given, sparsities=wanted, report=report)
    print(f"{chosen.name} version {chosen.version} holds all {len(held)} rules")
