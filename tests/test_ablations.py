"""The declared ablations: what they run in every profile, and how they are printed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import pytest
from table_examples import DECLARATIONS, MODEL, cell, render

from adaptprune.data.texts import iterate_texts
from adaptprune.errors import UserError
from adaptprune.papers.adapt_pruner.method import SPEC
from adaptprune.tables.declared import ANY, load_declaration
from adaptprune.tables.select import widened
from adaptprune.workflow.profiles import Profile, load_profile, profile_names

if TYPE_CHECKING:
    from adaptprune.results.rows import Row

CONFIG = Path(__file__).parents[1] / "config"
ABLATIONS = [
    path.stem
    for path in sorted([*DECLARATIONS.glob("ablation_*.yaml"), DECLARATIONS / "table8.yaml"])
    if ANY in load_declaration(path).rows  # one of methods, not of recoveries
]
AMPLITUDES = ("0", "0.005", "0.01", "0.02", "0.04")


def profile_of(name: str, table: str) -> Profile:
    declaration = load_declaration(DECLARATIONS / f"{table}.yaml")
    return widened(declaration, load_profile(CONFIG, name), name)


#: Those of the Adapt-Pruner paper, whose ablations these are.
PROFILES = [name for name in profile_names(CONFIG) if not name.startswith("sparse-")]


@pytest.mark.parametrize("name", PROFILES)
def test_amplitude_divided_by_step_is_the_paper_s_in_every_profile(name: str) -> None:
    chosen = profile_of(name, "table8")
    assert chosen.sparsities == [50]
    assert chosen.methods == ["dense", *(f"adapt-pruner@amplitude-{a}" for a in AMPLITUDES)]
    for amplitude in AMPLITUDES:
        settings = chosen.settings_of(f"adapt-pruner@amplitude-{amplitude}")
        parameters = SPEC.parse(settings.parameters)
        ratio = parameters.amplitude / parameters.increment(50)
        assert ratio == pytest.approx(float(amplitude) / 0.01)


@pytest.mark.parametrize("name", PROFILES)
def test_fewer_steps_keep_amplitude_divided_by_step(name: str) -> None:
    chosen = profile_of(name, "ablation_steps")
    assert chosen.sparsities == [40]
    counts = []
    for method in chosen.methods[1:]:
        parameters = SPEC.parse(chosen.settings_of(method).parameters)
        counts.append(parameters.count_steps(40))
        assert parameters.amplitude / parameters.increment(40) == pytest.approx(2)
    assert counts == [1, 2, 5, 10, 20]


def test_the_changed_source_is_not_called_another_where_it_is_part_of_the_plain_one() -> None:
    declaration = load_declaration(DECLARATIONS / "ablation_calibration.yaml")
    assert "another" not in declaration.rows_for("offline")[-1].title.lower()
    (note,) = declaration.notes
    assert "Quoref alone: one of the two sources of the plain set" in note
    chosen = profile_of("offline", "ablation_calibration")
    used = chosen.calibration_of("adapt-pruner@calibration-source")
    assert (chosen.calibration.dataset, used.dataset) == ("bigbench-prose", "bigbench-quoref")


@pytest.mark.parametrize("name", PROFILES)
def test_calibration_variants_differ_from_the_profile_in_one_thing(name: str) -> None:
    chosen = profile_of(name, "ablation_calibration")
    plain = chosen.calibration
    for part, size in (("quarter", 0.25), ("half", 0.5), ("double", 2)):
        drawn = chosen.calibration_of(f"adapt-pruner@calibration-{part}")
        if name not in ("smoke", "offline-trained"):  # smaller sets than the profiles they extend
            assert drawn.sequences == size * plain.sequences
        assert (drawn.dataset, drawn.length) == (plain.dataset, plain.length)
    other = chosen.calibration_of("adapt-pruner@calibration-source")
    assert other.dataset != plain.dataset
    assert other.length == plain.length


@pytest.mark.parametrize("name", PROFILES)
@pytest.mark.parametrize("table", ABLATIONS)
def test_every_ablation_can_be_run_in_every_profile(name: str, table: str) -> None:
    assert profile_of(name, table).cells()


@pytest.mark.parametrize("name", ["paper", "small"])
def test_table_8_has_its_own_tasks_where_the_paper_s_are_run(name: str) -> None:
    stand_in = load_declaration(DECLARATIONS / "table8.yaml").profiles[name]
    ours, theirs = load_profile(CONFIG, name), load_profile(CONFIG, stand_in)
    assert theirs.evaluation.suite == "commonsense-boolq-paper"
    assert theirs.evaluation == ours.evaluation.model_copy(
        update={"suite": "commonsense-boolq-paper"}
    )
    assert set(theirs.models) <= set(ours.models)


def test_a_table_with_sparsities_of_its_own_refuses_scores_of_the_profile_s() -> None:
    chosen = load_profile(CONFIG, "mini")
    with pytest.raises(UserError, match="flap is cut from scores of the profile's sparsities"):
        chosen.with_sparsities(["dense", "flap"], [50])


def test_an_unreachable_sparsity_is_refused() -> None:
    chosen = load_profile(CONFIG, "mini")
    with pytest.raises(UserError, match="step_size 10 does not divide sparsity 33"):
        chosen.with_sparsities(["adapt-pruner"], [33])


def amplitude_rows(profile: str) -> list[Row]:
    """Return results in which the middle amplitude is the best in both seeds."""
    rows = cell("dense", 0, 0, (0.6, 0.7), 10.0, profile=profile)
    for amplitude, accuracy in zip(AMPLITUDES, (0.30, 0.34, 0.38, 0.42, 0.35), strict=True):
        for seed, shift in ((0, 0.0), (1, 0.01 * float(amplitude) * 50), (2, 0.001)):
            scores = (accuracy + shift, accuracy + shift)
            rows += cell(
                "adapt-pruner",
                50,
                seed,
                scores,
                10 / (accuracy + shift),
                variant=f"amplitude-{amplitude}",
                profile=profile,
            )
    return rows


def test_table_8_prints_the_paper_s_numbers_beside_other_models(tmp_path: Path) -> None:
    stem = render(tmp_path, amplitude_rows("mini"), name="table8")
    text = stem.with_suffix(".md").read_text()
    assert f"| {MODEL} | 50% | A = 0.02 |" in text
    printed = text[text.index("## As printed in the paper (Table 8)") :]
    assert (
        "| LLaMA-3.1-8B | 50% | A = 0.02 | 4.43 | 40.61 | 26.45 | 62.05 | 35.18 | 28.20 | 62.30 "
        "| 53.67 | 44.07 | 90.80 |" in printed
    )
    assert "diff." not in text
    assert r"As printed in the paper (Table 8)" in stem.with_suffix(".tex").read_text()


def test_table_8_tests_the_claim_in_a_sentence(tmp_path: Path) -> None:
    stem = render(tmp_path, amplitude_rows("mini"), name="table8")
    lines = stem.with_suffix(".md").read_text().splitlines()
    claims = [
        line for line in lines if "as the amplitude grows, results improve up to A = 0.02" in line
    ]
    assert len(claims) == 2, "one for the average, one for the perplexity"
    for line in claims:
        assert "best at A = 0.02. A = 0.02 is better than A = 0, A = 0.005, A = 0.01" in line
        assert "and A = 0.04, p = 0.0" in line
        assert line.endswith("over 3 seeds: the claim holds.")


def test_table_8_is_compared_where_the_same_is_run(tmp_path: Path) -> None:
    stem = render(
        tmp_path,
        amplitude_rows("paper-table8"),
        name="table8",
        profile="paper-table8",
    )
    numbers = pd.read_csv(stem.with_suffix(".csv"))
    chosen = numbers[
        (numbers["method"] == "adapt-pruner@amplitude-0.02") & (numbers["column"] == "piqa")
    ].iloc[0]
    assert chosen["published"] == 62.30
    assert chosen["difference"] == pytest.approx(chosen["value"] - 62.30)
    assert "As printed" not in stem.with_suffix(".md").read_text()


def test_other_tables_print_nothing_of_the_paper_beside_other_models(tmp_path: Path) -> None:
    rows = cell("dense", 0, 0) + cell("adapt-pruner", 20, 0)
    stem = render(tmp_path, rows, name="table7")
    assert "As printed" not in stem.with_suffix(".md").read_text()


def test_a_calibration_text_may_be_one_source_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "prose.jsonl"
    documents = [("a", "one"), ("b", "two"), ("a", "three")]
    path.write_text("".join(f'{{"source": "{s}", "text": "{t}"}}\n' for s, t in documents))
    assert list(iterate_texts(path)) == ["one", "two", "three"]
    assert list(iterate_texts(path, "a")) == ["one", "three"]
