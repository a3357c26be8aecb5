"""Tables of listed rows: dense models and recoveries, what each one took, and what is chance."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
import yaml
from table_examples import DECLARATIONS, DECLARED, SUITE, TABLES, cell, stopped, write_trained

from adaptprune.cells import Cell
from adaptprune.errors import UserError
from adaptprune.tables.declared import ANY, Table, load_declaration
from adaptprune.tables.render import render_table
from adaptprune.tables.select import cells_of
from adaptprune.workflow.profiles import load_profile

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.results.rows import Row

CONFIG = TABLES.parent / "config"
TINY = load_profile(CONFIG, "tiny", {"seeds": [0, 1]})
ACCEL = TINY.recovery_cells("accel")[0]
BLOCK = "tiny → small"
ROWS = [
    {"title": "small", "block": BLOCK, "model": "tiny-llama-small"},
    {"title": "pruned & trained", "block": BLOCK, "recovery": "accel"},
    {"title": "once", "block": BLOCK, "recovery": "prune-train"},
]


def rows_of(wanted: Cell, accuracies: tuple[float, float], **changes: Any) -> list[Row]:
    """Return the rows of a cell of the tiny profile."""
    place = {
        "profile": "tiny",
        "model": wanted.model,
        "recovery": wanted.recovery,
        "params": 100_000,
    }
    return cell(wanted.method, wanted.sparsity, wanted.seed, accuracies, **(place | changes))


def declared(rows: list[dict[str, Any]], **changes: Any) -> Table:
    """Return the declaration of a table with rows for the tiny profile."""
    content = {"name": "t", "caption": "C", "label": "tab:t", "rows": {"tiny": rows}}
    return Table.model_validate(content | changes)


def example(*, finished: bool = False) -> list[Row]:
    """Return rows of a dense model, a finished recovery and one that failed at one seed, if any."""
    dense, *recovered = cells_of(declared(ROWS), TINY, "tiny")
    rows = rows_of(dense, (0.5, 0.9), tokens=None)
    account = {"tokens": 2048, "teacher_tokens": 0, "training_flops": 1.5e9}
    for place, wanted in enumerate(recovered):
        if wanted.recovery == "accel":
            rows += rows_of(wanted, (0.36, 0.8 + 0.02 * wanted.seed), **account)
        elif finished or wanted.seed == 0:
            rows += rows_of(wanted, (0.7, 0.6), **account)
        else:
            (row, *_) = stopped("", 0, 0, "failed", f"loss nan at step {place}")
            rows.append(
                replace(
                    row,
                    profile="tiny",
                    model=wanted.model,
                    method=wanted.method,
                    sparsity=wanted.sparsity,
                    recovery=wanted.recovery,
                    seed=wanted.seed,
                    params=None,
                )
            )
    return rows


def render(folder: Path, rows: list[Row], table: Table) -> Path:
    """Write results and render a table from them; returns the stem of the outputs."""
    results, provenance = write_trained(folder, rows)
    stem = folder / "t"
    declaration = folder / "t.yaml"
    declaration.write_text(table.model_dump_json(exclude_none=True))
    shutil.copy(DECLARATIONS / "published.csv", folder)
    render_table(declaration, results, provenance, stem, name="tiny", profile=TINY, suite=SUITE)
    return stem


def test_rows_stand_in_their_order_with_what_they_took(tmp_path: Path) -> None:
    stem = render(tmp_path, example(), declared(ROWS))
    lines = [line for line in stem.with_suffix(".md").read_text().splitlines() if BLOCK in line]
    assert [line.split(" | ")[2] for line in lines] == [
        "small",
        "pruned & trained",
        "once (1 of 2 seeds)",
    ]
    assert f"| {BLOCK} | {ACCEL.sparsity}% | pruned & trained | 0.10M | 2.05k | 0 |" in lines[1]
    assert "| 1.50·10⁹ | 2.00 min |" in lines[1]
    assert "| – | – | – | – |" in lines[0], "nothing was trained here"
    tidy = pd.read_csv(stem.with_suffix(".csv")).set_index(["title", "column"])
    assert tidy.loc[("pruned & trained", "tokens"), "value"] == 2048
    assert tidy.loc[("pruned & trained", "piqa"), "std"] == pytest.approx(2**0.5)
    assert pd.isna(tidy.loc[("small", "tokens"), "value"]), "nobody says what it was trained on"


def test_best_is_marked_among_all_rows_of_a_block_and_counts_are_not(tmp_path: Path) -> None:
    tidy = pd.read_csv(render(tmp_path, example(finished=True), declared(ROWS)).with_suffix(".csv"))
    best = tidy[tidy["rank"] == "best"].set_index("column")["title"].to_dict()
    assert best["social_iqa"] == "once"
    assert best["piqa"] == "small"
    assert not {"params", "tokens", "training_flops", "training_s"} & set(best)


def test_nothing_is_marked_in_a_block_of_different_seeds(tmp_path: Path) -> None:
    """One recovery is there at both seeds, the other at one: neither is the best."""
    stem = render(tmp_path, example(), declared(ROWS))
    assert pd.read_csv(stem.with_suffix(".csv"))["rank"].isna().all()
    assert "Nothing is marked where" in stem.with_suffix(".md").read_text()


def test_a_score_that_guessing_may_reach_is_marked(tmp_path: Path) -> None:
    stem = render(tmp_path, example(), declared(ROWS))
    tidy = pd.read_csv(stem.with_suffix(".csv")).set_index(["title", "column"])
    # Chance is 33.3 % and the standard error 3 points: 36 is within 1.96 of them, 50 is not.
    assert tidy.loc[("pruned & trained", "social_iqa"), "at_chance"]
    assert not tidy.loc[("small", "social_iqa"), "at_chance"]
    text = stem.with_suffix(".md").read_text()
    assert "36.00 ± 0.00°" in text
    assert "° marks what guessing may reach" in text
    assert r"$^\circ$" in stem.with_suffix(".tex").read_text()


def test_a_failed_seed_is_named_with_its_reason(tmp_path: Path) -> None:
    text = render(tmp_path, example(), declared(ROWS)).with_suffix(".md").read_text()
    assert "/prune-train/s1 failed: loss nan at step" in text


def test_published_numbers_stand_beside_the_rows_that_name_theirs(tmp_path: Path) -> None:
    rows = [ROWS[0] | {"printed": "MobileLLM-125M"}, *ROWS[1:]]
    stem = render(tmp_path, example(), declared(rows, published={"table": 3, "profile": "tiny"}))
    tidy = pd.read_csv(stem.with_suffix(".csv")).set_index(["title", "column"])
    assert tidy.loc[("small", "tokens"), "published"] == 1e12
    assert pd.isna(tidy.loc[("small", "social_iqa"), "published"])
    assert "1.00T" in stem.with_suffix(".md").read_text()


def test_pretraining_of_a_known_model_is_accounted_for(tmp_path: Path) -> None:
    row = {"title": "pocket", "block": "b", "model": "pocket-1m"}
    wanted = Cell("pocket-1m", "dense", 0, "none", 0)
    stem = render(tmp_path, rows_of(wanted, (0.4, 0.5), params=1_049_728), declared([row]))
    tidy = pd.read_csv(stem.with_suffix(".csv")).set_index("column")["value"]
    assert tidy["tokens"] == 5 * 4_230_400
    assert tidy["training_flops"] == pytest.approx(6 * 1_049_728 * 5 * 4_230_400)


@pytest.mark.parametrize("path", DECLARED, ids=lambda path: path.stem)
def test_listed_rows_exist_in_every_profile_they_are_for(path: Path) -> None:
    declaration = load_declaration(path)
    if ANY not in declaration.rows:
        assert set(declaration.profiles.values()) <= set(declaration.rows)
        for name in declaration.rows:
            assert cells_of(declaration, load_profile(CONFIG, name), name)


def test_a_profile_without_rows_is_told_which_have_some() -> None:
    with pytest.raises(UserError, match=r"t has no rows for profile small \(allowed: tiny\)"):
        declared(ROWS).rows_for("small")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"title": "a", "block": "b"}, r"row 'a' chooses nothing \(allowed: model, "),
        ({"title": "a", "block": "b", "model": "m", "recovery": "r"}, "give model or recovery"),
        ({"title": "a", "block": "b", "model": "m", "colour": "red"}, "colour: Extra inputs"),
    ],
)
def test_bad_rows_are_refused(tmp_path: Path, row: dict[str, str], message: str) -> None:
    content = {"name": "t", "caption": "C", "label": "l", "rows": {"tiny": [row]}}
    path = tmp_path / "t.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(UserError, match=message) as error:
        load_declaration(path)
    assert "\n" not in str(error.value)


def test_an_unknown_recovery_is_named() -> None:
    table = declared([{"title": "a", "block": "b", "recovery": "acel"}])
    with pytest.raises(UserError, match=r"unknown recovery 'acel'.*did you mean 'accel'"):
        cells_of(table, TINY, "tiny")
