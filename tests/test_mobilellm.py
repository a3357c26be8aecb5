"""MobileLLM's layout on the hub becomes stock LLaMA, without a line of its code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import torch
import torch.nn.functional as F
from hub_client import forget, point_to
from loopback_hub import LoopbackHub
from safetensors.torch import load_file, save_file
from tiny_models import logits, tiny_tokens

from adaptprune.errors import UserError
from adaptprune.files.manifest import verify_folder
from adaptprune.models.catalogue import shape_of
from adaptprune.models.checkpoint import load_model
from adaptprune.models.fetch import fetch_hub_model
from adaptprune.models.mobilellm import convert_folder, is_mobilellm

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Weights = dict[str, torch.Tensor]

#: The keys of facebook/MobileLLM-125M's config.json, with small numbers; 3 query heads per kv head.
CONFIG: dict[str, Any] = {
    "architectures": ["MobileLLMForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "auto_map": {
        "AutoConfig": "configuration_mobilellm.MobileLLMConfig",
        "AutoModelForCausalLM": "modeling_mobilellm.MobileLLMForCausalLM",
    },
    "bos_token_id": 1,
    "eos_token_id": 2,
    "head_dim": 4,
    "hidden_act": "silu",
    "hidden_size": 36,
    "initializer_range": 0.02,
    "intermediate_size": 20,
    "layer_sharing": False,
    "max_position_embeddings": 64,
    "mlp_bias": False,
    "model_type": "mobilellm",
    "num_attention_heads": 9,
    "num_hidden_layers": 2,
    "num_key_value_heads": 3,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "share_embedding": True,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "transformers_version": "4.41.2",
    "use_cache": True,
    "vocab_size": 40,
}


def random_weights(shared: bool = True) -> Weights:
    """Return weights by the names of the hub's files."""
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator) * 0.3

    weights = {"model.embed_tokens.weight": draw(40, 36), "model.norm.weight": 1 + draw(36)}
    for index in range(2):
        layer = f"model.layers.{index}"
        for name, shape in {
            "self_attn.q_proj": (36, 36),
            "self_attn.k_proj": (12, 36),
            "self_attn.v_proj": (12, 36),
            "self_attn.o_proj": (36, 36),
            "mlp.gate_proj": (20, 36),
            "mlp.up_proj": (20, 36),
            "mlp.down_proj": (36, 20),
        }.items():
            weights[f"{layer}.{name}.weight"] = draw(*shape)
        for name in ("input_layernorm", "post_attention_layernorm"):
            weights[f"{layer}.{name}.weight"] = 1 + draw(36)
    return weights if shared else weights | {"lm_head.weight": draw(40, 36)}


def plain_logits(weights: Weights, tokens: torch.Tensor) -> torch.Tensor:
    """Run the model of ``CONFIG`` in plain torch [sequences, length, vocabulary]."""

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        scale = (x.pow(2).mean(-1, keepdim=True) + 1e-5).rsqrt()
        return x * scale * weights[f"{name}.weight"]

    def heads(x: torch.Tensor, name: str) -> torch.Tensor:
        y = F.linear(x, weights[f"{name}.weight"])
        return y.unflatten(-1, (-1, 4)).transpose(1, 2)

    length = tokens.shape[1]
    angles = torch.arange(length)[:, None] * 10000.0 ** -(torch.arange(0, 4, 2) / 4)
    cos, sin = angles.cos().repeat(1, 2), angles.sin().repeat(1, 2)

    def rotate(x: torch.Tensor) -> torch.Tensor:
        half = torch.cat([-x[..., 2:], x[..., :2]], dim=-1)
        return x * cos + half * sin

    hidden = weights["model.embed_tokens.weight"][tokens]
    future = torch.ones(length, length).triu(1).bool()
    for index in range(2):
        layer = f"model.layers.{index}"
        x = norm(hidden, f"{layer}.input_layernorm")
        query = rotate(heads(x, f"{layer}.self_attn.q_proj"))
        key = rotate(heads(x, f"{layer}.self_attn.k_proj")).repeat_interleave(3, dim=1)
        value = heads(x, f"{layer}.self_attn.v_proj").repeat_interleave(3, dim=1)
        scores = (query @ key.transpose(-1, -2) / 2).masked_fill(future, -torch.inf)
        mixed = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        hidden = hidden + F.linear(mixed, weights[f"{layer}.self_attn.o_proj.weight"])
        x = norm(hidden, f"{layer}.post_attention_layernorm")
        gate = F.silu(F.linear(x, weights[f"{layer}.mlp.gate_proj.weight"]))
        up = F.linear(x, weights[f"{layer}.mlp.up_proj.weight"])
        hidden = hidden + F.linear(gate * up, weights[f"{layer}.mlp.down_proj.weight"])
    head = weights.get("lm_head.weight", weights["model.embed_tokens.weight"])
    return F.linear(norm(hidden, "model.norm"), head)


def write_folder(folder: Path, weights: Weights, **changes: Any) -> Path:
    """Write a folder as the hub has it."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.mark.parametrize("shared", [True, False])
def test_converted_model_gives_the_same_logits(shared: bool, tmp_path: Path) -> None:
    weights, tokens = random_weights(shared), tiny_tokens()
    folder = write_folder(tmp_path / "m", weights, share_embedding=shared)
    assert is_mobilellm(folder)
    convert_folder(folder)
    model = load_model(folder)
    assert type(model).__name__ == "LlamaForCausalLM"
    assert model.config.tie_word_embeddings == shared
    assert (model.lm_head.weight is model.model.embed_tokens.weight) == shared
    torch.testing.assert_close(logits(model, tokens), plain_logits(weights, tokens))
    assert shape_of(str(folder)).parameters == sum(value.numel() for value in weights.values())
    config = json.loads((folder / "config.json").read_text())
    assert "auto_map" not in config
    assert not is_mobilellm(folder)


def test_what_is_stored_besides_the_weights_is_left_out(tmp_path: Path) -> None:
    weights = random_weights()
    copies = {
        "lm_head.weight": weights["model.embed_tokens.weight"].clone(),
        "model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(2),
    }
    folder = write_folder(tmp_path / "m", weights | copies)
    convert_folder(folder)
    assert load_file(folder / "model.safetensors").keys() == weights.keys()


def test_weights_in_several_files_become_one(tmp_path: Path) -> None:
    weights = random_weights()
    folder = write_folder(tmp_path / "m", {})
    (folder / "model.safetensors").unlink()
    names = sorted(weights)
    for part, chosen in enumerate((names[:5], names[5:]), start=1):
        file = folder / f"model-0000{part}-of-00002.safetensors"
        save_file({name: weights[name] for name in chosen}, file)
    (folder / "model.safetensors.index.json").write_text("{}")
    convert_folder(folder)
    assert [path.name for path in folder.glob("model*")] == ["model.safetensors"]
    assert load_file(folder / "model.safetensors").keys() == weights.keys()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.norm.weight", None, "no weight model.norm.weight, which its config asks for"),
        ("model.norm.weight", torch.ones(35), r"has shape \(35,\), its config says \(36,\)"),
        ("model.layers.2.x", torch.ones(1), "weight model.layers.2.x is not one of MobileLLM's"),
        ("lm_head.weight", torch.ones(40, 36), "differs from the embedding that it should share"),
    ],
)
def test_other_weights_are_refused(
    name: str, value: torch.Tensor | None, message: str, tmp_path: Path
) -> None:
    weights = random_weights()
    weights.pop(name, None)
    if value is not None:
        weights[name] = value
    folder = write_folder(tmp_path / "m", weights)
    with pytest.raises(UserError, match=message):
        convert_folder(folder)
    assert is_mobilellm(folder)


def test_shared_layers_are_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m", random_weights(), layer_sharing=True)
    with pytest.raises(UserError, match="layer_sharing is on"):
        convert_folder(folder)


def save_tokenizer(folder: Path) -> None:
    """Write a tokenizer of one word beside a model."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(models.WordLevel({"<unk>": 0, "bird": 1}, unk_token="<unk>"))
    PreTrainedTokenizerFast(tokenizer_object=words, unk_token="<unk>").save_pretrained(folder)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of MobileLLM's repository on a hub of the test."""
    folder = tmp_path / "hub" / "models" / "facebook" / "MobileLLM-125M" / "1"
    save_tokenizer(write_folder(folder, random_weights()))
    with LoopbackHub(tmp_path / "hub") as served:
        point_to(served, tmp_path / "home", monkeypatch)
        yield folder
    forget()


def test_fetched_model_is_converted(tmp_path: Path, hub: Path) -> None:
    folder = hub
    (folder / "modeling_mobilellm.py").write_text("raise SystemExit('remote code was run')")
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    fetch_hub_model("facebook/MobileLLM-125M", "main", tmp_path / "model")
    verify_folder(tmp_path / "model")
    names = {path.name for path in (tmp_path / "model").iterdir()}
    files = {"config.json", "manifest.json", "model.safetensors"}
    assert names == files | {"tokenizer.json", "tokenizer_config.json"}
    tokens = tiny_tokens()
    expected = plain_logits(random_weights(), tokens)
    torch.testing.assert_close(logits(load_model(tmp_path / "model"), tokens), expected)


def test_pickled_weights_are_refused(tmp_path: Path, hub: Path) -> None:
    (hub / "model.safetensors").rename(hub / "pytorch_model.bin")
    with pytest.raises(UserError, match="the repository has no safetensors"):
        fetch_hub_model("facebook/MobileLLM-125M", "main", tmp_path / "model")
    assert not (tmp_path / "model").exists()
