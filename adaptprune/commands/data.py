"""Commands about training data: how much there is of it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from adaptprune.commands.options import (
    LocalDataOption,
    ModelOption,
    OutputOption,
    check_folder,
    named_file,
)


def count_tokens(
    data: Annotated[str, typer.Option(help="name of a mixture or text collection, or FILE.jsonl")],
    model: ModelOption,
    output: OutputOption,
    local_data: LocalDataOption = None,
) -> None:
    """Count the tokens of each source of training data under a model's tokenizer."""
    from adaptprune.commands.outputs import check_files, json_with, model_inputs
    from adaptprune.data.tokencount import write_counts
    from adaptprune.data.training import find_data
    from adaptprune.models.catalogue import find_entry

    check_folder(local_data)
    find_entry(model)
    read = [*model_inputs(model), named_file(data, ".jsonl"), local_data]
    check_files([(output, json_with("sources", "conditions"))], read)
    write_counts(find_data(data, local_data), model, output)


def data_table(
    counts: Annotated[Path, typer.Option(help="file that count-tokens wrote")],
    output: OutputOption,
    claims: Annotated[
        Path | None, typer.Option(help="what the paper prints [default: in its folder]")
    ] = None,
) -> None:
    """Render counted tokens next to the paper's Table 2; OUTPUT is the path without suffix."""
    from adaptprune.commands.outputs import check_files, table_files
    from adaptprune.workflow.papers import claims_file, paper_of_table, table_module

    claims = claims or claims_file(paper_of_table("table2").folder(Path("paper_tables")))
    check_files(table_files(output), [counts, claims])
    table_module("table2").render_data_table(counts, claims, output)
