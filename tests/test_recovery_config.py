"""Recoveries of a profile: what they are, the cells they make, and one line for a mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from adaptprune.cells import Cell
from adaptprune.errors import UserError
from adaptprune.models.catalogue import shape_of
from adaptprune.recovery.config import RecoveryConfig
from adaptprune.recovery.plan import Draft, plan_stages
from adaptprune.tables.declared import ANY, Row, Table
from adaptprune.tables.select import cells_of
from adaptprune.workflow.profiles import Profile, load_profile

CONFIG = Path(__file__).parents[1] / "config"
PLAIN: dict[str, Any] = {
    "preset": "adapt-accel",
    "model": "tiny-llama",
    "target": "tiny-llama-small",
    "data": "tiny-prose",
}


def recovery(**changes: Any) -> RecoveryConfig:
    return RecoveryConfig.model_validate(PLAIN | changes)


def test_nominal_sparsity_is_what_the_target_lacks_of_the_whole_model() -> None:
    large, small = (shape_of(name).parameters for name in ("tiny-llama", "tiny-llama-small"))
    assert recovery().sparsity == round(100 * (large - small) / large)
    assert recovery(target=large // 2).sparsity == 50
    assert recovery(preset="train", target=None).sparsity == 0


def test_a_target_model_counts_in_the_vocabulary_of_the_model_that_is_pruned() -> None:
    chosen = recovery(model="Qwen/Qwen2.5-0.5B", target="facebook/MobileLLM-125M")
    assert chosen.outcome is not None
    assert chosen.outcome.parameters > shape_of("facebook/MobileLLM-125M").parameters


def test_overrides_reach_the_recipe_and_its_method() -> None:
    recipe = recovery(overrides={"tokens": 4096, "interleaves": 3}).recipe
    assert recipe.tokens == 4096
    assert recipe.parameters["interleaves"] == 3
    assert recipe.method == "adapt-accel"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "adapt-acel"}, "did you mean 'adapt-accel'"),
        ({"model": "tiny-lama"}, "did you mean 'tiny-llama'"),
        ({"target": "tiny-llama-smal"}, "did you mean 'tiny-llama-small'"),
        ({"target": "smollm2-135m"}, "must be positive and smaller than the model"),
        ({"target": 10**9}, "must be positive and smaller than the model"),
        ({"target": 20_000}, "leaves this model at least"),
        ({"target": None}, "give target parameters"),
        ({"preset": "train"}, "prunes nothing: no target"),
        ({"data": "tiny-pros"}, "did you mean 'tiny-prose'"),
        ({"overrides": {"tokns": 1}}, "did you mean 'tokens'"),
        ({"overrides": {"batch": 0}}, "batch"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_recovery(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words) as error:
        recovery(**changes).check("accel-small")
    assert str(error.value).startswith("recovery accel-small: ")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["none", "", "With Space", "a/b", "Upper"])
def test_a_recovery_needs_a_name_that_is_a_folder(name: str) -> None:
    with pytest.raises(UserError, match="a name is made of"):
        recovery().check(name)


@pytest.fixture
def profile() -> Profile:
    return load_profile(CONFIG, "tiny", {"seeds": [3, 5]})


def test_a_recovery_is_a_cell_at_every_seed_and_a_dense_model_one(profile: Profile) -> None:
    rows = [
        Row(title="dense", block="b", model="tiny-llama-small"),
        Row(title="accel", block="b", recovery="accel"),
        Row(title="again", block="b", recovery="accel"),
    ]
    sparsity = profile.recovery("accel").sparsity
    table = Table(name="t", caption="", label="", rows={ANY: rows})
    assert cells_of(table, profile, "tiny") == [
        Cell("tiny-llama-small", "dense", 0, "none", 3),
        Cell("tiny-llama", "adapt-accel", sparsity, "accel", 3),
        Cell("tiny-llama", "adapt-accel", sparsity, "accel", 5),
    ]


def test_recoveries_are_no_part_of_the_matrix(profile: Profile) -> None:
    assert {cell.recovery for cell in profile.cells()} == {"none"}
    assert profile.all_models == ["tiny-llama", "tiny-llama-small"]


@pytest.mark.parametrize("name", ["paper-training", "paper-interleaves"])
def test_the_published_tokens_suffice_for_every_recovery_of_the_paper(name: str) -> None:
    published = pd.read_csv(CONFIG.parent / "paper_tables/adapt_pruner/published.csv")
    (total,) = published[(published["table_arxiv"] == 2) & (published["key"] == "total")]["value"]
    for chosen in load_profile(CONFIG, name).recoveries.values():
        rows = int(total * 1e9) // chosen.recipe.sequence_length
        shape = shape_of(chosen.model)

        def draft(used: int, chosen: Any = chosen, shape: Any = shape) -> list[Draft]:
            return chosen.method.plan(chosen.recipe, used, shape, chosen.outcome)

        stages = plan_stages(chosen.recipe, rows, draft)
        assert max(stage.stop for stage in stages) <= rows


def test_all_profiles_are_loaded_without_torch() -> None:
    code = (
        "import sys; from pathlib import Path; "
        "from adaptprune.workflow.profiles import load_profile; "
        f"load_profile(Path({str(CONFIG)!r}), 'mini'); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
