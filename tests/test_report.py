"""The report: verdicts on made-up runs, and what the page holds."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
import yaml
from cell_examples import PRUNING, changed, write_cell
from matrix_examples import write_cells, write_dense, write_scored_cell
from report_examples import DECLARATIONS, METHODS, draw_figure, run_of, write_markdown
from run_examples import CONFIG, tiny_source
from table_examples import cell, stopped, write_trained

from adaptprune.papers.adapt_pruner import other_claims, pruner_claims
from adaptprune.papers.adapt_pruner.claims import judge_claims
from adaptprune.papers.adapt_pruner.evidence import BASELINES, OURS
from adaptprune.papers.adapt_pruner.evidence import PruningEvidence as Evidence
from adaptprune.report.conditions import problems_of
from adaptprune.report.markup import html_of
from adaptprune.report.page import render_report
from adaptprune.report.verdicts import MARKS
from adaptprune.results.rows import collect, write_results
from adaptprune.results.verdict import Outcome, judge
from adaptprune.tables.declared import load_declaration
from adaptprune.tables.select import cells_of
from adaptprune.workflow.papers import Paper, papers
from adaptprune.workflow.profiles import load_profile
from adaptprune.workflow.run import Source

if TYPE_CHECKING:
    from collections.abc import Callable

    from adaptprune.workflow.profiles import Profile

ROOT = DECLARATIONS.parent
FAILED = changed(PRUNING, model="tiny-llama", status="failed", reason="the loss is nan")


def outcomes(claim: Callable, evidence: Evidence) -> list[Outcome]:
    return [verdict.outcome for verdict in claim(evidence)]


@pytest.fixture(scope="module")
def ahead(tmp_path_factory: pytest.TempPathFactory) -> Evidence:
    """Adapt-Pruner answers nearly everything, the others half."""
    skills = {OURS: 0.97} | dict.fromkeys(BASELINES, 0.5)
    return run_of(tmp_path_factory.mktemp("ahead"), skills)


def test_a_clear_lead_holds_and_is_larger_than_printed(ahead: Evidence) -> None:
    assert outcomes(pruner_claims.best_average, ahead) == [Outcome.HOLDS] * 3
    assert outcomes(pruner_claims.lowest_perplexity, ahead) == [Outcome.HOLDS] * 3
    assert outcomes(pruner_claims.margin, ahead) == [Outcome.REFUTED] * 3, "beyond 7 points"
    (verdict, *_) = pruner_claims.best_average(ahead)
    assert verdict.claim == "Adapt-Pruner has the best average accuracy."
    assert verdict.place == "tiny-llama at 20 %"
    assert verdict.printed == (
        "LLaMA-3.1-8B: Adapt-Pruner 56.98, LLM-Pruner 55.58, FLAP 53.33, SliceGPT 48.69."
    )
    assert len(verdict.numbers) == 3
    assert "Adapt-Pruner is better than FLAP at 20 %" in verdict.numbers[1]


def test_noise_is_no_lead_and_no_refutation(tmp_path: Path) -> None:
    evidence = run_of(tmp_path, dict.fromkeys((OURS, *BASELINES), 0.5))
    assert outcomes(pruner_claims.best_average, evidence) == [Outcome.OPEN] * 3
    assert outcomes(pruner_claims.widest_gap, evidence) == [Outcome.OPEN]


def test_claims_are_judged_at_the_seeds_that_all_methods_have(tmp_path: Path) -> None:
    """At seed 1 one baseline failed: no lead is over two seeds, nor against fewer than all."""
    evidence = run_of(tmp_path, {OURS: 0.97} | dict.fromkeys(BASELINES, 0.5))
    folder = evidence.source.folder
    shutil.rmtree(folder / "cells" / "tiny-llama" / "flap" / "40" / "none" / "s1")
    failed = {"status": "failed", "reason": "the loss is nan", "counts": None}
    write_scored_cell(folder / "cells", "flap", 40, 1, pruning=failed)
    cells = [path.parent for path in (folder / "cells").rglob("pruning.json")]
    write_results(collect(cells, "tiny"), folder / "results.csv", folder / "provenance.csv")
    rows = evidence.comparison[evidence.comparison["sparsity"] == 40]
    assert set(rows["seed"]) == {"0", "all"}, "of every baseline"
    verdicts = pruner_claims.best_average(evidence)
    assert verdicts[1].place == "tiny-llama at 40 % (1 of 2 seeds)"
    assert verdicts[0].place == "tiny-llama at 20 %"
    (widest,) = pruner_claims.widest_gap(evidence)
    assert (widest.outcome, widest.reason) == (Outcome.OPEN, "The leads are over different seeds.")


def test_a_clear_loss_is_one(tmp_path: Path) -> None:
    evidence = run_of(tmp_path, dict.fromkeys(BASELINES, 0.5) | {OURS: 0.5, "flap": 0.97})
    assert outcomes(pruner_claims.best_average, evidence) == [Outcome.REFUTED] * 3


def test_a_lead_that_is_largest_at_40_percent_is_found(tmp_path: Path) -> None:
    source = tiny_source(tmp_path / "runs", METHODS, sparsities="20,40,60")
    root = source.folder / "cells"
    cells = [write_dense(root)]
    for sparsity in (20, 40, 60):
        cells += write_cells(root, BASELINES, [sparsity], skill=0.5)
        skill = 0.99 if sparsity == 40 else 0.5
        cells += [write_scored_cell(root, OURS, sparsity, seed, skill=skill) for seed in (0, 1)]
    write_results(
        collect(cells, "tiny"), source.folder / "results.csv", source.folder / "provenance.csv"
    )
    (verdict,) = pruner_claims.widest_gap(Evidence(source, DECLARATIONS, tmp_path / "none"))
    assert verdict.outcome == Outcome.HOLDS
    assert verdict.printed == "LLaMA-3.1-8B: +1.40 at 20 %, +7.04 at 40 %, +1.95 at 60 %."


def test_without_all_baselines_nothing_is_claimed(tmp_path: Path) -> None:
    evidence = run_of(tmp_path, {OURS: 0.9, "flap": 0.5})
    assert outcomes(pruner_claims.best_average, evidence) == [Outcome.NOT_RUN] * 3
    assert outcomes(pruner_claims.margin, evidence) == [Outcome.NOT_RUN] * 3


def test_what_was_tested_and_what_was_not_run_are_two_states(tmp_path: Path) -> None:
    """Without the paper's method nothing is tested; noise is, and decides nothing."""
    lacking = run_of(tmp_path / "lacking", dict.fromkeys(BASELINES, 0.5))
    noise = run_of(tmp_path / "noise", dict.fromkeys((OURS, *BASELINES), 0.5))
    for claim in (pruner_claims.best_average, pruner_claims.margin, pruner_claims.widest_gap):
        assert set(outcomes(claim, lacking)) == {Outcome.NOT_RUN}
    assert set(outcomes(pruner_claims.best_average, noise)) == {Outcome.OPEN}
    assert len({*Outcome}) == len({mark.look for mark in MARKS.values()}) == 4
    assert len({mark.symbol for mark in MARKS.values()}) == 4


@pytest.mark.parametrize(
    ("increases", "outcome"),
    [
        (np.linspace(9, 1, 12), Outcome.HOLDS),
        (np.linspace(1, 9, 12), Outcome.REFUTED),
        (np.tile([1.0, 2.0], 6), Outcome.OPEN),
    ],
)
def test_lower_layers_are_judged_by_rank(
    tmp_path: Path, increases: np.ndarray, outcome: Outcome
) -> None:
    evidence = Evidence(tiny_source(tmp_path), DECLARATIONS, tmp_path)
    assert outcomes(other_claims.lower_layers, evidence) == [Outcome.NOT_RUN]
    (tmp_path / "figures").mkdir()
    layers = {"panel": "sensitivity", "uniform": 0, "layer": range(12), "increase": increases}
    pd.DataFrame(layers).to_csv(tmp_path / "figures" / "fig1.csv", index=False)
    assert outcomes(other_claims.lower_layers, evidence) == [outcome]


@pytest.mark.parametrize(
    ("gains", "chances", "outcome"),
    [
        ([2.0, 1.0], [0.01, 0.04], Outcome.HOLDS),
        ([2.0, 1.0], [0.01, 0.06], Outcome.OPEN),
        ([2.0, -1.0], [0.01, 0.06], Outcome.OPEN),
        ([2.0, -1.0], [0.5, 0.02], Outcome.REFUTED),
        ([2.0, -1.0], [0.5, 0.04], Outcome.OPEN),
        ([], [], Outcome.OPEN),
    ],
)
def test_all_gains_must_be_shown(
    gains: list[float], chances: list[float], outcome: Outcome
) -> None:
    assert judge(gains, chances) == outcome


def test_what_was_not_run_is_said_with_its_command(ahead: Evidence) -> None:
    untested = [verdict for verdict in judge_claims(ahead) if verdict.outcome == Outcome.NOT_RUN]
    targets = {verdict.target for verdict in untested}
    assert targets == {"ablation_amplitude", "fig1", "ablation_interleave", "table4", "table3"}
    page = render_report(ahead)
    for target in targets | {"ast_table1", "ast_fig4"}:
        command = f"snakemake {target} --cores 4 --config profile=tiny"
        assert f"<p>Its run is not there. <code>{command}</code></p>" in page
    assert "table1: <code>snakemake table1 --cores 4 --config profile=tiny</code>" in page
    assert "keep the documents fixed and speak of these alone" in page


def test_both_measures_of_an_amplitude_are_printed(ahead: Evidence) -> None:
    (verdict,) = [each for each in judge_claims(ahead) if "amplitude of 0.02" in each.claim]
    assert "Average 36.24 (0), 41.41 (0.005)" in verdict.printed
    assert "WikiText2 perplexity 621.03 (0), 122.04 (0.005)" in verdict.printed


def test_failed_and_missing_cells_are_listed(tmp_path: Path) -> None:
    evidence = run_of(tmp_path, {OURS: 0.9})
    failed = changed(FAILED, method="flap", sparsity=20, seed=1, calibration__hash="c1")
    root = evidence.source.folder
    cells = [*(root / "cells").glob("*/*/*/*/*")]
    cells.append(write_scored_cell(root / "cells", "flap", 20, 0))
    cells.append(write_cell(root / "cells", failed, None))
    write_results(collect(cells, "tiny"), root / "results.csv", root / "provenance.csv")
    page = render_report(evidence)
    assert "failed, the loss is nan" in page
    assert "tiny-llama/slicegpt/60/none/s1: not run" in page


def write_table(
    evidence: Evidence, name: str, quality: dict[str, float], failed: str | None = None
) -> None:
    """Write the results of a table of listed rows as its profile collects them.

    Args:
        evidence: of the profile that the table is run in.
        name: of the table.
        quality: by recovery, its accuracy; 0.5 for all others.
        failed: a recovery that failed at the last seed.
    """
    source, rows = evidence.source, []
    for wanted in cells_of(evidence.declaration(name), source.profile, source.name):
        score = quality.get(wanted.recovery, 0.5) + 0.001 * wanted.seed
        shared = {
            "profile": source.name,
            "model": wanted.model,
            "recovery": wanted.recovery,
        }
        place = (wanted.method, wanted.sparsity, wanted.seed)
        if wanted.recovery == failed and wanted.seed == source.profile.seeds[-1]:
            rows += stopped(*place, "failed", "the loss is nan", **shared)
            continue
        for task, metric, value in (
            ("tiny_local_place", "acc", score),
            ("tiny_local_thing", "acc_norm", score),
            ("tiny_local_prose", "word_perplexity", 10 / score),
        ):
            (row, *_) = cell(*place, **shared)
            rows.append(replace(row, task=task, metric=metric, value=value))
    source.folder.mkdir(parents=True, exist_ok=True)
    write_trained(source.folder, rows, f"-{name}")


def with_stand_in(ahead: Evidence, folder: Path, *tables: str) -> Evidence:
    """Return the evidence of the same run where a profile of its own stands in for some tables."""
    declarations = shutil.copytree(DECLARATIONS, folder / "paper_tables")
    for name in tables:
        path = declarations / "adapt_pruner" / f"{name}.yaml"
        content = yaml.safe_load(path.read_text())
        content["profiles"] = {"tiny": "tiny-training"}
        content["rows"] = {"tiny-training": content["rows"]["tiny"]}
        path.write_text(yaml.safe_dump(content))
    runs = folder / "runs"
    (runs / "tiny").mkdir(parents=True)
    for path in ahead.source.folder.iterdir():
        (runs / "tiny" / path.name).symlink_to(path)
    profile = ahead.source.profile.model_copy(update={"title": "tiny-training: in its place"})
    source = replace(ahead.source, runs=runs)
    return Evidence(
        source, declarations, folder / "generated" / "tiny", {"tiny-training": profile}.get
    )


def test_a_table_is_found_in_the_profile_that_stands_in(ahead: Evidence, tmp_path: Path) -> None:
    names = ("table3", "table4", "table4_flops", "ablation_interleave")
    evidence = with_stand_in(ahead, tmp_path, *names)
    assert "table4" in {verdict.target for verdict in judge_claims(evidence)}
    assert evidence.of("table1") is evidence
    other = evidence.of("table4")
    assert other.source.folder == tmp_path / "runs" / "tiny-training"
    assert (evidence.of("fig3"), evidence.of("fig4")) == (other, other)
    for name in names:
        write_table(other, name, {"accel": 0.9})
    targets = {verdict.target for verdict in judge_claims(evidence)}
    assert targets == {"", "ablation_amplitude", "fig1"}
    for name in ("fig3", "fig4"):
        draw_figure(other.generated / "figures" / f"{name}.png")
    write_markdown(other.generated / "table4.md")
    page = render_report(evidence)
    assert re.search(r'<section id="table4">\s*<h3>Caption</h3>', page)
    assert page.count("<img ") == 2
    for name in ("fig3", "fig4"):
        assert f"<li>{name}: <code>" not in page
    assert "<li>table4_flops: <code>snakemake table4 --cores" in page
    assert "<li>table5: <code>snakemake table5 --cores 4 --config profile=tiny</code></li>" in page
    assert f"tiny-training: in its place ({', '.join(sorted(names))})" in page


def test_without_a_run_of_its_own_a_stand_in_leaves_a_table_not_run() -> None:
    def load(name: str) -> Profile:
        return load_profile(CONFIG, name)

    source = Source("paper", load("paper"), Path("nowhere"))
    evidence = Evidence(source, DECLARATIONS, Path("generated", "paper"), load)
    assert {
        name: evidence.of(name).source.name for name in ("table1", "table8", "fig3", "fig4")
    } == {
        "table1": "paper",
        "table8": "paper-table8",
        "fig3": "paper-training",
        "fig4": "paper-interleaves",
    }
    assert evidence.of("table8").generated == Path("generated", "paper-table8")
    assert evidence.of("table4").table("table4") is None


def test_the_claims_of_one_function_have_one_stand_in() -> None:
    both = [
        load_declaration(DECLARATIONS / "adapt_pruner" / f"{name}.yaml")
        for name in ("table4", "table4_flops")
    ]
    # The real model is recovered on equal tokens alone: the claim on equal operations is open.
    assert both[0].profiles == both[1].profiles | {"offline": "offline-trained"}


def test_failed_and_missing_cells_of_other_tables_are_listed(
    ahead: Evidence, tmp_path: Path
) -> None:
    evidence = with_stand_in(ahead, tmp_path, "table4")
    assert problems_of(evidence) == []
    write_table(evidence.of("table4"), "table4", {}, failed="minitron")
    (problem,) = problems_of(evidence)
    assert problem.startswith("profile tiny-training: tiny-llama/minitron/")
    assert problem.endswith("/minitron/s1: failed, the loss is nan")
    own = with_stand_in(ahead, tmp_path / "own")
    write_table(own, "table4", {})
    written = own.source.folder / "results-table4.csv"
    results = pd.read_csv(written)
    results[results["recovery"] != "sheared"].to_csv(written, index=False)
    lacking = [problem.rpartition("/sheared/")[2] for problem in problems_of(own)]
    assert lacking == ["s0: not run", "s1: not run"]


CLAIMS = """
from adaptprune.results.verdict import Outcome, Verdict

JUDGED_BY = "Nothing is tested."


def judge_claims(evidence):
    return [Verdict("Third claims <more>.", Outcome.HOLDS, "It does.")]
"""
AUDIT = """
from adaptprune.report.statements import Audit, Finding, Statement

STATEMENT = Statement("One and one", "two", ("1 + 1 = 2",), Finding.HOLDS, "It is so.")


def audit_paper(folder):
    return Audit("Sums.", [STATEMENT], {})
"""


def test_another_paper_comes_with_its_package_alone(
    ahead: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "third_paper"
    (package / "audit").mkdir(parents=True)
    for name in ("__init__.py", "audit/__init__.py"):
        (package / name).touch()
    (package / "claims.py").write_text(CLAIMS)
    (package / "audit" / "report.py").write_text(AUDIT)
    monkeypatch.syspath_prepend(tmp_path)
    third = Paper("third", "A third paper", "third_paper")
    monkeypatch.setattr("adaptprune.report.verdicts.papers", lambda: [*papers(), third])
    page = render_report(ahead)
    assert "Third claims &lt;more&gt;." in page
    assert '<a href="#third">A third paper</a>' in page
    for text in ("A third paper. Nothing is tested.", "One and one", "1 + 1 = 2"):
        assert text in page


def test_no_generic_room_names_a_table_of_a_paper() -> None:
    for room in ("report", "figures", "comparison", "leaderboard"):
        for path in (ROOT / "adaptprune" / room).iterdir():
            if path.suffix in (".py", ".j2"):
                found = re.findall(r"\b(?:table|fig)_?\d+", path.read_text(encoding="utf-8"))
                assert found == [], path


def test_a_label_that_never_changes_stands_above_its_table() -> None:
    lines = ["| Model | Sparsity | Method | Average |", "|---|---|---|---:|"]
    lines += ["| llama | 0% | Dense | 44 |", "| llama | 20% | FLAP | **38** ± 1.5e+06° |"]
    html = html_of("\n".join(lines), "table1")
    assert html.startswith('<p class="notes">Model: llama</p><div class="table" tabindex="0"')
    assert '<table class="labels-2">' in html
    assert html.count("<th") - html.count("<thead") == 3
    assert '<strong>38</strong> <span class="spread">± 1.5e+06°</span>' in " ".join(html.split())
    two = html_of("\n".join([*lines, "| qwen | 0% | Dense | 50 |"]), "table1")
    assert '<table class="labels-3">' in two
    assert "<p" not in two
    words = html_of("| Word | Meaning |\n|---|---|\n| a | b |\n| a | c |", "words")
    assert '<table class="labels-1">' in words
    assert words.count("<td") == 4
