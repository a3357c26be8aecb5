"""Every command of the ``sh`` blocks of the pages: what it takes, and how it is tried.

A command is written as it stands there, in one line and without its comment. Its ``kind`` says how
long it takes and where it can be run:

- ``run``: seconds; the test runs it, with stand-ins for what would take longer;
- ``minutes``, ``hours``: so long on two cores; options, targets and profiles are checked, and what
  has stand-ins is run with them;
- ``machine``: needs a GPU, a cluster, the hub or rights of an administrator; checked likewise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Documented:
    """One command.

    Args:
        command: as it is printed.
        kind: how long it takes, or that it needs another machine.
        stand_in: what replaces parts of it in the test; None where it is not run.
        prints: what stdout or stderr holds afterwards.
        writes: files and folders that are there afterwards.
    """

    command: str
    kind: Literal["run", "minutes", "hours", "machine"]
    stand_in: dict[str, str] | None = None
    prints: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()


TINY = {"smollm2-135m": "tiny-llama", "mini": "tiny", "offline": "tiny"}
#: Profiles that the pages write.
OWN = {"mine": "tiny", "my-gpu": "tiny"}
TRAINED = TINY | {"bigbench-domains": "tiny-domains"}

#: In the order in which the test runs them: some read what others wrote.
COMMANDS = [
    Documented("make table1", "minutes"),
    Documented("make test", "minutes"),
    Documented("source .venv/bin/activate", "machine"),
    Documented("make setup", "minutes"),
    Documented("adaptprune --version", "run", {}, ("adaptprune 0.",)),
    Documented(
        "adaptprune doctor --profile mini",
        "run",
        TINY,
        ("forecast: ", "profile tiny: nothing is missing"),
    ),
    Documented("adaptprune doctor --profile mine", "run", OWN, ("profile tiny: nothing",)),
    Documented("adaptprune doctor --profile my-gpu", "machine"),
    Documented("snakemake smoke --cores 4", "minutes"),
    Documented("snakemake report --cores 4", "minutes"),
    Documented("adaptprune doctor --profile paper", "machine"),
    Documented("adaptprune methods", "run", {}, ("adapt-pruner", "slicegpt", "step_size=")),
    Documented(
        "adaptprune params --model meta-llama/Llama-3.1-8B --method llm-pruner --sparsity 20",
        "run",
        {},
        ('"params_dense": 8030261248', '"params_total": 6'),
    ),
    Documented(
        "adaptprune prune --model smollm2-135m --method wanda --sparsity 50 --set pattern=2:4 "
        "--seed 0 --calibration bigbench-prose --sequences 16 --length 64 --output pruned",
        "minutes",
        TINY | {"bigbench-prose": "tiny-prose"},
        ("wrote pruned",),
        ("pruned/masks.packed", "pruned/pruning.json", "pruned/model.safetensors"),
    ),
    Documented(
        "adaptprune prune --model smollm2-135m --method adapt-pruner --sparsity 40 --seed 0 "
        "--profile mini --output pruned",
        "minutes",
        TINY,
        (
            "calibration: 8 sequences of 32 tokens of tiny-prose (profile tiny)",
            "parameters: step_size=10, amplitude=0.05 (profile tiny)",
            "float32 on cpu, 1 thread (profile tiny)",
        ),
        ("pruned/kept.json", "pruned/pruning.json", "pruned/model.safetensors"),
    ),
    Documented(
        "adaptprune evaluate --model pruned --profile mini --output scores.json",
        "minutes",
        TINY,
        ("suite commonsense-tiny", "12 documents of each task", "perplexity over 6 documents"),
        ("scores.json", "scores.parquet"),
    ),
    Documented(
        "adaptprune recover --model pruned --preset train --data bigbench-domains --profile mini "
        "--set tokens=32768 --set sequence_length=256 --set batch=4 --output recovered",
        "minutes",
        TRAINED | {"tokens=32768": "tokens=1024", "sequence_length=256": "sequence_length=32"},
        ("training: 1,024 tokens in 8 steps of 4 rows of 32 tokens", "estimated time"),
        ("recovered/recovery.json", "recovered/log.jsonl", "recovered/kept.json"),
    ),
    Documented(
        "adaptprune recover --profile mini --recovery prune-train-3m-1m --output small",
        "minutes",
        TINY | {"prune-train-3m-1m": "prune-train"},
        ("recovery prune-train: prune-then-train of tiny-llama on tiny-prose", "estimated time"),
        ("small/recovery.json",),
    ),
    Documented(
        "adaptprune recover --model smollm2-135m --preset adapt-accel "
        "--target-parameters 100000000 --data text.jsonl --output smaller",
        "hours",
    ),
    Documented(
        "adaptprune recover --model pruned --preset lora --data alpaca --output recovered",
        "machine",
    ),
    Documented("adaptprune check-method --file my_method.py", "run", {}, ("mine version 1 holds",)),
    Documented(
        "snakemake compare --cores 4 --config method_file=my_method.py method=mine", "minutes"
    ),
    Documented(
        "adaptprune prune --model smollm2-135m --method-file my_method.py --profile offline "
        "--sparsity 40 --seed 0 --output pruned",
        "minutes",
        TINY | {"pruned": "pruned-mine"},
        ("calibration: 8 sequences of 32 tokens of tiny-prose (profile tiny)",),
        ("pruned-mine/kept.json",),
    ),
    Documented(
        "adaptprune params --model ./my-model --method llm-pruner --sparsity 20",
        "run",
        {},
        ('"params_total": ',),
    ),
    Documented(
        "adaptprune prune --model ./my-model --method llm-pruner --sparsity 20 --seed 0 "
        "--calibration bigbench-prose --sequences 16 --length 64 --output my-pruned",
        "minutes",
        {"bigbench-prose": "tiny-prose"},
        ("wrote my-pruned",),
        ("my-pruned/pruning.json",),
    ),
    Documented(
        "adaptprune evaluate --model my-pruned --suite commonsense-offline --limit 29 "
        "--output my-scores.json",
        "minutes",
        {"commonsense-offline": "commonsense-tiny", "29": "4"},
        ("wrote my-scores.json",),
        ("my-scores.json",),
    ),
    Documented("snakemake table1 --cores 4 --config models=./my-model", "minutes"),
    Documented("snakemake table1 --cores 4 --config profile=mine", "minutes"),
    Documented(
        "snakemake table1 --cores 4 --config profile=mine methods=dense,flap seeds=0", "minutes"
    ),
    Documented("snakemake table1 --cores 8 --config profile=my-gpu", "machine"),
    Documented("snakemake store --cores 8 --config profile=my-gpu", "machine"),
    Documented("adaptprune leaderboard results/my-gpu.csv --output my-gpu.html", "machine"),
    Documented(
        "snakemake compare --cores 8 --config profile=my-gpu method_file=my_method.py method=mine",
        "machine",
    ),
    Documented("snakemake store --cores 8 --config profile=my-gpu methods=magnitude", "machine"),
    Documented("adaptprune compare results/my-gpu.csv results/my-gpu.csv --method flap", "machine"),
    Documented(
        "snakemake compare --cores 8 --config profile=my-gpu method=flap@corrected "
        "baseline=results/my-gpu.csv",
        "machine",
    ),
    Documented("snakemake ast_table1 --cores 2", "hours"),
    Documented("snakemake ast_all --cores 2", "hours"),
    Documented("snakemake ast_all --cores 2 --config profile=tiny", "minutes"),
    Documented("snakemake ast_table1 --cores 32 --config profile=paper", "machine"),
    Documented(
        "adaptprune evaluate --model meta-llama/Llama-2-7b-hf --suite knowledge-sparse-paper "
        "--max-length 4096 --device cuda --dtype bfloat16 --output knowledge.json",
        "machine",
    ),
    Documented(
        "adaptprune recover --model meta-llama/Llama-2-7b-hf --preset lora --data gsm8k "
        "--set rank=64 --device cuda --output tuned",
        "machine",
    ),
    Documented(
        "adaptprune evaluate --model tuned --suite gsm8k-sparse-paper --max-length 4096 "
        "--device cuda --dtype bfloat16 --output gsm8k.json",
        "machine",
    ),
    Documented("snakemake audit", "minutes"),
    Documented(
        "adaptprune store --profile mini --output yesterday.csv",
        "run",
        TINY,
        writes=("yesterday.csv", "yesterday.documents.parquet", "yesterday.versions.json"),
    ),
    Documented(
        "adaptprune compare yesterday.csv results/runs/mini/results.csv",
        "run",
        {"results/runs/mini/results.csv": "results/runs/tiny/results.csv"},
        ("FLAP, against FLAP (yesterday)",),
    ),
    Documented(
        "adaptprune compare results/offline.csv results/offline.csv --method flap",
        "run",
        {"results/offline.csv": "yesterday.csv"},
        ("FLAP against the baselines of yesterday", "| FLAP against |"),
    ),
    Documented("export ADAPTPRUNE_CACHE=/shared/cache", "machine"),
    Documented("python -m adaptprune prefetch --profile paper", "machine"),
    Documented("python -m adaptprune doctor --profile paper", "machine"),
    Documented(
        "snakemake table1 --cores 32 --config profile=paper --workflow-profile profiles/gpu",
        "machine",
    ),
    Documented("pip install --constraint constraints.txt --editable .[slurm]", "machine"),
    Documented(
        "snakemake table1 --config profile=paper --workflow-profile profiles/slurm "
        "--default-resources slurm_account=ACCOUNT slurm_partition=PARTITION runtime=60 * attempt",
        "machine",
    ),
    Documented(
        "apt-get install --no-install-recommends slurmctld slurmd slurm-client munge", "machine"
    ),
    Documented("pip install --constraint constraints.txt --editable .[dev,slurm]", "machine"),
    Documented("python -m pytest -m slurm -rs", "machine"),
    Documented(
        "munged --foreground --force --key-file=munge.key --socket=munge.socket &", "machine"
    ),
    Documented("cp slurm.conf /etc/slurm/", "machine"),
    Documented("slurmctld -D &", "machine"),
    Documented("slurmd -D &", "machine"),
    Documented("sinfo && srun hostname", "machine"),
    Documented(
        "snakemake table1 --config profile=tiny --workflow-profile profiles/slurm "
        "--slurm-no-account --slurm-status-command squeue",
        "machine",
    ),
    Documented("adaptprune prefetch --profile paper --to DIR", "machine"),
    Documented("export ADAPTPRUNE_CACHE=DIR", "machine"),
    Documented("snakemake table1 --cores 8 --config profile=paper local_data=DIR", "machine"),
    Documented("python benchmarks/kills.py table1 --kills 100 --minutes 20 --seed 2", "minutes"),
    Documented("python benchmarks/kills.py recover --kills 50 --minutes 20 --seed 0", "minutes"),
    Documented("adaptprune prefetch --profile mini", "minutes"),
    Documented(
        "sudo unshare --net sudo -u $USER env PATH=$PATH snakemake table1 --cores 4", "machine"
    ),
    Documented(
        "snakemake table1 --config profile=paper models=meta-llama/Llama-3.1-8B "
        "--workflow-profile profiles/slurm",
        "machine",
    ),
    Documented(
        "snakemake table1 --config profile=paper seeds=0 --workflow-profile profiles/gpu "
        "--cores 32",
        "machine",
    ),
    Documented(
        "snakemake table1 --config profile=paper --workflow-profile profiles/slurm", "machine"
    ),
    Documented("snakemake pocket --cores 2", "hours"),
    Documented("snakemake table3 table4 --cores 2 --config seeds=0", "minutes"),
    Documented(
        "adaptprune count-tokens --data paper --model facebook/MobileLLM-350M --output counts.json",
        "machine",
        {"paper": "tiny-domains", "facebook/MobileLLM-350M": "tiny-llama"},
        writes=("counts.json",),
    ),
    Documented(
        "adaptprune data-table --counts counts.json --output table2",
        "run",
        {},
        writes=("table2.md", "table2.csv", "table2.tex"),
    ),
]
