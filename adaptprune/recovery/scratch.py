"""Training from scratch: a random model, as the recovered ones' opponent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.plugins import seed_for
from adaptprune.recovery.method import Beginning, Prepared, RecoveryMethod
from adaptprune.recovery.plan import Draft
from adaptprune.recovery.targets import Target, shape_to_reach

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.recovery.recipe import Preset


class FromScratch(RecoveryMethod):
    """A randomly initialised model with the target's shape and the given model's vocabulary.

    Without a target it has the given model's own architecture, of whichever family.

    Weights are drawn as the stock class draws them (normal, ``initializer_range``), from the seed.
    """

    name = "from-scratch"
    title = "From scratch"
    version = 1
    citation = "-"
    target = "optional shape"

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Take all data in one stage."""
        if target is None:
            return super().plan(preset, rows, shape, target)
        wanted = shape_to_reach(target)
        size = wanted.compute_parameters
        return [Draft(stop=rows, target=wanted.parameters, parameters=size)]

    def prepare(self, beginning: Beginning) -> Prepared:
        """Make the random model."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from adaptprune.models.checkpoint import count_parameters
        from adaptprune.recovery.cutting import uniform_config

        settings = beginning.settings
        config = AutoConfig.from_pretrained(
            settings.source, local_files_only=True, trust_remote_code=False
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("from-scratch", settings.seed))
            if settings.target is not None:
                config = uniform_config(config, shape_to_reach(settings.target))
            model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
        record: dict[str, Any] = {"params": count_parameters(model)}
        if settings.target is not None:
            record = {"target": settings.target.parameters} | record
        return Prepared(model, model.config, None, record)


SPEC = FromScratch()
