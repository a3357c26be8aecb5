"""Compare short runs of the official AST codes with the suite's own training loop.

    python -m tests.parity.ast FILE.json …

A file holds the settings of a run and what it gave: losses, flips, sums of the weights. Model and
tokens are made by formula from the settings, AST is trained through the suite's own loop, and the
largest deviations are printed. The exit status is 1 where one is beyond the tolerance.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from adaptprune.errors import UserError
from adaptprune.files.atomic import write_json
from adaptprune.files.manifest import write_manifest
from adaptprune.models.adapters import merge_adapter, read_adapter
from adaptprune.models.anatomy import all_linears
from adaptprune.models.checkpoint import load_model
from adaptprune.papers.sparse_trainer.method import SparseTrainer
from adaptprune.papers.sparse_trainer.objective import AdaptiveObjective
from adaptprune.papers.sparse_trainer.slorb import initial_factors
from adaptprune.pruning import choice
from adaptprune.pruning.masks import MASKS, Mask, read_masks
from adaptprune.pruning.patterns import Pattern
from adaptprune.recovery import checkpoints, loop
from adaptprune.recovery.folder import Execution, RunFolder, Settings
from adaptprune.recovery.log import read_log
from adaptprune.recovery.plan import Stage
from adaptprune.recovery.recipe import Preset
from adaptprune.recovery.registry import RECOVERIES
from tests.parity.models import (
    Official,
    evaluation_loss,
    official_layout,
    official_of,
    tokens_of,
)

if TYPE_CHECKING:
    from adaptprune.recovery.objective import Objective

SEED = 0
PATTERN = Pattern(2, 4)
#: Below this decay masked weights stay near the kept ones, and choices between them are near-ties.
NEAR_TIES = 1e-6


class _Unmasked(AdaptiveObjective):
    """AST's objective that leaves pruned weights as they are, as the official codes do."""

    finished = False


class _OfficialTrainer(SparseTrainer):
    """AST with that objective."""

    name = "ast-official"

    def objective(self, folder: RunFolder, stage: Stage, device: torch.device) -> Objective:
        """Leave pruned weights as they are."""
        return _Unmasked(folder, stage, device, self.parse(folder.settings().preset.parameters))


@dataclass(frozen=True)
class Deviations:
    """The largest differences from the official figures; or the largest that are allowed.

    Those allowed are what the official codes differ by from themselves in float64
    (``golden/README.md``); of losses twice that, since both sides are float32 here.

    Args:
        losses: of a step, absolute (nats).
        evaluations: of the loss before and after the training, absolute (nats).
        flips: entries of masks, in one update.
        sums: of |w| of a parameter, relative.
        masks: how many differ at the end.
    """

    losses: float
    evaluations: float
    flips: int
    sums: float
    masks: int

    @classmethod
    def allowed(cls, official: Official) -> Deviations:
        """Return what is allowed of a run."""
        parameters = SparseTrainer().parse(official.parameters)
        if parameters.factor(official.schedule_steps).at(official.steps - 1) < NEAR_TIES:
            return cls(losses=4e-5, evaluations=1.1e-4, flips=4, sums=2.4e-4, masks=4)
        sums = 2e-6 if official.code == "llama" else 2.4e-4
        return cls(losses=2e-6, evaluations=2e-5, flips=0, sums=sums, masks=0)

    def within(self, allowed: Deviations) -> bool:
        """Say whether nothing is larger than allowed."""
        return all(value <= getattr(allowed, key) for key, value in vars(self).items())


def main() -> int:
    """Compare every file; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.parity.ast", description=__doc__)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.json")
    RECOVERIES.register(_OfficialTrainer(), __file__)
    apart = 0
    for path in parser.parse_args().files:
        try:
            run = json.loads(path.read_text())
            official = official_of(run)
        except (OSError, ValueError, KeyError, UserError) as error:
            print(f"{path.name}: cannot be run: {type(error).__name__}: {error}")
            apart += 1
            continue
        with tempfile.TemporaryDirectory() as folder:
            found = compare(run, official, Path(folder))
        allowed = Deviations.allowed(official)
        apart += not found.within(allowed)
        figures = ", ".join(
            f"{key} {value:.2g} (allowed {getattr(allowed, key):.2g})"
            for key, value in vars(found).items()
        )
        print(f"{path.name}: {'agrees' if found.within(allowed) else 'DIFFERS'}: {figures}")
    return int(apart > 0)


def compare(run: dict[str, Any], official: Official, folder: Path) -> Deviations:
    """Train a run anew in a folder, and compare it.

    Args:
        run: the file.
        official: its settings.
        folder: to work in.
    """
    before = (evaluation_loss(official, official.model), _masked_loss(official))
    last, log = train(official, folder)
    trained = load_model(last, merge=False)
    masks, factors = read_masks(last / MASKS)[0], read_adapter(last)
    sums = _sums(run, official, trained, masks, factors)
    after = evaluation_loss(official, _applied(trained, masks, factors))
    theirs = [run[key] for key in ("dense_eval_loss", "sparse_eval_loss_before")]
    theirs.append(run["sparse_eval_loss_after"])
    found = zip([*before, after], theirs, strict=True)
    steps = list(zip(log, run["steps"], strict=True))
    return Deviations(
        losses=max(abs(row["loss"] - _loss(step)) for row, step in steps),
        evaluations=max(abs(ours - its) for ours, its in found),
        flips=max(_flips_apart(row, step) for row, step in steps),
        sums=max(sums),
        masks=_masks_apart(run, masks),
    )


def train(official: Official, folder: Path) -> tuple[Path, list[dict[str, Any]]]:
    """Train by the suite's loop; return the last checkpoint and the log."""
    official.model.save_pretrained(folder / "model")
    run = RunFolder(folder / "run")
    _write_rows(run.rows, official)
    rows = official.steps * official.batch
    run.write_settings(
        Settings(
            conditions={},
            preset=Preset(
                name="official",
                title="a run of the official code",
                method=_OfficialTrainer.name,
                parameters=official.parameters,
                sequence_length=official.length,
                batch=official.batch,
                peak_learning_rate=official.peak,
                minimum_learning_rate=official.minimum,
            ),
            stages=[
                Stage(
                    number=1,
                    kind="sparse",
                    target=None,
                    start=0,
                    stop=rows,
                    first_step=0,
                    steps=official.schedule_steps,
                    trained_steps=official.steps,
                    schedule_step=0,
                    schedule_steps=official.schedule_steps,
                )
            ],
            shape=None,
            target=None,
            source=folder / "model",
            seed=SEED,
            execution=Execution(threads=1, micro_batch=official.batch),
        )
    )
    loop.GRADIENT_NORM = official.gradient_norm
    with contextlib.redirect_stderr(io.StringIO()):  # the bar
        loop.train_stage(run)
    last = checkpoints.newest(run.checkpoints)
    assert last is not None, "the last step leaves a checkpoint"
    return last, read_log(run.log)


def _write_rows(folder: Path, official: Official) -> None:
    """Write the tokens of all steps so that the seeded order of rows is that of the steps."""
    steps = [tokens_of(official, step)[:, : official.length] for step in range(official.steps)]
    tokens = torch.cat(steps).numpy()
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(SEED)).numpy()
    placed = np.empty_like(tokens)
    placed[order] = tokens
    folder.mkdir(parents=True)
    (folder / "rows.bin").write_bytes(placed.astype("<u4").tobytes())
    (folder / "counted.bin").write_bytes(np.ones(placed.shape, bool).tobytes())
    domain = {"name": "formula", "rows": len(tokens)}
    content = {"rows": len(tokens), "length": official.length, "domains": [domain]}
    write_json(folder / "rows.json", content)
    write_manifest(folder)


def _loss(step: dict[str, Any]) -> float:
    return step["loss"] if "loss" in step else step["loss_total"]


def _flips_apart(row: dict[str, Any], step: dict[str, Any]) -> int:
    """Return how far apart the flips of a step are; all of them where one side has none."""
    pairs = (("flips", "flipped"), ("initial_flips", "init_flipped"))
    if ("flips" in row) != ("flipped" in step):
        return int(row.get("flips", step.get("flipped", 0))) + 1
    return max(abs(row.get(ours, 0) - step.get(theirs, 0)) for ours, theirs in pairs)


def _sums(
    run: dict[str, Any],
    official: Official,
    model: Any,
    masks: dict[str, Mask],
    factors: dict[str, tuple[torch.Tensor, torch.Tensor]],
) -> list[float]:
    """Return by how much Σ|w| of every parameter, and of the pruned weights, is off, relatively."""
    parameters = dict(model.named_parameters())
    apart = []
    for entry in run["final_parameters"]:
        module, _, kind = entry["name"].rpartition(".")
        name = official.names[f"{module}.weight"]
        if kind == "x_proj":
            tensor = factors[name][1]
        elif kind in ("SLoRB_Weight", "SLoRA_Weight"):
            tensor = factors[name][0]
        else:
            tensor = parameters[official.names[entry["name"]]]
        apart.append(_apart(tensor, entry["abssum"]))
    for entry in run["final_masks"]:
        name = official.names[entry["name"] + ".weight"]
        matrix, kept = official_layout(model, name, parameters[name]), masks[name].unpack()
        for key, chosen in (("pruned_weight_abssum", ~kept), ("kept_weight_abssum", kept)):
            if key in entry:
                apart.append(_apart(matrix * chosen, entry[key]))
    return apart


def _apart(tensor: torch.Tensor, abssum: float) -> float:
    return abs(tensor.detach().double().abs().sum().item() / abssum - 1)


def _masks_apart(run: dict[str, Any], masks: dict[str, Mask]) -> int:
    official = official_of(run)
    hashes = {official.names[m["name"] + ".weight"]: m["mask_sha256"] for m in run["final_masks"]}
    return sum(masks[name].sha256 != digest for name, digest in hashes.items())


def _masked_loss(official: Official) -> float:
    """Return the evaluation loss of the model as the training begins with it."""
    masks, factors = {}, {}
    for linear in all_linears(official.model):
        matrix, group = linear.matrix, official.parameters["slorb_k"]
        kept = ~choice.smallest_of_groups(matrix.abs(), PATTERN, "official")
        masks[linear.name] = Mask.pack(kept)
        if group:
            start = official.parameters["slorb_start"]
            factors[linear.name] = initial_factors(matrix, kept, group, start)
    model = _applied(_copy(official.model), masks, factors)
    return evaluation_loss(official, model)


def _copy(model: Any) -> Any:
    """Return a model of the same weights."""
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    return copy.eval()


@torch.no_grad()
def _applied(
    model: Any, masks: dict[str, Mask], factors: dict[str, tuple[torch.Tensor, torch.Tensor]]
) -> Any:
    """Mask a model in place and add the products."""
    for linear in all_linears(model):
        linear.matrix.masked_fill_(~masks[linear.name].unpack(), 0)
    merge_adapter(model, factors)
    return model.eval()


if __name__ == "__main__":
    sys.exit(main())
