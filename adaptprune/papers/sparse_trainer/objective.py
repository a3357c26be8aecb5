"""What AST minimises: masks that follow the weights, and SLoRB's products beside them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import torch

from adaptprune.data.packing import Rows
from adaptprune.models.adapters import read_adapter, write_adapter
from adaptprune.models.anatomy import all_linears, blocks_of, linears_of
from adaptprune.papers.sparse_trainer.slorb import boost, factor_names, initial_factors
from adaptprune.plugins import seed_for
from adaptprune.pruning.layerwise import Streams
from adaptprune.pruning.statistics import Hessian, InputNorms
from adaptprune.recovery.domain_loading import DomainLoading, HeldOut
from adaptprune.recovery.dynamic_batches import DomainRows, DomainState, check_references
from adaptprune.recovery.sparse_objective import SparseObjective

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.data.packing import Batch
    from adaptprune.papers.sparse_trainer.parameters import SparseTrainerParameters
    from adaptprune.recovery.objective import State

#: SparseGPT's damping (the official one).
_DAMPING = 0.01
_SCALE = "scale/"


class AdaptiveObjective(SparseObjective):
    """AST's objective; see ``SparseObjective`` for its arguments."""

    parameters: SparseTrainerParameters

    def attach(self, model: Any) -> None:
        """Mask the linear layers, and put a product beside each where asked for."""
        #: What the magnitude of a weight is multiplied by [inputs], by the weight's name.
        self.scales: dict[str, torch.Tensor] = {}
        if self.parameters.metric != "magnitude" and self.checkpoint is None:
            self.scales = self._gather(model)
        self.loading = self._begin_loading(model) if self.parameters.loading else None
        super().attach(model)
        if self.parameters.slorb_k:
            self._boost(model)

    def _boost(self, model: Any) -> None:
        """Put the checkpoint's products beside the layers, or new ones."""
        chosen = self.parameters
        stored = read_adapter(self.checkpoint) if self.checkpoint else {}
        seed = seed_for("slorb", self.folder.settings().seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            for name, layer in self.layers.layers.items():
                matrix = layer.linear.matrix
                weight, projection = stored.get(name) or initial_factors(
                    matrix.cpu(), layer.kept.cpu(), chosen.slorb_k, chosen.slorb_start
                )
                factors = weight.to(matrix.device), projection.to(matrix.device)
                boost(layer.linear, factors, train=chosen.slorb_train_projection)

    # --- masks ------------------------------------------------------------------------------

    def choose(self, name: str, matrix: torch.Tensor) -> torch.Tensor:
        """Rank the weights of a layer by the metric."""
        metric = matrix.float().abs()
        if self.scales:
            metric = metric * self.scales[name]
        return self.smallest_pruned(metric)

    def updates_before(self, step: int) -> bool:
        """Say whether Δt divides the step, counted from 1 (Algorithm 1)."""
        every = self.parameters.update_every
        return self.parameters.update_moment == "before" and every > 0 and (step + 1) % every == 0

    def updates_after(self, step: int) -> bool:
        """Say whether Δt divides the step, counted from 0 (GPT-2 code)."""
        every = self.parameters.update_every
        return self.parameters.update_moment == "after" and every > 0 and step % every == 0

    @torch.no_grad()
    def _gather(self, model: Any) -> dict[str, torch.Tensor]:
        """Return what the dense model's inputs say, of the first rows of the training data.

        Wanda ranks by |W| · ‖x‖; SparseGPT by w² / d², d the diagonal of its factor, which is the
        order of |W| / d.
        """
        wanda = self.parameters.metric == "wanda"
        rows = Rows.open(self.folder.rows, self.folder.settings().seed)
        count = min(self.parameters.statistics_rows, len(rows.tokens))
        tokens = rows.batch(0, count).tokens.to(next(model.parameters()).device)
        rule: Any = SimpleNamespace(statistics=InputNorms if wanda else Hessian)
        training = model.training
        model.eval()
        scales: dict[str, torch.Tensor] = {}
        streams = Streams(model, tokens)
        for index in range(len(blocks_of(model))):
            groups = linears_of(model, index)
            for group, found in zip(groups, streams.observe(index, groups, rule), strict=True):
                if wanda:
                    scale = found.squares.sqrt()
                else:
                    scale = 1 / found.inverse_factor(_DAMPING, torch.float32).diagonal()
                scales |= {linear.name: scale for linear in group}
            streams.advance(index)
        model.train(training)
        return scales

    # --- which rows -------------------------------------------------------------------------

    def _begin_loading(self, model: Any) -> DomainLoading:
        """Return dynamic batch loading at its beginning; a resumed one takes up its place later."""
        chosen, settings = self.parameters.loading, self.folder.settings()
        assert chosen is not None, "it was asked for"
        rows = Rows.open(self.folder.rows, settings.seed)
        domains = DomainRows(rows.domain, rows.domains, chosen.held_out_rows, settings.seed)
        held_out = HeldOut.of(rows, domains, settings.execution.micro_batch, self.device)
        if chosen.reference_losses is not None:
            references = check_references(chosen.reference_losses, domains.names)
        elif self.checkpoint is not None:
            references = []
        else:
            taught = self.teacher is not None and self.parameters.teacher is None
            dense = self.teacher.model if taught and self.teacher else model.to(self.device)
            references = held_out.losses(dense)
        place = DomainState.begin(domains.proportions())
        clipped = chosen.clip_excess
        return DomainLoading(domains, held_out, references, place, chosen.every, clipped=clipped)

    def take(self, rows: Rows, start: int, stop: int) -> Batch:
        """Return the rows of a step, dealt out to the domains where that is asked for."""
        if self.loading is None:
            return super().take(rows, start, stop)
        return self.loading.take(rows, stop - start)

    def end_step(self, model: Any) -> dict[str, float]:
        """Choose masks and domain weights where it is time; return flips and weights."""
        figures = super().end_step(model)
        return figures | (self.loading.end_step(self.step, model) if self.loading else {})

    def flops(self, parameters: int, tokens: int) -> int:
        """Add the forward passes over held-out rows."""
        measured = self.loading.measured_tokens if self.loading else 0
        return super().flops(parameters, tokens) + 2 * parameters * measured

    # --- what outlives a kill ---------------------------------------------------------------

    def state(self) -> State:
        """Return the first masks, the metric's statistics, and the loading; products are a file."""
        state = super().state()
        if self.loading is not None:
            place = self.loading.place.model_dump()
            state.values |= {"loading": place, "references": self.loading.references}
        state.tensors |= {_SCALE + name: scale for name, scale in self.scales.items()}
        return state

    def restore(self, state: State) -> None:
        """Take up the first masks, the metric's statistics, and the loading."""
        super().restore(state)
        if self.loading is not None:
            self.loading.place = DomainState.model_validate(state.values["loading"])
            self.loading.references = state.values["references"]
        for name, layer in self.layers.layers.items():
            if _SCALE + name in state.tensors:
                scale = state.tensors[_SCALE + name]
                self.scales[name] = scale.to(layer.linear.matrix.device)

    def write(self, folder: Path, state: dict[str, torch.Tensor]) -> None:
        """Write masks, and the products as an adapter; they are no weights of the architecture."""
        if self.parameters.slorb_k:
            names = factor_names(all_linears(self.model))
            write_adapter(
                folder, {name: (state.pop(s), state.pop(x)) for name, (s, x) in names.items()}
            )
        super().write(folder, state)

    def counts(self, state: dict[str, torch.Tensor]) -> dict[str, Any]:
        """Count S and X, too."""
        counts = super().counts(state)
        if self.parameters.slorb_k:
            products = (layer.linear.module.slorb for layer in self.layers.layers.values())
            extra = sum(p.numel() for product in products for p in product.parameters())
            counts |= {"adapter_parameters": extra}
        return counts
