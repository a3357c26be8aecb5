"""Where single weights are pruned in each family: the decoder blocks and their linear layers."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from adaptprune.models.shapes import ModelShape

_PREFIXES = ("adaptprune_", "sliced_")


@dataclass(frozen=True)
class Anatomy:
    """The places of one family.

    Args:
        blocks: where the list of decoder blocks lies in a causal language model.
        groups: the linear layers of a block in the order in which they compute; those of a group
            read the same input.
    """

    blocks: str
    groups: tuple[tuple[str, ...], ...]


_LLAMA = Anatomy(
    "model.layers",
    (
        ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        ("self_attn.o_proj",),
        ("mlp.gate_proj", "mlp.up_proj"),
        ("mlp.down_proj",),
    ),
)
_OPT = Anatomy(
    "model.decoder.layers",
    (
        ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"),
        ("self_attn.out_proj",),
        ("fc1",),
        ("fc2",),
    ),
)
_GPT2 = Anatomy(
    "transformer.h", (("attn.c_attn",), ("attn.c_proj",), ("mlp.c_fc",), ("mlp.c_proj",))
)

#: Stock ``model_type`` → its anatomy.
ANATOMIES = {
    "gpt2": _GPT2,
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "opt": _OPT,
    "qwen2": _LLAMA,
    "qwen3": _LLAMA,
}


@dataclass(frozen=True)
class Linear:
    """One linear layer of a decoder block.

    Args:
        name: of its weight in the model's state dict.
        module: a ``torch.nn.Linear``, or GPT-2's ``Conv1D``, whose weight lies [inputs, outputs].
    """

    name: str
    module: Any

    @property
    def matrix(self) -> torch.Tensor:
        """Return the weight as [outputs, inputs], sharing its memory, without gradient."""
        weight = self.module.weight.detach()
        return weight.t() if type(self.module).__name__ == "Conv1D" else weight

    @property
    def shape(self) -> tuple[int, int]:
        """Return (outputs, inputs)."""
        outputs, inputs = self.matrix.shape
        return outputs, inputs


def stock_family(model_type: str) -> str:
    """Return the stock ``model_type`` behind one of this suite's own."""
    for prefix in _PREFIXES:
        model_type = model_type.removeprefix(prefix)
    return model_type


def anatomy_of(family: str) -> Anatomy:
    """Return the anatomy of a family, given its ``model_type``.

    Raises:
        UserError: the family has none.
    """
    family = stock_family(family)
    if family not in ANATOMIES:
        raise unknown("architecture (model_type) for pruning single weights", family, ANATOMIES)
    return ANATOMIES[family]


def blocks_of(model: Any) -> Any:
    """Return the list of decoder blocks of a model.

    Raises:
        UserError: its family has no anatomy.
    """
    return model.get_submodule(anatomy_of(model.config.model_type).blocks)


def linears_of(model: Any, index: int) -> list[list[Linear]]:
    """Return the linear layers of a block in order, those that read one input together.

    Raises:
        UserError: the model's family has no anatomy.
    """
    anatomy = anatomy_of(model.config.model_type)
    block = f"{anatomy.blocks}.{index}"
    return [
        [Linear(f"{block}.{name}.weight", model.get_submodule(f"{block}.{name}")) for name in group]
        for group in anatomy.groups
    ]


def all_linears(model: Any) -> Iterator[Linear]:
    """Yield the linear layers of all decoder blocks in order.

    Raises:
        UserError: the model's family has no anatomy.
    """
    for index in range(len(blocks_of(model))):
        for group in linears_of(model, index):
            yield from group


def weight_shapes(model: Any) -> dict[str, tuple[int, int]]:
    """Return name → (outputs, inputs) of the linear layers of all decoder blocks, in order.

    Raises:
        UserError: the model's family has no anatomy.
    """
    return {linear.name: linear.shape for linear in all_linears(model)}


def expected_weight_shapes(shape: ModelShape) -> dict[str, tuple[int, int]]:
    """Return what ``weight_shapes`` gives for a model of ``shape``, without weights."""
    hidden = shape.hidden_size
    shapes: dict[str, tuple[int, int]] = {}
    for index, block in enumerate(shape.blocks):
        keys, neurons = block.kv_heads * shape.head_dim, block.intermediate_size
        queries = keys * shape.queries_per_kv_head
        sizes = {
            "self_attn.q_proj": (queries, hidden),
            "self_attn.k_proj": (keys, hidden),
            "self_attn.v_proj": (keys, hidden),
            "self_attn.o_proj": (hidden, queries),
            "mlp.gate_proj": (neurons, hidden),
            "mlp.up_proj": (neurons, hidden),
            "mlp.down_proj": (hidden, neurons),
        }
        shapes |= {f"model.layers.{index}.{name}.weight": size for name, size in sizes.items()}
    return shapes


@contextmanager
def hooked(
    *,
    before: Mapping[Any, Callable[..., Any]] | None = None,
    after: Mapping[Any, Callable[..., Any]] | None = None,
) -> Iterator[None]:
    """Call functions before and after modules compute, as long as the context lasts.

    Args:
        before: module → function of (module, arguments, named arguments); where it returns new
            ones, the module gets those.
        after: module → function of (module, arguments, named arguments, output); where it returns
            a new output, that goes on.
    """
    with ExitStack() as stack:
        for module, function in (before or {}).items():
            handle = module.register_forward_pre_hook(function, with_kwargs=True)
            stack.callback(handle.remove)
        for module, function in (after or {}).items():
            handle = module.register_forward_hook(function, with_kwargs=True)
            stack.callback(handle.remove)
        yield


def stream_in(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> torch.Tensor:
    """Return the residual stream that a block was called with [batch, length, hidden]."""
    return arguments[0] if arguments else named["hidden_states"]


def stream_out(output: Any) -> torch.Tensor:
    """Return the residual stream that a block gave [batch, length, hidden]."""
    return output[0] if isinstance(output, tuple) else output
