"""Where an algorithm touches a model, family by family: every place is named here and nowhere else.

Attribute paths are written in this module (and in ``adaptprune.modeling``, which is copied beside
weights and so stands alone). Importing it imports no torch.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from adaptprune.errors import unknown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import torch

    from adaptprune.models.shapes import ModelShape

_PREFIXES = ("adaptprune_", "sliced_")


#: Channels of a layer: how many there are, or which.
Channels = TypeVar("Channels")


@dataclass(frozen=True)
class Projections:
    """The linear layers of a block whose heads and neurons can be pruned, as paths in the block.

    Args:
        query: of attention, as ``key``, ``value`` and ``output``.
        key: its rows are channels of kv heads.
        value: likewise.
        output: its columns are channels of query heads.
        gate: of the MLP, as ``up`` and ``down``; its rows are neurons.
        up: likewise.
        down: its columns are neurons.
    """

    query: str
    key: str
    value: str
    output: str
    gate: str
    up: str
    down: str


@dataclass(frozen=True)
class Anatomy:
    """The places of one family.

    Args:
        blocks: where the list of decoder blocks lies in a causal language model.
        embedding: where the token embeddings lie.
        final_norm: the norm behind the last block.
        head: the output head.
        attention: the attention of a block, as a path in the block.
        mlp: its MLP; empty where its layers lie in the block itself.
        norms: the norms of a block: before attention and before the MLP.
        groups: the linear layers of a block in the order in which they compute; those of a group
            read the same input.
        projections: which of them are which, of a family whose heads and neurons can be pruned.
    """

    blocks: str
    embedding: str
    final_norm: str
    head: str
    attention: str
    mlp: str
    norms: tuple[str, str]
    groups: tuple[tuple[str, ...], ...]
    projections: Projections | None = None


PROJECTIONS = Projections(
    query="self_attn.q_proj",
    key="self_attn.k_proj",
    value="self_attn.v_proj",
    output="self_attn.o_proj",
    gate="mlp.gate_proj",
    up="mlp.up_proj",
    down="mlp.down_proj",
)
#: The norms of queries and keys, of a family that has them: over a head, which stays whole.
HEAD_NORMS = ("self_attn.q_norm", "self_attn.k_norm")
#: Llama, and the families built alike.
LLAMA = Anatomy(
    blocks="model.layers",
    embedding="model.embed_tokens",
    final_norm="model.norm",
    head="lm_head",
    attention="self_attn",
    mlp="mlp",
    norms=("input_layernorm", "post_attention_layernorm"),
    groups=(
        (PROJECTIONS.query, PROJECTIONS.key, PROJECTIONS.value),
        (PROJECTIONS.output,),
        (PROJECTIONS.gate, PROJECTIONS.up),
        (PROJECTIONS.down,),
    ),
    projections=PROJECTIONS,
)
_OPT = Anatomy(
    blocks="model.decoder.layers",
    embedding="model.decoder.embed_tokens",
    final_norm="model.decoder.final_layer_norm",
    head="lm_head",
    attention="self_attn",
    mlp="",
    norms=("self_attn_layer_norm", "final_layer_norm"),
    groups=(
        ("self_attn.k_proj", "self_attn.v_proj", "self_attn.q_proj"),
        ("self_attn.out_proj",),
        ("fc1",),
        ("fc2",),
    ),
)
_GPT2 = Anatomy(
    blocks="transformer.h",
    embedding="transformer.wte",
    final_norm="transformer.ln_f",
    head="lm_head",
    attention="attn",
    mlp="mlp",
    norms=("ln_1", "ln_2"),
    groups=(("attn.c_attn",), ("attn.c_proj",), ("mlp.c_fc",), ("mlp.c_proj",)),
)

#: Stock ``model_type`` → its anatomy.
ANATOMIES = {
    "gpt2": _GPT2,
    "llama": LLAMA,
    "mistral": LLAMA,
    "opt": _OPT,
    "qwen2": LLAMA,
    "qwen3": LLAMA,
}
#: Names in the state dict of the families that are built like Llama.
EMBEDDING_WEIGHT, HEAD_WEIGHT = f"{LLAMA.embedding}.weight", f"{LLAMA.head}.weight"
FINAL_NORM_WEIGHT = f"{LLAMA.final_norm}.weight"
NORM_WEIGHTS = tuple(f"{norm}.weight" for norm in LLAMA.norms)


def layer_prefix(index: int) -> str:
    """Return what the names of a decoder layer's weights begin with, of a family like Llama."""
    return f"{LLAMA.blocks}.{index}."


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


def norms_come_first(model: Any) -> bool:
    """Say whether a block's norms make what its attention and MLP read: not so in OPT-350M."""
    return bool(getattr(model.config, "do_layer_norm_before", True))


def find_blocks(model: Any) -> Any | None:
    """Return the list of decoder blocks of any model, None where it is not found.

    A family without an anatomy is looked at as if it were Llama.
    """
    config = getattr(model, "config", None)
    family = stock_family(str(getattr(config, "model_type", "")))
    try:
        return model.get_submodule(ANATOMIES.get(family, LLAMA).blocks)
    except AttributeError:
        return None


@dataclass(frozen=True)
class Layer:
    """A decoder layer whose heads and neurons can be pruned, and its places.

    Args:
        module: the layer.
        attention: its attention.
        mlp: its MLP.
        attention_norm: the norm before attention.
        mlp_norm: the norm before the MLP.
        query: of the linear layers, see ``Projections``; the others likewise.
    """

    module: Any
    attention: Any
    mlp: Any
    attention_norm: Any
    mlp_norm: Any
    query: Any
    key: Any
    value: Any
    output: Any
    gate: Any
    up: Any
    down: Any

    @classmethod
    def of(cls, block: Any) -> Layer:
        """Find the places of a block that is built like Llama's.

        Raises:
            AttributeError: it is built otherwise.
        """
        places = (LLAMA.attention, LLAMA.mlp, *LLAMA.norms, *vars(PROJECTIONS).values())
        return cls(block, *(block.get_submodule(place) for place in places))

    @property
    def head_dim(self) -> int:
        """Channels of one head."""
        return self.attention.head_dim

    @property
    def attention_projections(self) -> tuple[Any, Any, Any, Any]:
        """Return query, key, value and output."""
        return self.query, self.key, self.value, self.output

    @property
    def mlp_projections(self) -> tuple[Any, Any, Any]:
        """Return gate, up and down."""
        return self.gate, self.up, self.down


def layers_of(model: Any) -> list[Layer]:
    """Return the decoder layers of a model of a family whose heads and neurons can be pruned."""
    return [Layer.of(block) for block in blocks_of(model)]


def final_norm_of(model: Any) -> Any:
    """Return the norm behind the last block.

    Raises:
        UserError: the model's family has no anatomy.
    """
    return model.get_submodule(anatomy_of(model.config.model_type).final_norm)


def share_rotary_embedding(model: Any, other: Any) -> None:
    """Give a model the rotary embedding of another one; its frequencies are no weights."""
    model.get_decoder().rotary_emb = other.get_decoder().rotary_emb


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
    shapes: dict[str, tuple[int, int]] = {}
    for index, block in enumerate(shape.blocks):
        keys = block.kv_heads * shape.head_dim
        sizes = projection_shapes(
            shape.hidden_size, keys * shape.queries_per_kv_head, keys, block.intermediate_size
        )
        shapes |= {f"{layer_prefix(index)}{name}": size for name, size in sizes.items()}
    return shapes


def projection_shapes(
    hidden: int, queries: int, keys: int, neurons: int
) -> dict[str, tuple[int, int]]:
    """Return the weight of each projection of a layer and its (outputs, inputs), in order.

    Args:
        hidden: width of the residual stream.
        queries: channels of all query heads.
        keys: channels of all kv heads.
        neurons: of the MLP.
    """
    sizes = ends_of_projections(hidden, queries, keys, neurons)
    return {f"{place}.weight": size for place, size in sizes.items()}


def ends_of_projections(
    hidden: Channels, queries: Channels, keys: Channels, neurons: Channels
) -> dict[str, tuple[Channels, Channels]]:
    """Return what each projection of a layer runs to and from: place → (outputs, inputs), in order.

    Args:
        hidden: the residual stream: how many channels, or which.
        queries: the same of all query heads.
        keys: of all kv heads.
        neurons: of the MLP.
    """
    return {
        PROJECTIONS.query: (queries, hidden),
        PROJECTIONS.key: (keys, hidden),
        PROJECTIONS.value: (keys, hidden),
        PROJECTIONS.output: (hidden, queries),
        PROJECTIONS.gate: (neurons, hidden),
        PROJECTIONS.up: (neurons, hidden),
        PROJECTIONS.down: (hidden, neurons),
    }


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
