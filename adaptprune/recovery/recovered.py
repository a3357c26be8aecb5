"""A model that was trained in this process, until it is saved."""

from __future__ import annotations

import copy
import shutil
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.files.atomic import atomic_directory, read_sealed_json
from adaptprune.files.manifest import verify_folder
from adaptprune.models import checkpoint
from adaptprune.models.loaded import LoadedModel, load_named
from adaptprune.models.runtime import Runtime
from adaptprune.pruning.pruned import new_folder
from adaptprune.recovery.log import read_log
from adaptprune.recovery.record import RECORD
from adaptprune.recovery.stage import recover_stage

if TYPE_CHECKING:
    import pandas as pd

    from adaptprune.recovery.stage import Recovery


@dataclass
class RecoveredModel:
    """What a recovery made of a model.

    Attributes:
        model: the trained causal language model of transformers.
        tokenizer: of the model.
        record: under which conditions it was trained, and what was done.
        log: a row for every step: loss (nats per token), learning rate, tokens, seconds, …
        folder: where it lies until this object is gone.
    """

    model: Any
    tokenizer: Any
    record: dict[str, Any]
    log: pd.DataFrame
    folder: tempfile.TemporaryDirectory[str]

    def loaded(self) -> LoadedModel:
        """Return it as a model to prune, to train again or to evaluate."""
        preset = self.record["conditions"]["preset"]["name"]
        return LoadedModel(self.model, self.tokenizer, f"after {preset}", made_by=preset)

    def save(self, folder: str | Path) -> Path:
        """Write a folder that ``AutoModelForCausalLM`` loads, with its record; return it.

        It holds what the command ``recover`` writes: the model, ``recovery.json``, ``log.jsonl``,
        and ``kept.json`` of a pruned model.

        Args:
            folder: that is not there yet, or is empty.

        Raises:
            UserError: the folder holds something, or cannot be written.
        """
        output, made = new_folder(folder), Path(self.folder.name) / "output"
        with atomic_directory(output) as target:
            shutil.copytree(made, target, dirs_exist_ok=True)
            verify_folder(target)
        return output


def recover_loaded(job: Recovery, given: LoadedModel | None) -> RecoveredModel:
    """Recover a model in a folder that is removed with the result.

    Args:
        job: what to do.
        given: a model in memory, which takes the place of the job's.

    Raises:
        UserError: something cannot work.
        NumericalError: a loss or gradient is not finite.
    """
    import pandas as pd

    scratch = tempfile.TemporaryDirectory(prefix="adaptprune-")
    root = Path(scratch.name)
    if given is not None:
        job = replace(job, model=str(_write(given, root / "given")))
    recover_stage(job, root / "output", root / "run")
    loaded = load_named(str(root / "output"), Runtime(device=job.execution.device))
    record = read_sealed_json(root / "output" / RECORD)
    log = pd.DataFrame(read_log(root / "output" / "log.jsonl"))
    return RecoveredModel(loaded.model, loaded.tokenizer, record, log, scratch)


def _write(given: LoadedModel, folder: Path) -> Path:
    """Write a model with its tokenizer, so that training processes find it."""
    folder.mkdir()
    config = copy.deepcopy(given.config or given.model.config)
    checkpoint.save_model(folder, given.model, config, given.folder)
    if given.folder is None and given.tokenizer is not None:
        given.tokenizer.save_pretrained(folder)
    return folder
