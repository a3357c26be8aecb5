"""ShearedLLaMA's masks: the released code's figures, and a case that can be computed by hand."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from official_figures import figures

from adaptprune.models.shapes import BlockShape, ModelShape
from baselines.sheared_masks import KINDS, Masks

OFFICIAL = figures("sheared_l0")["modules"][0]
#: Our kinds by the released code's names of its pruning modules.
NAMES = {"heads": "head", "intermediate": "intermediate", "layers": "layer", "hidden": "hidden"}


def llama(hidden: int, layers: int, kv_heads: int, intermediate: int, **changes: Any) -> ModelShape:
    """Return the shape of a llama with heads of 8 channels."""
    settings: dict[str, Any] = {
        "family": "llama",
        "hidden_size": hidden,
        "vocab_size": 512,
        "head_dim": 8,
        "queries_per_kv_head": 1,
        "blocks": (BlockShape(kv_heads, intermediate),) * layers,
        "tied": True,
        "qkv_bias": False,
        "output_bias": False,
        "mlp_bias": False,
        "head_norm": False,
    }
    return ModelShape(**(settings | changes))


@pytest.fixture
def masks() -> Masks:
    """The masks of the released code's run, with its log-alphas and multipliers."""
    made = Masks(llama(64, 4, 8, 176), llama(48, 3, 6, 96), torch.Generator())
    with torch.no_grad():
        for alpha in made.log_alpha.values():
            count = torch.arange(alpha.numel(), dtype=torch.float32)
            alpha.copy_((5 * torch.sin(0.37 * count + 0.5)).view_as(alpha))
        for place, kind in enumerate(KINDS):
            made.linear[place] = OFFICIAL["lambdas"][f"lambda_1_{NAMES[kind]}"]
            made.quadratic[place] = OFFICIAL["lambdas"][f"lambda_2_{NAMES[kind]}"]
    made.clamp()
    return made


def test_deterministic_masks_are_the_official_ones(masks: Masks) -> None:
    gates = masks.deterministic(at_target=True)
    for ours, official in (
        (gates.heads, "head_z"),
        (gates.intermediate, "intermediate_z"),
        (gates.layers, "head_layer_z"),
        (gates.layers, "mlp_z"),
        (gates.hidden, "hidden_z"),
    ):
        assert (
            ours.flatten().nonzero().flatten().tolist() == OFFICIAL["deterministic_kept"][official]
        )
        assert ours.sum().item() == pytest.approx(OFFICIAL["deterministic_sum"][official], rel=1e-6)


def test_expected_sizes_are_the_official_ones(masks: Masks) -> None:
    expected = masks.expected_sparsity()
    for kind in KINDS:
        official = OFFICIAL["expected_sparsity_mean"][NAMES[kind]]
        assert expected[kind].mean().item() == pytest.approx(official, rel=1e-6)
    count = masks.expected_parameters().item()
    assert count == pytest.approx(OFFICIAL["expected_num_params"], rel=1e-6)
    official = OFFICIAL["lagrangian"]["0"]["expected_sparsity"]
    assert 1 - count / OFFICIAL["prunable"] == pytest.approx(official, rel=1e-6)


@pytest.mark.parametrize("step", [0, 160, 640, 3200])
def test_lagrangian_is_the_official_one(step: int, masks: Masks) -> None:
    """The released code's warm-up took 640 steps."""
    official, warmed = OFFICIAL["lagrangian"][str(step)], min(1, step / 640)
    assert masks.lagrangian(warmed).item() == pytest.approx(official["loss"], rel=1e-6)
    for kind, target in masks.target_sparsity(warmed).items():
        assert target == pytest.approx(official[f"target_{NAMES[kind]}_sparsity"], abs=1e-12)


def small_masks(ratio: int = 3) -> Masks:
    """Masks of 2 layers with 2 kv heads, 2 neurons and 4 channels; towards half of each."""
    ratios = {"head_dim": 2, "queries_per_kv_head": ratio}
    shape = llama(4, 2, 2, 2, **ratios)
    return Masks(shape, llama(4, 1, 1, 1, **ratios), torch.Generator().manual_seed(0))


def test_lagrangian_by_hand() -> None:
    """One layer has both gates surely open, the other one of two: sparsities 0 and 1/2."""
    masks = small_masks()
    with torch.no_grad():
        for alpha in masks.log_alpha.values():
            alpha.fill_(100.0)
        masks.log_alpha["heads"][1, 0] = -100.0
        masks.linear[KINDS.index("heads")] = 3.0
        masks.quadratic[KINDS.index("heads")] = 8.0
    # Target 1/2 for heads: gaps -1/2 and 0, so 3·(-1/2) + 8·1/4 = 1/2 and 0, mean 1/4.
    assert masks.lagrangian(1.0).item() == pytest.approx(0.25, abs=1e-4)
    # Half warmed, target 1/4: gaps -1/4 and 1/4: the linear terms cancel, 8·1/16 stays.
    assert masks.lagrangian(0.5).item() == pytest.approx(0.5, abs=1e-4)


def test_multipliers_get_the_gaps_as_gradients() -> None:
    masks = small_masks()
    masks.lagrangian(1.0).backward()
    assert masks.linear.grad is not None
    assert masks.quadratic.grad is not None
    gaps = [
        (masks.expected_sparsity()[kind] - masks.target_sparsity()[kind]).mean().item()
        for kind in KINDS
    ]
    assert masks.linear.grad.tolist() == pytest.approx(gaps, rel=1e-5)
    assert (masks.quadratic.grad >= 0).all()


@pytest.mark.parametrize("ratio", [1, 3])
def test_open_masks_expect_all_projection_weights(ratio: int) -> None:
    masks = small_masks(ratio)
    with torch.no_grad():
        for alpha in masks.log_alpha.values():
            alpha.fill_(100.0)
    shape = llama(4, 2, 2, 2, head_dim=2, queries_per_kv_head=ratio)
    norms = 2 * shape.hidden_size * len(shape.blocks)
    weights = shape.decoder_parameters - norms
    assert masks.expected_parameters().item() == pytest.approx(weights, rel=1e-4)


def test_descent_on_masks_and_ascent_on_multipliers_reach_the_target() -> None:
    """The constraint alone, without a loss: the expected sizes become the target's."""
    masks = Masks(llama(64, 4, 8, 176), llama(48, 3, 6, 96), torch.Generator().manual_seed(0))
    groups = [
        {"params": list(masks.log_alpha.values()), "lr": 0.1},
        {"params": [masks.linear, masks.quadratic], "lr": 1.0, "maximize": True},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.0)
    for step in range(300):
        optimizer.zero_grad()
        masks.lagrangian(min(1, step / 60)).backward()
        optimizer.step()
        masks.clamp()
    for kind, target in masks.target_sparsity().items():
        assert masks.expected_sparsity()[kind].mean().item() == pytest.approx(target, abs=0.05)


def test_samples_differ_only_by_their_generator() -> None:
    masks = small_masks()
    with torch.no_grad():
        for log_alpha in masks.log_alpha.values():
            log_alpha.zero_()  # as likely open as closed
    one, same, other = (masks.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one.intermediate, same.intermediate)
    assert not torch.equal(one.intermediate, other.intermediate)


def test_gates_as_many_as_expected_before_the_target() -> None:
    masks = small_masks()
    with torch.no_grad():
        masks.log_alpha["intermediate"][:, 0] = -4.0
    gates = masks.deterministic(at_target=False)
    assert (gates.intermediate != 0).tolist() == [[False, True], [False, True]]
    assert (gates.hidden != 0).all()
