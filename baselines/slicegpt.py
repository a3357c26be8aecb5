"""SliceGPT (Ashkboos et al. 2024): rotate the residual stream by PCA, slice its last channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import pydantic

from adaptprune.errors import NumericalError, UserError
from adaptprune.plugins import Parameters
from adaptprune.pruning.method import Budget, Context, Method, Passes, Pruned, Scores

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from adaptprune.models.anatomy import Layer
    from adaptprune.models.shapes import ModelShape

#: The official code hard-codes the epsilon of its normalisation.
_OFFICIAL_EPSILON = 1e-5
#: Calibration sequences that pass through a layer at once.
_BATCH = 16
#: Bytes of the rows of a weight that are float64 at once.
_CHUNK_BYTES = 2**28


class SliceGPTParameters(Parameters):
    """Parameters of SliceGPT; plain values are the official code's.

    ``embedding_mean``: official subtracts each embedding row's mean, which for a model with RMS
    norm changes its function; ``corrected`` leaves the embeddings alone. ``norm_epsilon``:
    official is 1e-5, ``corrected`` the model's own.
    """

    round_interval: int = pydantic.Field(8, ge=1)
    damping: float = pydantic.Field(0.01, ge=0)
    embedding_mean: Literal["official", "corrected"] = "official"
    norm_epsilon: Literal["official", "corrected"] = "official"


def sliced_width(hidden_size: int, sparsity: int, round_interval: int) -> int:
    """Return the new width: ``int((1 − s) · hidden)`` rounded down to a multiple.

    Raises:
        UserError: nothing would be left.
    """
    width = int((1 - sparsity / 100) * hidden_size)
    width -= width % round_interval
    if width < 1:
        raise UserError(
            f"slicegpt: sparsity {sparsity} leaves no multiple of {round_interval} of the "
            f"{hidden_size} channels"
        )
    return width


class SliceGPT(Method):
    """Rotation by the principal components of each block's signal, float64, one per shortcut."""

    name = "slicegpt"
    title = "SliceGPT"
    version = 1
    citation = "SliceGPT, arXiv 2401.15024"
    parameters = SliceGPTParameters

    def passes(self, shape: ModelShape, sparsity: int, parameters: SliceGPTParameters) -> Passes:
        """Every layer is passed before and after its cut, and has two rotations."""
        return Passes(forward=2, decompositions=2 * len(shape.blocks) + 1)

    def prune(
        self,
        model: Any,
        scores: Scores | None,
        sparsity: int,
        context: Context,
        parameters: SliceGPTParameters,
    ) -> Pruned:
        """Fold the norms, then rotate and slice layer by layer; each PCA sees sliced inputs."""
        from adaptprune.modeling import FAMILIES
        from adaptprune.models.sizes import shape_of_model

        assert context.tokens is not None, "slicegpt needs calibration tokens"
        shape_of_model(model).check_stock("sliced")
        if model.config.model_type not in FAMILIES:
            raise UserError("this model lists its layers' shapes; only a stock model is sliced")
        width = sliced_width(model.config.hidden_size, sparsity, parameters.round_interval)
        slicer = Slicer(model, context.tokens, width, parameters)
        sliced = slicer.run()
        return Pruned(model=sliced, width=width, steps=slicer.log)

    def budget(self, shape: ModelShape, sparsity: int, parameters: SliceGPTParameters) -> Budget:
        """Return the exact count: untied head, both shortcut matrices, norms without weights."""
        shape.check_stock("sliced")
        hidden = shape.hidden_size
        width = sliced_width(hidden, sparsity, parameters.round_interval)
        decoder = 0
        for index, block in enumerate(shape.blocks):
            last = index == len(shape.blocks) - 1
            output_width = hidden if last else width
            kv_width = block.kv_heads * shape.head_dim
            query_width = kv_width * shape.queries_per_kv_head
            neurons = block.intermediate_size
            decoder += width * (2 * query_width + 2 * kv_width + 2 * neurons)
            decoder += output_width * neurons + width * width + width * output_width
            decoder += shape.qkv_bias * (query_width + 2 * kv_width) + shape.output_bias * width
            decoder += shape.mlp_bias * (2 * neurons + output_width)
            decoder += shape.head_norm * 2 * shape.head_dim
        total = decoder + shape.vocab_size * (width + hidden)
        return Budget(total, total, decoder, width=width)


def principal_components(
    signals: list[torch.Tensor], damping: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return eigenvalues (descending) and eigenvectors of the signals' second moment, float64.

    Args:
        signals: batches [sequences, length, hidden].
        damping: fraction of the mean of the diagonal that is added to the diagonal.

    Raises:
        NumericalError: a signal is not finite.
    """
    import torch

    hidden = signals[0].shape[-1]
    moment = torch.zeros(hidden, hidden, dtype=torch.float64, device=signals[0].device)
    for batch in signals:
        rows = batch.reshape(-1, hidden).double()
        moment += rows.T @ rows
    if not moment.isfinite().all():
        raise NumericalError("a signal of the model is not finite")
    moment.diagonal().add_(damping * moment.diagonal().mean())
    values, vectors = torch.linalg.eigh(moment)
    return values.flip(0), vectors.flip(1)


def _by_rows(
    weight: torch.Tensor, width: int, change: Callable[[torch.Tensor], torch.Tensor]
) -> torch.Tensor:
    """Change the rows of a weight [out, hidden] in float64, some at a time: [out, width]."""
    rows = max(1, _CHUNK_BYTES // (8 * max(width, weight.shape[1])))
    changed = weight.new_empty(len(weight), width, requires_grad=False)
    for part, target in zip(weight.detach().split(rows), changed.split(rows), strict=True):
        target.copy_(change(part.double()))
    return changed


def _multiply(weight: torch.Tensor, rotation: torch.Tensor) -> torch.Tensor:
    """Rotate the inputs of a weight [out, hidden] in float64: [out, width]."""
    return _by_rows(weight, rotation.shape[1], lambda rows: rows @ rotation)


class Slicer:
    """One run of SliceGPT over a model, which it consumes.

    Args:
        model: the dense model.
        tokens: calibration token ids [sequences, length].
        width: the width that stays.
        parameters: the method's parameters.
    """

    def __init__(
        self, model: Any, tokens: torch.Tensor, width: int, parameters: SliceGPTParameters
    ):
        from adaptprune.models.anatomy import layers_of

        self.model = model
        self.layers = layers_of(model)
        self.tokens = tokens
        self.width = width
        self.parameters = parameters
        official = parameters.norm_epsilon == "official"
        self.epsilon = _OFFICIAL_EPSILON if official else model.config.rms_norm_eps
        self.log: list[dict[str, Any]] = []
        #: What the model gives each layer besides its inputs: masks and rotary embeddings.
        self.given = layer_arguments(model, tokens[:1])

    def run(self) -> Any:
        """Return the sliced model."""
        import torch

        with torch.no_grad():
            fuse_norms(self.model, subtract_mean=self.parameters.embedding_mean == "official")
            embeddings = self.model.get_input_embeddings()
            head = self.model.get_output_embeddings().weight
            streams = [embeddings(batch) for batch in self.tokens.split(_BATCH)]
            rotation = self._rotation(streams, "embedding")
            tables = {"embedding": _multiply(embeddings.weight, rotation[:, : self.width])}
            shortcuts = []
            last = len(self.layers) - 1
            for index, layer in enumerate(self.layers):
                output_width = self.model.config.hidden_size if index == last else self.width
                pair, streams, rotation = self._slice_layer(
                    index, layer, streams, rotation, output_width
                )
                shortcuts.append(pair)
            tables["head"] = _multiply(head, rotation)
            return self._assemble(tables, shortcuts)

    def _rotation(self, streams: list[torch.Tensor], place: str) -> torch.Tensor:
        values, vectors = principal_components(streams, self.parameters.damping)
        total = values.sum()
        self.log.append(
            {
                "place": place,
                "eigenvalue_sum": float(total),
                "kept_fraction": float(values[: self.width].sum() / total),
            }
        )
        return vectors

    def _slice_layer(
        self,
        index: int,
        layer: Layer,
        streams: list[torch.Tensor],
        rotation: torch.Tensor,
        output_width: int,
    ) -> tuple[tuple[torch.Tensor, torch.Tensor], list[torch.Tensor], torch.Tensor]:
        """Slice one layer; return its shortcuts, its full-width outputs and their rotation."""
        width = self.width
        dtype = streams[0].dtype
        narrow = rotation[:, :width]
        back = narrow.T.to(dtype)
        inputs = [stream @ narrow.to(dtype) for stream in streams]
        for projection in (layer.query, layer.key, layer.value):
            projection.weight.data = _multiply(projection.weight, narrow)
        streams = [stream @ back + self._attend(index, stream) for stream in inputs]
        middle = self._rotation(streams, f"layer {index} attention")[:, :width]
        _rotate_output(layer.output, middle)
        attention_shortcut = back @ middle.to(dtype)
        inputs = [s @ attention_shortcut + self._attend(index, s) for s in inputs]
        for projection in (layer.gate, layer.up):
            projection.weight.data = _multiply(projection.weight, middle)
        back = middle.T.to(dtype)
        streams = [stream @ back + layer.mlp(self._normalise(stream)) for stream in inputs]
        outer = self._rotation(streams, f"layer {index} mlp")
        _rotate_output(layer.down, outer[:, :output_width])
        mlp_shortcut = back @ outer[:, :output_width].to(dtype)
        return (attention_shortcut, mlp_shortcut), streams, outer

    def _normalise(self, stream: torch.Tensor) -> torch.Tensor:
        from adaptprune.modeling import UnweightedRMSNorm

        return UnweightedRMSNorm(self.model.config.hidden_size, self.epsilon)(stream)

    def _attend(self, index: int, stream: torch.Tensor) -> torch.Tensor:
        """Run the attention of a layer on a stream [sequences, length, width]."""
        attention = self.layers[index].attention
        return attention(hidden_states=self._normalise(stream), **self.given[index])[0]

    def _assemble(
        self,
        tables: dict[str, torch.Tensor],
        shortcuts: list[tuple[torch.Tensor, torch.Tensor]],
    ) -> Any:
        """Move the sliced weights into the checkpoint class.

        The model is built without memory of its own: random weights would only be thrown away.
        """
        import torch

        from adaptprune.modeling import FAMILIES
        from adaptprune.models.anatomy import (
            EMBEDDING_WEIGHT,
            FINAL_NORM_WEIGHT,
            HEAD_WEIGHT,
            NORM_WEIGHTS,
            layer_prefix,
            share_rotary_embedding,
        )

        sliced_class = FAMILIES[self.model.config.model_type][1]
        content = self.model.config.to_dict()
        del content["model_type"]
        content |= {
            "tie_word_embeddings": False,
            "sliced_width": self.width,
            "sliced_norm_epsilon": self.epsilon,
            "head_dim": self.layers[0].head_dim,
        }
        weights = {
            name: tensor
            for name, tensor in self.model.state_dict().items()
            if name != FINAL_NORM_WEIGHT and not name.endswith(NORM_WEIGHTS)
        }
        for index, (attention_shortcut, mlp_shortcut) in enumerate(shortcuts):
            weights[f"{layer_prefix(index)}attn_shortcut"] = attention_shortcut
            weights[f"{layer_prefix(index)}mlp_shortcut"] = mlp_shortcut
        weights[EMBEDDING_WEIGHT] = tables["embedding"]
        weights[HEAD_WEIGHT] = tables["head"]
        with torch.device("meta"):
            sliced = sliced_class(sliced_class.config_class(**content))
        sliced.load_state_dict(weights, assign=True)
        # Its frequencies are no weights, so they have not been loaded.
        share_rotary_embedding(sliced, self.model)
        return sliced.eval()


def layer_arguments(model: Any, tokens: torch.Tensor) -> list[dict[str, Any]]:
    """Return what a model gives each of its layers besides their inputs, for texts of one length.

    The mask is that of the layer: some layers see no more than a sliding window.

    Args:
        model: a supported causal language model.
        tokens: token ids [1, length].
    """
    import torch

    from adaptprune.models.anatomy import blocks_of, hooked

    given: list[dict[str, Any]] = []

    def note(_: Any, __: Any, options: dict[str, Any]) -> None:
        given.append({key: options[key] for key in ("attention_mask", "position_embeddings")})

    with torch.no_grad(), hooked(before=dict.fromkeys(blocks_of(model), note)):
        model.get_decoder()(input_ids=tokens, use_cache=False)
    return given


def _rotate_output(linear: Any, rotation: torch.Tensor) -> None:
    """Rotate the outputs of a linear layer [out, in] and its bias in float64."""
    weight = linear.weight
    linear.weight.data = (rotation.T @ weight.double()).to(weight.dtype)
    if linear.bias is not None:
        linear.bias.data = (rotation.T @ linear.bias.double()).to(weight.dtype)


def fuse_norms(model: Any, *, subtract_mean: bool) -> None:
    """Fold all norm weights into the linear layers that follow, in place; untie the head.

    Args:
        model: a supported causal language model.
        subtract_mean: also subtract each embedding row's mean, as the official code does.
    """
    from torch import nn

    from adaptprune.models.anatomy import final_norm_of, layers_of

    head = model.get_output_embeddings()
    head.weight = nn.Parameter(head.weight.detach())  # a weight of its own: folding replaces it
    _fold(final_norm_of(model), [head])
    for layer in layers_of(model):
        _fold(layer.attention_norm, [layer.query, layer.key, layer.value])
        _fold(layer.mlp_norm, [layer.gate, layer.up])
    if subtract_mean:
        table = model.get_input_embeddings().weight
        table.data = _by_rows(
            table, table.shape[1], lambda rows: rows - rows.mean(-1, keepdim=True)
        )


def _fold(norm: Any, linears: list[Any]) -> None:
    scale = norm.weight.detach().double()
    for linear in linears:
        linear.weight.data = _by_rows(linear.weight, len(scale), lambda rows: rows * scale)
    norm.weight.data.fill_(1)


SPEC = SliceGPT()
