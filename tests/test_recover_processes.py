"""Two processes (gloo, on the CPU) train as one does."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from recovery_examples import log_without_times, model_folder, recovery, weights
from safetensors.torch import save_file
from training_rows import write_training_hub

from adaptprune.errors import NumericalError, UserError
from adaptprune.recovery.checkpoints import restore_random_states
from adaptprune.recovery.stage import recover_stage

PROFILES = Path(__file__).parent.parent / "profiles" / "accelerate"


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A launch config: that of the repository with two processes; the device makes it gloo."""
    content = yaml.safe_load((PROFILES / "ddp.yaml").read_text()) | {"num_processes": 2}
    path = tmp_path_factory.mktemp("launch") / "ddp.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize("data", ["text", "chats"])
def test_two_processes_lose_as_much_as_one(data: str, tmp_path: Path, two_processes: Path) -> None:
    # Without dropout, whose random numbers belong to a process. A step of 5 rows is dealt out
    # unevenly, and a last step of one row leaves a process without any.
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    job = recovery(tmp_path, model=model, interleaves=1, batch=5, micro_batch=2, tokens=41 * 16)
    if data == "chats":  # of which the answers alone count, so rows weigh differently
        hub = write_training_hub(tmp_path / "hub")
        job = dataclasses.replace(job, data="paper", local_data=hub)
    recover_stage(job, tmp_path / "one", tmp_path / "one.run")
    launched = dataclasses.replace(job, launch=two_processes)
    recover_stage(launched, tmp_path / "two", tmp_path / "two.run")
    one, two = (log_without_times(tmp_path / name) for name in ("one", "two"))
    assert len(one) == 9
    for key in ("loss", "gradient_norm"):
        expected = pytest.approx([row[key] for row in one], rel=1e-5)
        assert [row[key] for row in two] == expected
    for key in ("step", "rows", "tokens", "learning_rate", "parameters"):
        assert [row[key] for row in two] == [row[key] for row in one]
    first, second = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert first.keys() == second.keys()
    assert max((first[name] - second[name]).abs().max() for name in first) < 1e-4


def test_two_processes_distil_as_one(tmp_path: Path, two_processes: Path) -> None:
    model = model_folder(tmp_path / "model", attention_dropout=0.0)
    target = model_folder(tmp_path / "shape", hidden=12, heads=2, kv_heads=1, layers=2)
    settings = {"preset": "minitron", "model": model, "target": str(target)}
    job = recovery(tmp_path, **settings, batch=5, micro_batch=2, tokens=11 * 16)
    recover_stage(job, tmp_path / "one", tmp_path / "one.run")
    launched = dataclasses.replace(job, launch=two_processes)
    recover_stage(launched, tmp_path / "two", tmp_path / "two.run")
    one, two = (log_without_times(tmp_path / name) for name in ("one", "two"))
    assert len(one) == 6
    assert [row["loss"] for row in two] == pytest.approx([row["loss"] for row in one], rel=1e-4)
    for key in ("tokens", "teacher_tokens", "flops"):
        assert [row[key] for row in two] == [row[key] for row in one]


def test_numbers_that_fail_in_another_process_are_told(tmp_path: Path, two_processes: Path) -> None:
    model = model_folder(tmp_path / "model")
    state = weights(model)
    state["model.norm.weight"][0] = torch.nan
    save_file(state, model / "model.safetensors", metadata={"format": "pt"})
    job = recovery(tmp_path, preset="train", model=model)
    broken = dataclasses.replace(job, launch=two_processes)
    with pytest.raises(NumericalError, match=rf"step 1 \(stage 1\): loss nan.* is {model}$"):
        recover_stage(broken, tmp_path / "out", tmp_path / "run")


def test_failed_training_process_is_told(tmp_path: Path, two_processes: Path) -> None:
    job = dataclasses.replace(recovery(tmp_path, preset="train"), launch=two_processes)
    two_processes.with_name("broken.yaml").write_text("compute_environment: nowhere\n")
    broken = dataclasses.replace(job, launch=two_processes.with_name("broken.yaml"))
    with pytest.raises(UserError, match=r"the training processes failed \(status 1\)"):
        recover_stage(broken, tmp_path / "out", tmp_path / "run")


def test_launch_config_must_exist(tmp_path: Path) -> None:
    job = dataclasses.replace(recovery(tmp_path, preset="train"), launch=tmp_path / "no.yaml")
    with pytest.raises(UserError, match=r"launch config .*no\.yaml: no such file"):
        recover_stage(job, tmp_path / "out", tmp_path / "run")


@pytest.mark.parametrize("name", ["ddp", "fsdp"])
def test_launch_configs_hold_keys_that_accelerate_knows(name: str) -> None:
    from accelerate.commands.config.config_args import load_config_from_file

    config: Any = load_config_from_file(str(PROFILES / f"{name}.yaml"))
    assert config.num_processes == 4
    assert config.distributed_type.value == {"ddp": "MULTI_GPU", "fsdp": "FSDP"}[name]


def saved_states(folder: Path) -> list[torch.Tensor]:
    """Write the random states of two processes as a checkpoint does; return them."""
    states = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        torch.rand(seed)
        states.append(torch.get_rng_state())
    (folder / "training").mkdir()
    save_file({"cpu": torch.stack(states)}, folder / "training" / "random.safetensors")
    return states


@pytest.mark.parametrize("process", [0, 1])
def test_each_process_takes_up_its_own_random_state(process: int, tmp_path: Path) -> None:
    states = saved_states(tmp_path)
    torch.manual_seed(0)
    accelerator = SimpleNamespace(
        num_processes=2, process_index=process, device=torch.device("cpu")
    )
    restore_random_states(accelerator, tmp_path)
    assert torch.equal(torch.get_rng_state(), states[process])


def test_other_number_of_processes_is_refused(tmp_path: Path) -> None:
    saved_states(tmp_path)
    accelerator = SimpleNamespace(num_processes=3, process_index=0, device=torch.device("cpu"))
    with pytest.raises(UserError, match="written by 2 processes, this training runs 3"):
        restore_random_states(accelerator, tmp_path)
