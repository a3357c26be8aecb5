"""Training from scratch: a random model of a target shape, as the recovered ones' opponent."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from adaptprune.recover.method import Beginning, Prepared, RecoveryMethod, Target
from adaptprune.recover.plan import Draft

if TYPE_CHECKING:
    from adaptprune.recover.presets import Preset
    from adaptprune.shapes import ModelShape


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
        assert target is not None
        assert target.shape is not None
        size = target.shape.compute_parameters
        return [Draft(stop=rows, target=target.parameters, parameters=size)]

    def prepare(self, beginning: Beginning) -> Prepared:
        """Make the random model."""
        import torch
        from transformers import AutoConfig, AutoModelForCausalLM

        from adaptprune.recover.cutting import uniform_config

        target, settings = beginning.settings.target, beginning.settings
        assert target is not None
        assert target.shape is not None
        config = AutoConfig.from_pretrained(settings.source, local_files_only=True)
        digest = hashlib.sha256(f"from-scratch:{settings.seed}".encode()).digest()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int.from_bytes(digest[:7], "big"))
            chosen = uniform_config(config, target.shape)
            model = AutoModelForCausalLM.from_config(chosen, dtype=torch.float32)
        record = {"target": target.parameters, "params": target.parameters}
        return Prepared(model, model.config, None, record)


SPEC = FromScratch()
