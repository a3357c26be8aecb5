"""ShearedLLaMA (Xia et al. 2024, arXiv 2310.06694): masks learnt towards a given uniform shape.

The first stage trains the weights together with hard-concrete masks over channels of the residual
stream, layers, neurons and kv heads, on a tenth of the tokens; a Lagrangian pulls the masks to the
target shape. Then the model is cut to a stock model of that shape and trained on the other tokens.
Both stages load their batches dynamically by domain; the domains are the sources of the data.

Defaults are those of the released scripts (github.com/princeton-nlp/LLM-Shearing at b87218b,
``llmshearing/scripts``) where those do not depend on their scale, the share of tokens is that of
appendix A of the Adapt-Pruner paper. As in the released code each stage is a training of its own,
with a fresh AdamW and a whole learning-rate schedule. Differences: the masks' learning rate is
constant (there it follows the weights' schedule), and gradients of masks are not clipped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from adaptprune.errors import UserError
from adaptprune.models.shapes import FAMILIES, ModelShape
from adaptprune.pruning.method import Context
from adaptprune.recovery.method import Beginning, Prepared, RecoveryMethod
from adaptprune.recovery.plan import Draft, Stage
from adaptprune.recovery.targets import Target, check_cut, shape_to_reach
from baselines.sheared_parameters import ShearedLlamaParameters

if TYPE_CHECKING:
    import torch

    from adaptprune.data.packing import Rows
    from adaptprune.recovery.dynamic_batches import DomainRows
    from adaptprune.recovery.folder import RunFolder, Settings
    from adaptprune.recovery.objective import Objective
    from adaptprune.recovery.recipe import Preset
    from baselines.sheared_masks import Masks

#: Kind of the stage that trains masks.
SHEAR = "shear"


class ShearedLlama(RecoveryMethod):
    """Learn masks towards a shape, cut to it, and go on training."""

    name = "sheared-llama"
    title = "ShearedLLaMA"
    version = 1
    citation = "ShearedLLaMA, arXiv 2310.06694"
    parameters = ShearedLlamaParameters
    target = "shape"

    def check(self, preset: Preset, shape: ModelShape | None, target: Target | None) -> None:
        """Refuse a target shape that cutting kv heads with their query heads cannot give."""
        super().check(preset, shape, target)
        wanted = shape_to_reach(target)
        assert shape is not None, "a method with a target is given the model's shape"
        check_cut(self.name, shape, wanted)
        ratio, asked = shape.queries_per_kv_head, wanted.queries_per_kv_head
        if ratio != asked:
            raise UserError(
                f"{self.name}: target shape: {asked} query heads per kv head, the model has "
                f"{ratio}; a kv head is removed with its query heads"
            )

    def plan(
        self, preset: Preset, rows: int, shape: ModelShape | None, target: Target | None
    ) -> list[Draft]:
        """Share the tokens out between training with masks and training of the cut model."""
        assert shape is not None, "a method with a target is given the model's shape"
        wanted = shape_to_reach(target)
        first = int(rows * self.parse(preset.parameters).shearing_share)
        return [
            Draft(stop=first, kind=SHEAR, schedule=1, parameters=shape.compute_parameters),
            Draft(
                start=first,
                stop=rows,
                target=wanted.parameters,
                schedule=2,
                parameters=wanted.compute_parameters,
            ),
        ]

    def prepare(self, beginning: Beginning) -> Prepared:
        """Measure the reference losses before the first stage; cut before the second."""
        if beginning.stage.kind == SHEAR:
            return self._measure(beginning)
        return self._cut(beginning)

    def _measure(self, beginning: Beginning) -> Prepared:
        """Note the losses that the domains are to reach, and where the loading begins."""
        import torch

        from adaptprune.data.packing import Rows
        from adaptprune.recovery.domain_loading import HeldOut
        from adaptprune.recovery.dynamic_batches import DomainState, check_references

        settings, parameters = beginning.settings, self.parse(beginning.settings.preset.parameters)
        rows = Rows.open(beginning.folder.rows, settings.seed)
        domains = _domains(rows, settings, parameters)
        model, flops = beginning.load(), 0
        _check_stock(model)
        if parameters.reference_losses is not None:
            references = check_references(parameters.reference_losses, domains.names)
        else:
            device = torch.device(settings.execution.device)
            held_out = HeldOut.of(rows, domains, settings.execution.micro_batch, device)
            references = held_out.losses(model)
            assert settings.shape is not None, "a method with a target is given the shape"
            flops = 2 * settings.shape.compute_parameters * held_out.tokens
        record = {
            "reference_losses": dict(zip(domains.names, references, strict=True)),
            "loading": DomainState.begin(domains.proportions()).model_dump(),
        }
        return Prepared(model, model.config, beginning.kept(), record, flops)

    def _cut(self, beginning: Beginning) -> Prepared:
        """Cut the model to the target shape by the masks that the first stage has learnt."""
        import torch

        from adaptprune.models.checkpoint import count_parameters
        from adaptprune.recovery import checkpoints
        from baselines.masked_model import cut
        from baselines.sheared_masks import KINDS

        assert beginning.before is not None, "the first stage leaves a checkpoint"
        state = checkpoints.read_objective(beginning.before)
        assert state is not None, "which holds its masks"
        masks = _masks(beginning.settings)
        with torch.no_grad():
            for kind in KINDS:
                masks.log_alpha[kind].copy_(state.tensors[f"parameters/log_alpha.{kind}"])
        shape, model = beginning.settings.shape, beginning.load()
        assert shape is not None, "a method with a target is given the shape"
        masks.to(model.device)
        gates = masks.deterministic(at_target=True)
        kept, before = gates.kept(shape).to_json(), count_parameters(model)
        small = cut(model, gates, shape_to_reach(beginning.settings.target))
        record = {
            "params_before": before,
            "params": count_parameters(small),
            "expected_sparsity": {
                kind: values.mean().item() for kind, values in masks.expected_sparsity().items()
            },
            "target_sparsity": masks.target_sparsity(),
            "loading": state.values,
        }
        return Prepared(small, small.config, kept, record)

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Return training by domains, with masks in the first stage."""
        from adaptprune.data.packing import Rows
        from adaptprune.recovery import checkpoints
        from adaptprune.recovery.domain_loading import DomainLoading, HeldOut
        from adaptprune.recovery.dynamic_batches import DomainState
        from baselines.sheared_objective import DomainTraining, Shearing

        settings = folder.settings()
        parameters = self.parse(settings.preset.parameters)
        newest = checkpoints.newest(folder.checkpoints)
        assert newest is not None, "every stage is prepared"
        records = checkpoints.read_progress(newest).prunings
        rows = Rows.open(folder.rows, settings.seed)
        domains = _domains(rows, settings, parameters)
        every = parameters.shearing_update_every
        if stage.kind != SHEAR:
            every = parameters.training_update_every
        loading = DomainLoading(
            domains,
            HeldOut.of(rows, domains, settings.execution.micro_batch, device),
            [records[0]["reference_losses"][name] for name in domains.names],
            DomainState.model_validate(records[-1]["loading"]),
            every,
            clipped=parameters.clip_excess,
        )
        if stage.kind != SHEAR:
            return DomainTraining(loading)
        return Shearing(
            masks=_masks(settings).to(device),
            seed=settings.seed,
            warmup_steps=round(parameters.lagrangian_warmup * stage.steps),
            loading=loading,
            parameters=parameters,
        )


def _masks(settings: Settings) -> Masks:
    """Return the masks as the first stage begins with them."""
    from baselines.sheared_masks import Masks

    assert settings.shape is not None, "a method with a target is given the shape"
    generator = Context(None, settings.seed).generator("masks")
    return Masks(settings.shape, shape_to_reach(settings.target), generator)


def _domains(rows: Rows, settings: Settings, parameters: ShearedLlamaParameters) -> DomainRows:
    from adaptprune.recovery.dynamic_batches import DomainRows

    return DomainRows(rows.domain, rows.domains, parameters.held_out_rows, settings.seed)


def _check_stock(model: Any) -> None:
    """Refuse a model that no stock class can hold once its layers are alike."""
    if model.config.model_type not in FAMILIES:
        raise UserError(
            f"sheared-llama needs a stock model (allowed: {', '.join(FAMILIES)}), not "
            f"{model.config.model_type}"
        )


SPEC = ShearedLlama()
