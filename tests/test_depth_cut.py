"""Cutting whole layers, alone and together with heads and neurons."""

from __future__ import annotations

import copy
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from checkpoint_examples import CALIBRATION
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from test_surgery import draw_units, same_weights, silence
from tiny_models import FAMILIES, SHAPES, logits, save_tiny_model, tiny_model, tiny_tokens

from adaptprune.errors import UserError
from adaptprune.files.atomic import read_sealed_json
from adaptprune.models.checkpoint import load_model
from adaptprune.models.reloading import reload
from adaptprune.models.runtime import Runtime
from adaptprune.models.sizes import shape_of_model
from adaptprune.plugins import Parameters
from adaptprune.pruning.decisions import Cut
from adaptprune.pruning.dense import DenseModel
from adaptprune.pruning.method import Budget, Method
from adaptprune.pruning.stage import Job, prune_stage
from adaptprune.pruning.surgery import cut_layers
from adaptprune.pruning.units import KeptUnits, LayerUnits

if TYPE_CHECKING:
    from pathlib import Path

TOKENS = tiny_tokens(2, 12)
#: Family → what makes the layers of a model see windows, in the Qwens the last three of five.
_QWEN = {"use_sliding_window": True, "sliding_window": 4, "max_window_layers": 2}
WINDOWS: dict[str, dict[str, Any]] = {
    "llama": {},
    "mistral": {"sliding_window": 4},
    "qwen2": _QWEN,
    "qwen3": _QWEN,
}


def five_layers(family: str, **settings: Any) -> Any:
    return tiny_model(family, layers=5, **WINDOWS[family], **settings)


def draw_layers(data: st.DataObject, count: int) -> list[int]:
    return sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))


def silence_layers(model: Any, kept: KeptUnits) -> None:
    """Let the layers that are not kept add nothing to the residual stream."""
    for index, layer in enumerate(model.model.layers):
        if index not in kept.indices:
            for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
                for parameter in projection.parameters():
                    parameter.data.zero_()


@given(
    data=st.data(),
    family=st.sampled_from(FAMILIES),
    shape=st.sampled_from(sorted(SHAPES)),
    tied=st.booleans(),
)
def test_cut_model_computes_what_the_dense_one_does_with_silenced_layers(
    data: st.DataObject, family: str, shape: str, tied: bool
) -> None:
    model = five_layers(family, tied=tied, **SHAPES[shape])
    whole = draw_units(data, list(shape_of_model(model).blocks))
    kept = whole.only(draw_layers(data, 5))
    silenced = copy.deepcopy(model)
    silence(silenced, whole)
    silence_layers(silenced, kept)
    cut_layers(model, kept)
    expected = logits(silenced, TOKENS)
    torch.testing.assert_close(logits(model, TOKENS), expected, rtol=1e-4, atol=1e-4)
    with torch.no_grad():  # the cache counts the layers that are left
        cached = model(input_ids=TOKENS, use_cache=True).logits
    torch.testing.assert_close(cached, expected, rtol=1e-4, atol=1e-4)


@given(data=st.data(), family=st.sampled_from(FAMILIES))
def test_cutting_twice_is_cutting_once(data: st.DataObject, family: str) -> None:
    twice = five_layers(family)
    once = copy.deepcopy(twice)
    blocks = list(shape_of_model(twice).blocks)
    first = draw_units(data, blocks)
    if data.draw(st.booleans()):
        first = first.only(draw_layers(data, 5))
    second = draw_units(data, first.blocks())
    second = second.only(draw_layers(data, len(first.layers)))
    both = first.compose(second)
    both.check(shape_of_model(once))
    cut_layers(twice, first)
    cut_layers(twice, second)
    cut_layers(once, both)
    assert same_weights(once, twice)
    assert once.config.to_dict() == twice.config.to_dict()
    assert KeptUnits.from_json(both.to_json(shape_of_model(twice))) == both


def test_config_of_a_cut_model_by_hand() -> None:
    model = five_layers("qwen3")
    full, window = "full_attention", "sliding_attention"
    assert model.config.layer_types == [full, full, window, window, window]
    cut_layers(model, KeptUnits.everything(shape_of_model(model)).only([1, 2, 4]))
    assert model.config.layer_types == [full, window, window]
    assert model.config.max_window_layers == 1
    assert model.config.num_hidden_layers == 3
    assert [layer.self_attn.layer_idx for layer in model.model.layers] == [0, 1, 2]


WHOLE = LayerUnits((0, 1), tuple(range(12)))


@pytest.mark.parametrize(
    ("kept", "complaint"),
    [
        (KeptUnits((WHOLE,)), "kept units list 1 layers, the model has 3"),
        (KeptUnits((WHOLE,), (0, 2)), "kept units list 1 layers, their numbers are 2"),
        (KeptUnits((), ()), "kept layers are none; one must stay"),
        (KeptUnits((WHOLE, WHOLE), (2, 0)), r"kept layers must be sorted, unique and in 0\.\.2"),
        (KeptUnits((WHOLE, WHOLE), (1, 3)), r"kept layers must be sorted, unique and in 0\.\.2"),
        (KeptUnits((WHOLE, LayerUnits((2,), (0,))), (0, 2)), "kept kv_heads of layer 2 must be"),
    ],
)
def test_impossible_layers_are_refused(kept: KeptUnits, complaint: str) -> None:
    model = tiny_model(layers=3)
    untouched = copy.deepcopy(model)
    with pytest.raises(UserError, match=complaint):
        cut_layers(model, kept)
    assert same_weights(model, untouched)


def test_biases_go_by_the_layers_of_the_dense_model() -> None:
    model = tiny_model(layers=3)
    dense, shift = DenseModel.of(model), torch.ones(16)
    kept = KeptUnits.everything(dense.units).only([0, 2])
    with pytest.raises(UserError, match="biases of layer 1, which is dropped"):
        Cut(kept, {1: (shift, shift)}).check(dense)
    decision = Cut(kept, {2: (shift, 2 * shift)})
    decision.check(dense)
    layers = decision.apply(model).model.layers
    decision.confirm(model)
    assert layers[0].mlp.down_proj.bias is None
    assert torch.equal(layers[1].mlp.down_proj.bias, 2 * shift)
    assert decision.reached(dense, model) == pytest.approx(1 / 3)


class Thinned(Method):
    """Layers 0, 2 and 4 stay; on request they lose units too."""

    name = "thinned"
    title = "Thinned"
    version = 1
    citation = "-"
    needs_calibration = False

    def __init__(self, narrow: str):
        self.narrow = narrow

    def prune(self, model: Any, *others: Any) -> Cut:
        """Cut alike (``all``), unlike (``one``), or no width at all (``none``)."""
        kept = KeptUnits.everything(shape_of_model(model)).only([0, 2, 4])
        narrowed = {"none": [], "one": [1], "all": [0, 1, 2]}[self.narrow]
        layers = [
            LayerUnits((1,), (0, 3, 5)) if index in narrowed else units
            for index, units in enumerate(kept.layers)
        ]
        return Cut(KeptUnits(tuple(layers), kept.numbers))

    def budget(self, *others: Any) -> Budget:
        """Return anything: nobody asks."""
        return Budget(1, 1)


#: What a user runs who has transformers alone.
PLAIN = """
import json, sys, torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM
root, names = sys.argv[1], json.loads(sys.argv[2])
tokens, logits = load_file(f"{root}/asked.safetensors")["tokens"], {}
torch.set_num_threads(1)
for name in names:
    model = AutoModelForCausalLM.from_pretrained(f"{root}/{name}").eval()
    assert not type(model).__name__.startswith("AdaptPrune"), name
    with torch.no_grad():
        logits[name] = model(input_ids=tokens, use_cache=False).logits
assert not any(module.startswith("adaptprune") for module in sys.modules)
save_file(logits, f"{root}/plain.safetensors")
"""


def test_checkpoints_without_layers_load_in_fresh_processes(tmp_path: Path) -> None:
    expected: dict[str, torch.Tensor] = {}
    for family in FAMILIES:
        for narrow in ("none", "one", "all"):
            name, source = f"{family}-{narrow}", tmp_path / f"dense-{family}-{narrow}"
            settings = {"layers": 5, "tied": narrow == "all", **WINDOWS[family]}
            save_tiny_model(source, family, **settings)
            method = Thinned(narrow)
            job = Job(str(source), method, None, Parameters(), 0, CALIBRATION, Runtime(threads=1))
            prune_stage(job, 40, tmp_path / name)
            kept = KeptUnits.from_json(read_sealed_json(tmp_path / name / "kept.json"))
            assert kept.numbers == (0, 2, 4)
            model = load_model(source)
            cut_layers(model, kept)
            expected[name] = logits(model, TOKENS)
            stock = not (tmp_path / name / "modeling_adaptprune.py").exists()
            assert stock == (narrow != "one")
    for name, found in reload(tmp_path, list(expected), TOKENS).items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=1e-5)
    plain = [name for name in expected if not name.endswith("-one")]
    save_file({"tokens": TOKENS}, tmp_path / "asked.safetensors")
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    subprocess.run(
        [sys.executable, "-c", PLAIN, str(tmp_path), json.dumps(plain)],
        env=environment,
        cwd=tmp_path,
        check=True,
    )
    answers = load_file(tmp_path / "plain.safetensors")
    assert answers.keys() == set(plain)
    for name, found in answers.items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=1e-5)


def test_layers_of_other_shapes_are_dropped_too(tmp_path: Path) -> None:
    """From a checkpoint whose config lists its layers."""
    save_tiny_model(tmp_path / "dense", "qwen2", layers=7, **WINDOWS["qwen2"])
    method = Thinned("one")
    job = Job(str(tmp_path / "dense"), method, None, Parameters(), 0, None, Runtime(threads=1))
    prune_stage(job, 40, tmp_path / "first")
    model = load_model(tmp_path / "first")
    before = logits(model, TOKENS)
    cut_layers(model, KeptUnits.everything(shape_of_model(model)).only([1, 2]))
    assert [block.kv_heads for block in shape_of_model(model).blocks] == [1, 2]
    assert len(model.config.blocks) == 2
    model.save_pretrained(tmp_path / "second")
    again = load_model(tmp_path / "second")
    assert same_weights(again, model)
    assert torch.equal(logits(again, TOKENS), logits(model, TOKENS))
    assert not torch.equal(logits(again, TOKENS), before)
