"""Adapt-Pruner: sparsities of a step (Eq. 6), trajectories, parameters."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tiny_models import SHAPES, count_parameters, tiny_model, tiny_tokens

from adaptprune.errors import NumericalError, UserError
from adaptprune.models.sizes import shape_of_model
from adaptprune.papers.adapt_pruner.method import SPEC, next_sparsities, printed_sparsities
from adaptprune.pruning.method import Context
from adaptprune.pruning.surgery import cut_layers

CONTEXT = Context(tiny_tokens(4, 8), seed=0)


def prune(model: Any, sparsity: int, scores: Any = None, **settings: Any) -> Any:
    """Decide and, where the method has not done so itself, cut the model."""
    pruned = SPEC.prune(model, scores, sparsity, CONTEXT, SPEC.parse(settings))
    if not pruned.already_cut:
        cut_layers(model, pruned.kept)
    return pruned


def test_one_step_by_hand() -> None:
    moved = next_sparsities([0.1, 0.1, 0.1], [1.0, 0.0, -0.5], increment=0.04, amplitude=0.02)
    assert moved == pytest.approx([0.12, 0.14, 0.15])


def test_step_is_clamped_at_zero_and_below_one() -> None:
    moved = next_sparsities([0.0, 0.98], [1.0, -1.0], increment=0.01, amplitude=0.02)
    assert moved == [0.0, 0.99]


def test_printed_rule_by_hand() -> None:
    reached = printed_sparsities([1.0, 0.0, -0.5], target=0.4, amplitude=0.02)
    assert reached == pytest.approx([0.38, 0.4, 0.41])


def test_printed_rule_is_clamped() -> None:
    assert printed_sparsities([1.0, -1.0], target=0.5, amplitude=0.6) == [0.0, 0.99]


@given(
    importance=st.lists(st.floats(-1, 1), min_size=1, max_size=6),
    steps=st.integers(1, 30),
    amplitude=st.floats(0, 0.01),
)
def test_accumulated_steps_have_a_closed_form(
    importance: list[float], steps: int, amplitude: float
) -> None:
    increment = 0.6 / steps
    sparsities = [0.0] * len(importance)
    for _ in range(steps):
        sparsities = next_sparsities(sparsities, importance, increment, amplitude)
    # With these amplitudes and at most 30 steps no layer is clamped from above.
    closed = [max(0.0, 0.6 - steps * amplitude * value) for value in importance]
    assert sparsities == pytest.approx(closed, abs=1e-12)


@given(
    current=st.lists(st.floats(0, 0.99), min_size=1, max_size=6),
    data=st.data(),
    increment=st.floats(0, 0.5),
    amplitude=st.floats(0, 1),
)
def test_sparsities_never_leave_their_range(
    current: list[float], data: st.DataObject, increment: float, amplitude: float
) -> None:
    size = len(current)
    importance = data.draw(st.lists(st.floats(-1, 1), min_size=size, max_size=size))
    for sparsity in next_sparsities(current, importance, increment, amplitude):
        assert 0 <= sparsity <= 0.99


@given(
    first=st.floats(-1, 1),
    second=st.floats(-1, 1),
    amplitude=st.floats(0, 1),
    start=st.floats(0, 0.99),
)
def test_more_important_layers_are_never_pruned_more(
    first: float, second: float, amplitude: float, start: float
) -> None:
    less, more = sorted((first, second))
    pruned = next_sparsities([start, start], [less, more], 0.01, amplitude)
    assert pruned[1] <= pruned[0]


def test_target_sparsities_are_logged_as_they_accumulate() -> None:
    steps = prune(tiny_model(layers=3), 40, steps=4, amplitude=0.03).steps
    previous = [0.0] * 3
    for step in steps:
        previous = next_sparsities(previous, step["layer_importance"], 0.1, 0.03)
        assert step["target_sparsity"] == previous


def test_printed_rule_aims_at_the_step_s_own_target() -> None:
    settings = {"steps": 4, "amplitude": 0.03, "sparsity_rule": "printed"}
    steps = prune(tiny_model(layers=3), 40, **settings).steps
    for number, step in enumerate(steps, 1):
        expected = printed_sparsities(step["layer_importance"], 0.1 * number, 0.03)
        assert step["target_sparsity"] == pytest.approx(expected)


def test_every_step_sees_fresh_importances() -> None:
    steps = prune(tiny_model(layers=3, intermediate=20), 60, steps=3).steps
    losses = [step["loss_before"] for step in steps]
    assert len(set(losses)) == 3


def test_logged_count_is_the_count_of_the_cut_model() -> None:
    model = tiny_model(layers=3, intermediate=20, tied=True)
    pruned = prune(model, 60, steps=3)
    assert pruned.steps[-1]["params"] == count_parameters(model)
    assert pruned.kept.blocks() == list(shape_of_model(model).blocks)


@pytest.mark.parametrize("shape", SHAPES)
def test_point_of_a_shared_trajectory_equals_a_separate_run(shape: str) -> None:
    dense = tiny_model("qwen2", layers=3, **SHAPES[shape])
    settings = {"step_size": 10, "amplitude": 0.05}
    scores = SPEC.score(copy.deepcopy(dense), CONTEXT, SPEC.parse(settings), [20, 40, 60])
    for sparsity in (20, 40, 60):
        shared, alone = copy.deepcopy(dense), copy.deepcopy(dense)
        from_scores = prune(shared, sparsity, scores, **settings)
        walked = prune(alone, sparsity, **settings)
        assert from_scores.kept == walked.kept
        assert from_scores.steps == walked.steps
        weights = alone.state_dict()
        for name, tensor in shared.state_dict().items():
            assert torch.equal(tensor, weights[name]), name


def test_scores_do_not_depend_on_the_order_of_the_sparsities() -> None:
    parameters = SPEC.parse({"step_size": 10})
    rising = SPEC.score(tiny_model(), CONTEXT, parameters, [20, 40])
    falling = SPEC.score(tiny_model(), CONTEXT, parameters, [40, 20])
    assert rising.tensors.keys() == falling.tensors.keys()
    assert all(torch.equal(t, falling.tensors[name]) for name, t in rising.tensors.items())


def test_sparsity_that_was_not_scored_is_refused() -> None:
    scores = SPEC.score(tiny_model(), CONTEXT, SPEC.parse({"step_size": 10}), [20])
    with pytest.raises(UserError, match="no trajectory point at sparsity 40"):
        prune(tiny_model(), 40, scores, step_size=10)


def test_trajectories_of_different_steps_cannot_be_scored_together() -> None:
    # With a number of steps, every sparsity has steps of another size.
    with pytest.raises(UserError, match="step_size"):
        SPEC.score(tiny_model(), CONTEXT, SPEC.parse({"steps": 4}), [20, 40])


@pytest.mark.parametrize(
    ("settings", "shared"),
    [
        ({"step_size": 4}, True),
        ({"steps": 10}, False),
        ({}, False),
        ({"step_size": 4, "sparsity_rule": "printed"}, False),
    ],
)
def test_scores_are_shared_on_one_trajectory_only(settings: dict[str, Any], shared: bool) -> None:
    assert SPEC.shares_scores(SPEC.parse(settings)) is shared


def test_steps_and_step_size_exclude_each_other() -> None:
    with pytest.raises(UserError, match="steps or step_size, not both"):
        SPEC.parse({"steps": 10, "step_size": 2})


def test_default_is_fifty_steps() -> None:
    assert SPEC.parse({}).count_steps(50) == 50
    assert SPEC.parse({}).increment(50) == pytest.approx(0.01)


def test_step_size_counts_in_percentage_points() -> None:
    parameters = SPEC.parse({"step_size": 2.5})
    assert parameters.count_steps(20) == 8
    assert parameters.increment(20) == pytest.approx(0.025)


@pytest.mark.parametrize(("step_size", "sparsity"), [(3, 20), (40, 20), (0.3, 20)])
def test_step_size_must_divide_the_sparsity(step_size: float, sparsity: int) -> None:
    with pytest.raises(UserError, match="does not divide"):
        SPEC.check(sparsity, SPEC.parse({"step_size": step_size}))


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    sparsity=st.integers(1, 99),
    steps=st.integers(1, 7),
)
def test_without_amplitude_all_layers_are_cut_alike(shape: str, sparsity: int, steps: int) -> None:
    model = tiny_model(layers=2, **SHAPES[shape])
    settings = {"amplitude": 0, "steps": steps}
    budget = SPEC.budget(shape_of_model(model), sparsity, SPEC.parse(settings))
    kept = prune(model, sparsity, **settings).kept
    assert tuple(kept.blocks()) == budget.blocks
    assert count_parameters(model) == budget.minimum == budget.maximum


def test_layers_outside_the_range_stay_whole() -> None:
    model = tiny_model(layers=5, intermediate=20)
    dense = shape_of_model(model).blocks
    pruned = prune(model, 50, steps=2, layer_start=1, layer_end=4)
    whole = [index for index, block in enumerate(pruned.kept.blocks()) if block == dense[index]]
    assert whole == [0, 4]


def test_importance_is_normalised_among_the_layers_of_the_range() -> None:
    steps = prune(tiny_model(layers=5), 50, steps=2, layer_start=1, layer_end=4).steps
    for step in steps:
        assert len(step["layer_importance"]) == 3
        assert sum(step["layer_importance"]) == pytest.approx(0, abs=1e-6)
        assert max(abs(value) for value in step["layer_importance"]) == 1


def test_range_beyond_the_model_is_refused() -> None:
    with pytest.raises(UserError, match="layer_start 1 and layer_end 9"):
        prune(tiny_model(layers=2), 50, steps=2, layer_start=1, layer_end=9)


def test_broken_weight_fails_with_a_reason() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(NumericalError, match="loss is nan"):
        prune(model, 50, steps=2)
