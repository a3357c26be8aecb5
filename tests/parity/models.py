"""The official codes' little models and settings, in the words of this suite."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from adaptprune.errors import UserError
from tests.parity.formula import symmetric, uniform

#: Official name of a parameter → ours. Numbers of blocks stay.
_LLAMA = {
    "transformer.wte": "model.embed_tokens",
    "transformer.output": "lm_head",
    "transformer.ln_f": "model.norm",
    "transformer.blocks.": "model.layers.",
    ".ln_1": ".input_layernorm",
    ".ln_2": ".post_attention_layernorm",
    ".attn.wq": ".self_attn.q_proj",
    ".attn.wk": ".self_attn.k_proj",
    ".attn.wv": ".self_attn.v_proj",
    ".attn.out_proj": ".self_attn.o_proj",
}
_KNOWN = {
    "llama": "vocab hidden layers heads intermediate seq batch steps lr warmup alpha_f betas eps "
    "weight_decay clip_norm kl_weight kl_temp mask_every_forward train_mask decay SLoRB SLoRB_k "
    "SLoRB_init trainable_projection",
    "gpt2": "vocab n_embd n_layer n_head seq batch steps lr min_lr warmup_iters lr_decay_iters "
    "max_iters betas weight_decay clip_norm srste_decay increase_step output_flip_every hardness "
    "SLoRB SLoRB_k SLoRB_init",
}


@dataclass(frozen=True)
class Official:
    """A run of an official code, in the words of this suite.

    Args:
        code: ``llama`` or ``gpt2``.
        model: its model, with the weights that the formula gives.
        names: official name of a parameter → ours.
        vocabulary: number of tokens.
        batch: rows of a step.
        length: tokens of a row.
        steps: that were taken.
        schedule_steps: that its schedules are laid out for.
        peak: highest learning rate.
        minimum: learning rate at the end of the cosine.
        gradient_norm: that gradients are clipped to.
        parameters: of AST.
    """

    code: str
    model: Any
    names: dict[str, str]
    vocabulary: int
    batch: int
    length: int
    steps: int
    schedule_steps: int
    peak: float
    minimum: float
    gradient_norm: float
    parameters: dict[str, Any]


def official_of(run: dict[str, Any]) -> Official:
    """Read a file's settings.

    Raises:
        UserError: it asks for something that this suite, or its formula, has no words for.
    """
    settings = run["settings"]
    code = "gpt2" if "n_embd" in settings else "llama"
    for key in settings.keys() ^ set(_KNOWN[code].split()):
        there = "is not known" if key in settings else "is missing"
        raise UserError(f"settings: {key} {there} (a run of the {code} code)")
    if settings.get("eps", 1e-8) != 1e-8:
        raise UserError(f"settings: eps {settings['eps']}, AST's is 1e-8")
    return _gpt2(run) if code == "gpt2" else _llama(run)


def _shared(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters of AST that both codes call alike."""
    if settings["SLoRB"] and settings["SLoRB_init"] == "xavier":
        raise UserError("settings: SLoRB_init xavier is drawn, not made by formula")
    beta1, beta2 = settings["betas"]
    return {
        "ties": "official",
        "beta1": beta1,
        "beta2": beta2,
        "weight_decay": settings["weight_decay"],
        "slorb_k": settings["SLoRB_k"] if settings["SLoRB"] else 0,
        "slorb_start": settings["SLoRB_init"] or "mean",
    }


def _llama(run: dict[str, Any]) -> Official:
    settings = run["settings"]
    steps, weight = settings["steps"], settings["kl_weight"]
    if settings["weight_decay"]:
        raise UserError("settings: weight_decay of the llama code must be 0, as published")
    config = LlamaConfig(
        vocab_size=settings["vocab"],
        hidden_size=settings["hidden"],
        num_hidden_layers=settings["layers"],
        num_attention_heads=settings["heads"],
        intermediate_size=settings["intermediate"],
        rms_norm_eps=1e-5,
        rope_theta=10000.0,
        max_position_embeddings=max(64, settings["seq"]),
        tie_word_embeddings=False,
    )
    parameters = _shared(settings) | {
        "alpha": weight / (1 + weight),
        "loss_scale": 1 + weight,
        "temperature": settings["kl_temp"],
        "positions": "all",
        "update_every": settings["mask_every_forward"] if settings["train_mask"] else 0,
        "update_moment": "before",
        "decay": "gradient",
        "warmup": settings["warmup"] / steps,
        "cosine_end": 1.0,
        "slorb_train_projection": settings["trainable_projection"] is not False,
        **_decay(settings["decay"]),
    }
    names = {name: _renamed(name) for name in run["input"]["parameter_order"]}
    return Official(
        code="llama",
        model=_filled(LlamaForCausalLM(config), names),
        names=names,
        vocabulary=settings["vocab"],
        batch=settings["batch"],
        length=settings["seq"],
        steps=steps,
        schedule_steps=steps,
        peak=settings["lr"],
        minimum=settings["alpha_f"] * settings["lr"],
        gradient_norm=settings["clip_norm"],
        parameters=parameters,
    )


def _renamed(name: str) -> str:
    for theirs, ours in _LLAMA.items():
        name = name.replace(theirs, ours)
    return name


def _decay(text: str | float) -> dict[str, Any]:
    """Read "0.02*min(t,5)", "SRSTE_Callback: 2e-8*t" (up to step 3000), or a number."""
    text = str(text).replace(" ", "").removeprefix("SRSTE_Callback:")
    match = re.fullmatch(r"([\d.e+-]+?)(?:\*(?:t|min\(t,(\d+)\)))?", text)
    if match is None:
        raise UserError(f"settings: decay {text!r}; AST's grows linearly and is then constant")
    if "t" not in text:
        return {"annealing": "static", "decay_factor": float(match[1])}
    increase = int(match[2] or 3000)
    return {"decay_factor": float(match[1]) * increase, "increase_steps": increase}


def _gpt2(run: dict[str, Any]) -> Official:
    settings = run["settings"]
    steps, total = settings["steps"], settings["max_iters"]
    task, divergence, features = settings["hardness"]
    shapes = {entry["name"]: entry["shape"] for entry in run["final_parameters"]}
    config = GPT2Config(
        vocab_size=settings["vocab"],
        n_positions=shapes["transformer.wpe.weight"][0],
        n_embd=settings["n_embd"],
        n_layer=settings["n_layer"],
        n_head=settings["n_head"],
        activation_function="gelu",
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    scale = task + divergence
    parameters = _shared(settings) | {
        "alpha": divergence / scale,
        "loss_scale": scale,
        "temperature": 2.0,
        "update_every": settings["output_flip_every"],
        "update_moment": "after",
        "decay": "gpt2-boolean" if "boolean" in run["method"] else "gpt2-official",
        "decay_factor": settings["srste_decay"],
        "increase_steps": settings["increase_step"],
        "warmup": settings["warmup_iters"] / total,
        "cosine_end": settings["lr_decay_iters"] / total,
    }
    if features:
        parameters |= {"distillation": "squarehead", "feature_weight": features / divergence}
    names = {name: name for name in run["input"]["parameter_order"]}
    return Official(
        code="gpt2",
        model=_filled(GPT2LMHeadModel(config), names),
        names=names,
        vocabulary=settings["vocab"],
        batch=settings["batch"],
        length=settings["seq"] + 1,
        steps=steps,
        schedule_steps=total,
        peak=settings["lr"],
        minimum=settings["min_lr"],
        gradient_norm=settings["clip_norm"],
        parameters=parameters,
    )


@torch.no_grad()
def _filled(model: Any, names: dict[str, str]) -> Any:
    """Give a model the weights of the formula, parameter by parameter in the official order."""
    parameters = dict(model.named_parameters())
    for number, (theirs, ours) in enumerate(names.items()):
        parameter = parameters.pop(ours)
        shape = official_layout(model, ours, parameter).shape
        if theirs.endswith(".bias"):
            values = symmetric(1000 + number, shape, 0.02)
        elif ".ln_" in theirs:
            values = 1 + symmetric(1000 + number, shape, 0.1)
        else:
            values = symmetric(1000 + number, shape, 0.07)
        official_layout(model, ours, parameter).copy_(values)
    assert not parameters, f"no values for {list(parameters)}"
    return model.eval()


def official_layout(model: Any, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """Return a parameter as the official code holds it: a matrix as [outputs, inputs]."""
    module = model.get_submodule(name.rpartition(".")[0])
    turned = type(module).__name__ == "Conv1D" and tensor.dim() == 2
    return tensor.t() if turned else tensor


def tokens_of(official: Official, step: int) -> torch.Tensor:
    """Return the token ids of a step [batch, seq + 1]."""
    length = official.length + (official.code == "llama")
    count, size = official.batch * length, official.vocabulary
    ids = np.floor(size * uniform(5000 + step, count) * uniform(6000 + step, count))
    return torch.from_numpy(ids.astype(np.int64)).reshape(official.batch, length)


@torch.no_grad()
def evaluation_loss(official: Official, model: Any) -> float:
    """Return a model's mean next-token cross-entropy (nats) over the blocks 900 to 903."""
    losses = []
    for block in range(900, 904):
        tokens = tokens_of(official, block)
        logits = model(input_ids=tokens[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
        losses.append(loss.item())
    return sum(losses) / len(losses)
