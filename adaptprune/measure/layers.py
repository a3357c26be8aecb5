"""How much each layer matters: perplexity when one layer is cut and all others are left (Fig. 1).

The paper names no criterion for the figure. Here it is the one of the method itself: the units of a
layer go by their group Taylor importance (Eq. 10) from one gradient over the calibration set, taken
of the model that is cut, with the official credit of query heads. A uniformly pruned model is cut
by the same criterion, once, every layer to the same sparsity (Adapt-Pruner in one step with
amplitude 0). What is scored is the suite's perplexity text, which no calibration set holds, as
token perplexity over windows.
"""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from adaptprune.errors import NumericalError, UserError
from adaptprune.files.atomic import write_sealed_json
from adaptprune.machine.provenance import Stopwatch, versions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from adaptprune.data.calibration import CalibrationSet
    from adaptprune.models.runtime import Runtime
    from adaptprune.models.shapes import BlockShape, ModelShape
    from adaptprune.pruning.importance import Importance
    from adaptprune.pruning.units import KeptUnits

SCHEMA = 1

#: Percent by which the models of the figure are cut uniformly before one of their layers is.
UNIFORM = (0, 10, 20)

#: Tokens that go through the model at once.
_BATCH = 2048


@dataclass(frozen=True)
class HeldOutText:
    """The text that is scored.

    Args:
        suite: whose perplexity text it is.
        documents: how many of them, drawn as the evaluation draws them; None for all.
        window: tokens that are scored together; the first of them is not predicted.
        local_data: folder that stands for the hub's data sets, None for the hub.
    """

    suite: str
    documents: int | None
    window: int
    local_data: Path | None = None

    def windows(self, folder: Path) -> list[list[int]]:
        """Return the token ids of every window, as the tokenizer of a model folder makes them.

        Raises:
            UserError: the suite has no perplexity text, the text fills no window, the window is
                beyond the model's, or the model's tokenizer does not fit it.
        """
        from adaptprune.data.encoding import check_ids, load_checked_tokenizer, plain_ids
        from adaptprune.evaluation.catalog import TASK_FOLDER, load_task
        from adaptprune.evaluation.perplexity import SEPARATOR, cut_windows
        from adaptprune.evaluation.stage import Selection
        from adaptprune.evaluation.suites import load_suite
        from adaptprune.models.catalogue import read_config, stated_window

        if load_suite(self.suite).perplexity is None:
            raise UserError(f"suite {self.suite!r} has no perplexity text")
        config = read_config(folder)
        tokenizer = load_checked_tokenizer(folder, "nothing")
        chosen = Selection(self.suite, perplexity_documents=self.documents).tasks_to_run()[-1]
        task = load_task(chosen.name, TASK_FOLDER, local_data=self.local_data)
        documents = list(task.eval_docs)
        wanted = range(len(documents)) if chosen.documents is None else chosen.documents
        text = SEPARATOR.join(str(task.doc_to_target(documents[index])) for index in wanted)
        tokens = plain_ids(tokenizer, text)
        check_ids(tokens, config["vocab_size"], f"the perplexity text of suite {self.suite}")
        windows = cut_windows(tokens, self.window)
        if not windows:
            raise UserError(f"the perplexity text has {len(tokens)} tokens: no window is full")
        seen = stated_window(config)
        if seen is not None and self.window > seen:
            raise UserError(f"window of {self.window} tokens: {folder} sees {seen} at most")
        return windows


def sensitivity_stage(
    model: str,
    uniform: int,
    layer_sparsity: int,
    calibration: CalibrationSet,
    text: HeldOutText,
    runtime: Runtime,
    output: Path,
) -> None:
    """Cut a model uniformly, then score it whole and with each single layer cut further.

    Args:
        model: id, folder or hub id.
        uniform: percent by which every layer is cut first; 0 for the dense model.
        layer_sparsity: percent of what one layer then has that is cut from it alone.
        calibration: decides which units go.
        text: what is scored.
        runtime: how to compute.
        output: JSON file: ``perplexity`` of the model, and in ``layers`` that with layer i cut.
    """
    import torch

    from adaptprune.models import checkpoint
    from adaptprune.models.catalogue import locate
    from adaptprune.models.shapes import uniform_blocks
    from adaptprune.models.sizes import shape_of_model
    from adaptprune.pruning.surgery import cut_layers

    watch = Stopwatch()
    runtime.apply()
    folder = locate(model)
    revision = checkpoint.revision(folder)
    windows = torch.tensor(text.windows(folder), device=runtime.device)
    loaded = runtime.load(folder)
    tokens = torch.tensor(calibration.tokens, device=runtime.device)
    shape = shape_of_model(loaded)
    if uniform:
        blocks = uniform_blocks(shape, uniform / 100, range(len(shape.blocks)))
        cut_layers(loaded, _keep(_importance(loaded, tokens, shape), blocks))
        shape = shape_of_model(loaded)
    importance = _importance(loaded, tokens, shape)
    whole, layers = layer_perplexities(loaded, importance, windows, layer_sparsity / 100)
    write_sealed_json(
        output,
        {
            "schema": SCHEMA,
            "model": model,
            "model_hash": revision,
            "uniform": uniform,
            "layer_sparsity": layer_sparsity,
            "criterion": "group Taylor importance of the model that is cut, official alignment",
            "calibration": calibration.describe(),
            "text": {
                "suite": text.suite,
                "documents": text.documents,
                "window": text.window,
                "positions": windows.numel() - len(windows),
            },
            "dtype": runtime.dtype,
            "device": torch.device(runtime.device).type,
            "threads": runtime.threads,
            "versions": versions(),
            "perplexity": whole,
            "layers": layers,
            "provenance": watch.provenance(),
        },
    )


def _importance(model: Any, tokens: torch.Tensor, shape: ModelShape) -> Importance:
    from adaptprune.pruning.importance import group_importance

    ratio = shape.queries_per_kv_head
    return group_importance(model, tokens, ratio=ratio, alignment="official")


def _keep(importance: Importance, blocks: Sequence[BlockShape]) -> KeptUnits:
    from adaptprune.pruning.selection import keep_blocks

    return keep_blocks(importance.kv_heads, importance.neurons, blocks)


def layer_perplexities(
    model: Any, importance: Importance, windows: torch.Tensor, sparsity: float
) -> tuple[float, list[float]]:
    """Return the token perplexity of a model, and that with each single layer cut.

    Up to the layer that is cut nothing changes, so every pass begins there.

    Args:
        model: a supported causal language model; left unchanged.
        importance: of its units.
        windows: token ids [windows, length].
        sparsity: fraction of a layer's units that is cut.

    Raises:
        NumericalError: a perplexity is not finite.
    """
    import torch

    from adaptprune.models.anatomy import blocks_of, final_norm_of
    from adaptprune.models.loss import mean_loss

    blocks = blocks_of(model)
    count, norm = len(blocks), final_norm_of(model)
    cut = [_cut_copy(model, importance, index, sparsity) for index in range(count)]
    losses = [0.0] * (count + 1)  # of the whole model last
    with torch.no_grad():
        for batch in windows.split(max(1, _BATCH // windows.shape[1])):
            states, calls = _observed_pass(model, batch)
            share = len(batch) / len(windows)
            losses[count] += share * mean_loss(model, states, batch).item()
            for index, layer in enumerate(cut):
                states = calls[index][0]
                rest = [layer, *blocks[index + 1 :]]
                for following, (_, arguments) in zip(rest, calls[index:], strict=True):
                    states = following(states, **arguments)
                states = norm(states)
                losses[index] += share * mean_loss(model, states, batch).item()
    for index, loss in enumerate(losses):
        if not math.isfinite(loss) or loss > 700:
            which = "the whole model" if index == count else f"the model with layer {index} cut"
            raise NumericalError(f"the perplexity of {which} is not finite (loss {loss})")
    perplexities = [math.exp(loss) for loss in losses]
    return perplexities[count], perplexities[:count]


def _cut_copy(model: Any, importance: Importance, index: int, sparsity: float) -> Any:
    """Return a copy of one layer with its least important units removed."""
    from adaptprune.models.anatomy import blocks_of
    from adaptprune.models.shapes import uniform_blocks
    from adaptprune.models.sizes import shape_of_model
    from adaptprune.pruning.surgery import cut_layers

    shape = shape_of_model(model)
    blocks = uniform_blocks(shape, sparsity, range(index, index + 1))
    layers = blocks_of(model)
    whole = layers[index]
    layers[index] = copy.deepcopy(whole)
    try:
        cut_layers(model, _keep(importance, blocks))
        return layers[index]
    finally:
        layers[index] = whole


def _observed_pass(
    model: Any, batch: torch.Tensor
) -> tuple[torch.Tensor, list[tuple[torch.Tensor, dict[str, Any]]]]:
    """Return the last hidden states, and what every layer was called with."""
    from adaptprune.models.anatomy import blocks_of, hooked

    calls: list[tuple[torch.Tensor, dict[str, Any]]] = []

    def observe(_: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        calls.append((arguments[0], keywords))

    with hooked(before=dict.fromkeys(blocks_of(model), observe)):
        states = model.get_decoder()(input_ids=batch, use_cache=False).last_hidden_state
    return states, calls
