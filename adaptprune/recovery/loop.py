"""The training loop that all recoveries share.

What it minimises is the method's ``Objective``; how, its optimiser and learning rates.

Weights and moments are float32; on a GPU the forward pass runs in bfloat16. One process or many
(``accelerate launch``): the rows of a step are dealt out among them, so the loss is the same up
to the order of sums. A training process trains the present stage of a run folder and ends;
pruning happens between training processes.
"""

from __future__ import annotations

import contextlib
import math
import sys
import time
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from adaptprune.data.packing import Batch, Rows
from adaptprune.errors import NumericalError
from adaptprune.files.atomic import find_sealed_json, write_json
from adaptprune.models.checkpoint import count_compute_parameters, count_parameters, load_model
from adaptprune.models.runtime import Runtime
from adaptprune.plugins import seed_for
from adaptprune.recovery import checkpoints
from adaptprune.recovery.checkpoints import Progress
from adaptprune.recovery.extra import ExtraTraining
from adaptprune.recovery.log import TrainingLog
from adaptprune.recovery.plan import TEACHER
from adaptprune.recovery.registry import find_recovery

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.recovery.folder import RunFolder, Settings

#: "max_grad_norm=1" (``experiments/*.sh``).
GRADIENT_NORM = 1.0


def train_stage(folder: RunFolder) -> None:
    """Train the present stage of a recovery to its end, from its newest checkpoint.

    Args:
        folder: a run folder with settings and packed rows; without a checkpoint the model that the
            recovery begins with is trained.

    Raises:
        NumericalError: a loss or gradient is not finite; weights and checkpoint stay sound. The
            run folder says so too, for a parent process.
        UserError: a checkpoint is damaged or belongs to another number of processes.
    """
    from accelerate import Accelerator

    settings = folder.settings()
    execution = settings.execution
    Runtime(device=execution.device, threads=execution.threads).apply()
    on_cpu = execution.device == "cpu"
    accelerator = Accelerator(cpu=on_cpu, mixed_precision="no" if on_cpu else "bf16")
    try:
        _Training(accelerator, folder, settings).run()
    except NumericalError as error:
        if accelerator.is_main_process:
            write_json(folder.failure, {"reason": str(error)})
        raise
    finally:
        accelerator.free_memory()
        accelerator.end_training()


class _Training:
    """One stage of a recovery in one process."""

    def __init__(self, accelerator: Any, folder: RunFolder, settings: Settings):
        self.accelerator, self.folder, self.settings = accelerator, folder, settings
        checkpoint = checkpoints.newest(folder.checkpoints)
        self.last_good: Path = checkpoint or settings.source
        self.progress = Progress(stage=1, step=0, position=0)
        if checkpoint is not None:
            self.progress = checkpoints.read_progress(checkpoint)
        self.stage = settings.stages[self.progress.stage - 1]
        self.rows = Rows.open(folder.rows, settings.seed)
        # What lies beside the weights of a checkpoint belongs to the objective.
        plain = load_model(
            self.last_good, device=str(accelerator.device), merge=checkpoint is None
        ).train()
        self.config = plain.config
        if settings.execution.activation_checkpointing:
            plain.activation_checkpointing_enable({"use_reentrant": False})
        method = find_recovery(settings.preset.method)
        self.learning_rate = method.learning_rates(settings.preset, self.stage)
        self.objective = method.objective(folder, self.stage, accelerator.device)
        self.objective.attach(plain)
        self.parameters = count_parameters(plain)
        self.compute_parameters = count_compute_parameters(plain)
        self.extra = ExtraTraining(self.objective)
        optimizer = method.optimizer(settings.preset, self.stage, plain)
        self.model, wrapped = accelerator.prepare(plain, optimizer)
        self.optimizer: torch.optim.Optimizer = wrapped.optimizer
        self._restore(checkpoint)

    def _restore(self, checkpoint: Path | None) -> None:
        """Take up the optimiser's and the random generators' state where there is one."""
        stored = checkpoints.read_optimizer(checkpoint) if checkpoint else None
        if stored is not None:
            checkpoints.restore_optimizer(self.model, self.optimizer, stored)
        if checkpoint is not None and self.progress.step:
            checkpoints.restore_random_states(self.accelerator, checkpoint)
            state = checkpoints.read_objective(checkpoint)
            assert state is not None, "a checkpoint within a stage holds the objective's state"
            self.extra.restore(state)
        else:
            scope = f"recover:{self.settings.seed}:{self.stage.number}"
            torch.manual_seed(seed_for(scope, self.accelerator.process_index))

    def run(self) -> None:
        """Take the steps that are left of this stage and leave a checkpoint behind."""
        main = self.accelerator.is_main_process
        log = TrainingLog(self.folder.log, self.stage.number, self.progress.step) if main else None
        every = self.settings.execution.checkpoint_every
        try:
            with self._progress_bar() as bar:
                while self.progress.step < self.stage.trained_steps:
                    row = self._step()
                    if log is not None:
                        log.append(row)
                    bar.set_postfix(loss=f"{row['loss']:.3f}", refresh=False)
                    bar.update()
                    step = self.progress.step
                    if step % every == 0 or step == self.stage.trained_steps:
                        if log is not None:
                            log.sync()
                        self._checkpoint()
        finally:
            if log is not None:
                log.close()

    def _progress_bar(self) -> Any:
        """Return a bar over all stages that shows the time left; on stderr, in one process."""
        stages = self.settings.stages
        return tqdm(
            desc=f"train {self.stage.number}/{len(stages)}",
            total=stages[-1].first_step + stages[-1].steps,
            initial=self.stage.first_step + self.progress.step,
            unit="step",
            file=sys.stderr,
            disable=not self.accelerator.is_main_process,
        )

    def _step(self) -> dict[str, Any]:
        """Take one optimiser step; return its row of the log."""
        started = time.perf_counter()
        progress, preset = self.progress, self.settings.preset
        stop = min(progress.position + preset.batch, self.stage.stop)
        number = self.stage.first_step + progress.step
        rate = self.learning_rate(progress.step)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.objective.begin_step(progress.step, rate)
        batch = self.objective.take(self.rows, progress.position, stop)
        loss, norm = self._accumulate(batch)
        if not (math.isfinite(loss) and math.isfinite(norm)):
            raise NumericalError(
                f"step {number + 1} (stage {self.stage.number}): loss {loss}, gradient norm "
                f"{norm}; the last good checkpoint is {self.last_good}"
            )
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.extra.step(self.accelerator)
        figures = self.objective.end_step(self.model)
        self.progress = progress.model_copy(
            update={
                "step": progress.step + 1,
                "position": stop,
                "flops": progress.flops
                + self.objective.flops(self.compute_parameters, batch.tokens.numel()),
            }
        )
        seconds = time.perf_counter() - started
        return {
            "step": number + 1,
            "stage": self.stage.number,
            "stage_step": self.progress.step,
            "rows": stop,
            "tokens": self._trained_rows(teacher=False) * batch.tokens.shape[1],
            "teacher_tokens": self._trained_rows(teacher=True) * batch.tokens.shape[1],
            "flops": self.progress.flops,
            "loss": loss,
            "learning_rate": rate,
            "gradient_norm": norm,
            "parameters": self.parameters,
            **figures,
            "tokens_per_s": round(batch.tokens.numel() / seconds, 1),
            "seconds": round(seconds, 4),
        }

    def _trained_rows(self, *, teacher: bool) -> int:
        """Return how many rows a teacher, or else the model, has been trained on so far."""
        stages = self.settings.stages[: self.stage.number]
        chosen = [stage for stage in stages if (stage.kind == TEACHER) == teacher]
        rows = sum(stage.trained_rows(self.settings.preset.batch) for stage in chosen)
        if self.stage in chosen:
            rows += self.progress.position - self.stage.start
            rows -= self.stage.trained_rows(self.settings.preset.batch)
        return rows

    def _accumulate(self, batch: Batch) -> tuple[float, float]:
        """Sum the gradients of a global batch over passes and processes, and clip them.

        Args:
            batch: the rows of one optimiser step, the same in every process.

        Returns:
            Mean loss (nats) over all predictions of the batch that count, and the gradient's norm
            before clipping.
        """
        accelerator, size = self.accelerator, self.settings.execution.micro_batch
        processes = accelerator.num_processes
        mine = batch[accelerator.process_index :: processes]
        # Gradients are averaged once per step and process, so a process without a row takes part
        # with one that counts nothing.
        pieces = mine.split(size) if len(mine) else [batch[:1]]
        predictions = max(1, batch.predictions)
        total = torch.zeros((), device=accelerator.device)
        for index, piece in enumerate(pieces):
            last = index == len(pieces) - 1
            weight = piece.predictions / predictions if len(mine) else 0.0
            with contextlib.nullcontext() if last else accelerator.no_sync(self.model):
                loss = self.objective.loss(self.model, piece.to(accelerator.device)) * weight
                accelerator.backward(loss * processes)
            total += loss.detach()
        norm = accelerator.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        return accelerator.reduce(total, "sum").item(), float(norm)

    def _checkpoint(self) -> None:
        """Gather the state of all processes and publish it."""
        finished = self.progress.step == self.stage.trained_steps
        state = self.objective.weights(checkpoints.model_state(self.model), finished=finished)
        optimizer = checkpoints.optimizer_state(self.model, self.optimizer)
        random_states = checkpoints.random_states(self.accelerator)
        if self.accelerator.is_main_process:
            checkpoints.write_checkpoint(
                self.folder.checkpoints,
                self.progress,
                model=self.accelerator.unwrap_model(self.model),
                config=self.config,
                source=self.settings.source,
                state=state,
                optimizer=optimizer,
                random_states=random_states,
                objective=self.extra.state(),
                kept=find_sealed_json(self.last_good / "kept.json"),
                write=self.objective.write,
            )
        self.accelerator.wait_for_everyone()
        self.last_good = self.folder.checkpoints / self.progress.name
