"""ShortGPT and Shortened LLaMA: which layers go, by hand and by brute force."""

from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from test_depth_cut import WINDOWS
from tiny_models import FAMILIES, SHAPES, logits, tiny_model, tiny_tokens

from adaptprune.errors import NumericalError, UserError
from adaptprune.models.sizes import shape_of_model
from adaptprune.pruning.method import Context, Scores
from adaptprune.pruning.registry import find_method
from adaptprune.pruning.surgery import cut_layers, only_layers
from adaptprune.pruning.units import KeptUnits
from baselines.shortened_llama import losses_without, taylor_scores
from baselines.shortgpt import block_influence

TOKENS = tiny_tokens(10, 7)


def removed(method: str, model: Any, sparsity: int, **chosen: Any) -> list[int]:
    """Return the layers that a method removes, in its order."""
    spec = find_method(method)
    pruned = spec.prune(model, None, sparsity, Context(TOKENS, 0), spec.parse(chosen))
    return [step["removed_layer"] for step in pruned.steps]


def shifting_model() -> Any:
    """Three layers that add (0, 0), (0, 1) and (1, 0) to every state; tokens are unit vectors."""
    model = tiny_model(hidden=2, heads=1, kv_heads=1, head_dim=2, layers=3, mlp_bias=True)
    with torch.no_grad():
        model.model.embed_tokens.weight[:2] = torch.eye(2)
        for layer, shift in zip(model.model.layers, [(0, 0), (0, 1), (1, 0)], strict=True):
            layer.self_attn.o_proj.weight.zero_()
            layer.mlp.down_proj.weight.zero_()
            layer.mlp.down_proj.bias.copy_(torch.tensor(shift))
    return model


def test_block_influence_by_hand() -> None:
    """(1, 0) becomes (1, 1) and (2, 1); (0, 1) becomes (0, 2) and (1, 2)."""
    one, two = block_influence(shifting_model(), torch.tensor([[0, 1], [1, 0]]))[1:]
    assert one == pytest.approx((1 - 1 / math.sqrt(2)) / 2 + 0, abs=1e-6)
    by_hand = (1 - 3 / math.sqrt(2 * 5) + 1 - 4 / math.sqrt(4 * 5)) / 2
    assert two == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize(("sparsity", "gone"), [(33, []), (34, [0]), (66, [0]), (67, [0, 2])])
def test_layers_of_least_influence_go(sparsity: int, gone: list[int]) -> None:
    spec, tokens = find_method("shortgpt"), torch.tensor([[0, 1], [1, 0]])
    pruned = spec.prune(shifting_model(), None, sparsity, Context(tokens, 0), spec.parse({}))
    assert [step["removed_layer"] for step in pruned.steps] == gone
    assert pruned.kept.numbers == tuple(sorted({0, 1, 2} - set(gone)))
    wished, reached = f"{sparsity * 3 / 100:g}", f"{100 * len(gone) / 3:.1f}"
    assert pruned.notes == [
        f"{sparsity} % of 3 layers are {wished}; whole layers go, and {len(gone)} went: {reached} %"
    ]


def test_nothing_is_said_where_as_much_goes_as_was_asked() -> None:
    spec = find_method("shortgpt")
    model = tiny_model(layers=5)
    assert spec.prune(model, None, 40, Context(TOKENS, 0), spec.parse({})).notes == []


def test_equal_layers_go_from_the_first_one_on() -> None:
    model = shifting_model()
    for layer in model.model.layers:
        layer.mlp.down_proj.bias.data.zero_()
    spec = find_method("shortgpt")
    tokens = Context(torch.tensor([[0, 1]]), 0)
    assert spec.prune(model, None, 70, tokens, spec.parse({})).kept.numbers == (2,)


def true_influence(model: Any) -> list[float]:
    """Compute it from the states that go through the model, one token at a time."""
    last: list[torch.Tensor] = []
    handle = model.model.norm.register_forward_pre_hook(lambda _, given: last.append(given[0]))
    with torch.no_grad():
        states = model.model(input_ids=TOKENS, output_hidden_states=True).hidden_states
    handle.remove()
    states = [*states[: len(model.model.layers)], last[0]]
    result = []
    for before, after in itertools.pairwise(states):
        pairs = zip(before.flatten(0, 1).double(), after.flatten(0, 1).double(), strict=True)
        cosines = [float(a @ b / (a.norm() * b.norm())) for a, b in pairs]
        result.append(sum(1 - cosine for cosine in cosines) / len(cosines))
    return result


def true_loss(model: Any) -> float:
    targets = TOKENS[:, 1:].flatten()
    return F.cross_entropy(logits(model, TOKENS)[:, :-1].flatten(0, 1), targets).item()


def without(model: Any, gone: list[int]) -> Any:
    """Return a copy of a model that was cut for good."""
    smaller = copy.deepcopy(model)
    left = set(range(len(model.model.layers))) - set(gone)
    cut_layers(smaller, KeptUnits.everything(shape_of_model(model)).only(left))
    return smaller


MODELS = {
    "family": st.sampled_from(FAMILIES),
    "shape": st.sampled_from(sorted(SHAPES)),
    "layers": st.integers(3, 6),
    "seed": st.integers(0, 9),
    "tied": st.booleans(),
}


def made(family: str, shape: str, layers: int, seed: int, tied: bool) -> Any:
    settings = {**WINDOWS[family], **SHAPES[shape]}
    return tiny_model(family, seed=seed, layers=layers, tied=tied, **settings)


@given(**MODELS, sparsity=st.integers(1, 99))
@settings(max_examples=25)
def test_shortgpt_is_brute_force(sparsity: int, **chosen: Any) -> None:
    model = made(**chosen)
    count = sparsity * chosen["layers"] // 100
    expected = true_influence(model)
    torch.testing.assert_close(
        torch.tensor(block_influence(model, TOKENS)), torch.tensor(expected), rtol=1e-4, atol=1e-6
    )
    order = sorted(range(len(expected)), key=expected.__getitem__)[:count]
    assert removed("shortgpt", copy.deepcopy(model), sparsity) == order
    gone: list[int] = []
    for _ in range(count):
        left = [index for index in range(chosen["layers"]) if index not in gone]
        now = true_influence(without(model, gone))
        gone.append(left[now.index(min(now))])
    assert removed("shortgpt", copy.deepcopy(model), sparsity, removal="iterative") == gone


@given(**MODELS, first=st.integers(0, 2), last=st.integers(0, 2), sparsity=st.integers(1, 99))
@settings(max_examples=25)
def test_shortened_llama_is_brute_force(
    first: int, last: int, sparsity: int, **chosen: Any
) -> None:
    model = made(**chosen)
    spared = {"spared_first": first, "spared_last": last}
    may_go = list(range(first, max(first, chosen["layers"] - last)))
    count = min(sparsity * chosen["layers"] // 100, len(may_go))
    losses = {layer: true_loss(without(model, [layer])) for layer in may_go}
    order = sorted(may_go, key=losses.__getitem__)[:count]
    choice = {"criterion": "perplexity", **spared}
    assert removed("shortened-llama", copy.deepcopy(model), sparsity, **choice) == order
    found = losses_without(model, TOKENS, may_go)
    assert found == pytest.approx(losses, rel=1e-5)
    for norms in ("official", "corrected"):
        twin = copy.deepcopy(model)
        output = twin(input_ids=TOKENS, use_cache=False).logits[:, :-1].flatten(0, 1)
        F.cross_entropy(output, TOKENS[:, 1:].flatten()).backward()
        scores = {
            index: sum(
                (parameter * parameter.grad).abs().sum().item()
                for name, parameter in layer.named_parameters()
                if name.endswith("weight") and (norms == "official" or "norm" not in name)
            )
            for index, layer in enumerate(twin.model.layers)
        }
        found = taylor_scores(model, TOKENS, norms=norms == "official")
        assert found == pytest.approx(scores, rel=1e-4)
        order = sorted(may_go, key=scores.__getitem__)[:count]
        choice = {"norms": norms, **spared}
        assert removed("shortened-llama", copy.deepcopy(model), sparsity, **choice) == order


def test_ends_are_spared_and_it_is_said() -> None:
    model, spec = tiny_model(layers=8), find_method("shortened-llama")
    pruned = spec.prune(model, None, 50, Context(TOKENS, 0), spec.parse({}))
    assert pruned.kept.numbers == (0, 1, 2, 3, 6, 7)
    assert pruned.notes == ["50 % of 8 layers are 4; whole layers go, and 2 went: 25.0 %"]


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_model_is_whole_again_after_some_of_its_layers_ran_alone(family: str) -> None:
    model = tiny_model(family, layers=4, **WINDOWS[family])
    before, config = logits(model, TOKENS), model.config.to_dict()
    alone = without(model, [0, 2])
    with only_layers(model, [1, 3]):
        assert torch.equal(logits(model, TOKENS), logits(alone, TOKENS))
        assert model.config.to_dict() == alone.config.to_dict()
    assert torch.equal(logits(model, TOKENS), before)
    assert model.config.to_dict() == config
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2, 3]


def test_scores_for_less_are_refused() -> None:
    model, spec = tiny_model(layers=5), find_method("shortgpt")
    with pytest.raises(UserError, match="the scores list 1 layers, sparsity 60 takes 3"):
        spec.prune(model, Scores({"order": torch.tensor([2])}), 60, Context(None, 0), None)


@pytest.mark.parametrize(
    ("method", "chosen"),
    [
        ("shortgpt", {}),
        ("shortened-llama", {"spared_first": 0, "spared_last": 0}),
        ("shortened-llama", {"spared_first": 0, "spared_last": 0, "criterion": "perplexity"}),
    ],
)
def test_numbers_that_are_not_finite_are_said(method: str, chosen: dict[str, Any]) -> None:
    model = tiny_model(layers=3)
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = torch.nan
    with pytest.raises(NumericalError, match=r"of (a )?layer"):
        removed(method, model, 40, **chosen)


def test_budget_of_layers_that_differ_holds_what_may_come() -> None:
    model, spec = tiny_model(layers=5), find_method("shortgpt")
    whole = KeptUnits.everything(shape_of_model(model))
    cut_layers(model, whole.compose(narrowed(whole)))
    shape = shape_of_model(model)
    budget = spec.budget(shape, 40, spec.parse({}))
    sizes = sorted(shape.block_parameters(block) for block in shape.blocks)
    assert budget.minimum == shape.parameters - sum(sizes[-2:])
    assert budget.maximum == shape.parameters - sum(sizes[:2])


def narrowed(whole: KeptUnits) -> KeptUnits:
    """Take neurons from every layer, more and more of them."""
    from adaptprune.pruning.units import LayerUnits

    return KeptUnits(
        tuple(
            LayerUnits(layer.kv_heads, layer.mlp[: 12 - index])
            for index, layer in enumerate(whole.layers)
        )
    )
