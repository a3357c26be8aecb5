"""Training from scratch: a random model of a target shape, as the recovered ones' opponent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from adaptprune.plugins import seed_for
from adaptprune.recovery.method import Beginning, Prepared, RecoveryMethod
from adaptprune.recovery.plan import Draft
from adaptprune.recovery.targets import Target, shape_to_reach

if TYPE_CHECKING:
    from adaptprune.models.shapes import ModelShape
    from adaptprune.recovery.recipe import Preset


class FromScratch(RecoveryMethod):
    """A randomly initialised model with the target's shape and the given model's vocabulary.

    Weights are drawn as the stock class draws them (normal, ``initializer_range``), from the seed.
    """

    name = "from-scratch"
    title = "From scratch"
    version = 1
    citation = "-"
    target = "shape"

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Take all data in one stage."""
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
        wanted = shape_to_reach(settings.target)
        config = AutoConfig.from_pretrained(
            settings.source, local_files_only=True, trust_remote_code=False
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_for("from-scratch", settings.seed))
            chosen = uniform_config(config, wanted)
            model = AutoModelForCausalLM.from_config(chosen, dtype=torch.float32)
        record = {"target": wanted.parameters, "params": count_parameters(model)}
        return Prepared(model, model.config, None, record)


SPEC = FromScratch()
