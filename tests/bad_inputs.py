"""Bad input, case by case: a command line, the words its one line must hold, and files it reads.

A line begins with a command; the good options of ``GOOD`` come before its own, of which the last
one counts. ``{here}`` is the case's own folder, ``{out}`` a folder that holds a file of the user's,
``{result}`` one that an earlier command wrote.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping


class Case(NamedTuple):
    """One mistake.

    Args:
        line: of the command line, without the program's name.
        told: what the one line on stderr must say.
        files: content of further files in the case's folder, by name.
    """

    line: str
    told: str
    files: Mapping[str, str | bytes] = MappingProxyType({})


_TINY = "--model tiny-llama --calibration tiny-prose --sequences 4 --length 16 --seed 0"
_INPUT = "is an input of this command"
_PROFILE = "--profile tiny --config-folder {here}/config --runs {here}/runs"
GOOD = {
    "prune": f"{_TINY} --method llm-pruner --sparsity 20 --output {{result}}",
    "score": f"{_TINY} --method llm-pruner --sparsities 20,40 --output {{out}}/scores",
    "calibrate": "--model tiny-llama --dataset tiny-prose --sequences 4 --length 16 --seed 0 "
    "--output {out}/drawn.json",
    "params": "--model smollm2-135m --method llm-pruner --sparsity 20",
    "loss": "--model tiny-llama --tokens {here}/tokens.json",
    "fetch": "--output {out}/fetched.json",
    "evaluate": "--model tiny-llama --output {out}/evaluation.json",
    "recover": "--model tiny-llama --preset train --data tiny-prose --output {result}",
    "sensitivity": f"{_TINY} --suite commonsense-tiny --output {{out}}/fig.json",
    "measure": "--model tiny-llama --output {out}/speed.json",
    "check-method": "--sparsities 50",
    "status": _PROFILE,
    "collect": f"{_PROFILE} --results {{out}}/r.csv --provenance {{out}}/p.csv",
    "figure": f"{_PROFILE} --output {{out}}/figure",
    "speed": f"{_PROFILE} --output {{out}}/speed",
    "cost": f"{_PROFILE} --output {{out}}/cost",
    "report": f"{_PROFILE} --output {{out}}/report.html --generated {{out}}",
    "store": f"{_PROFILE} --output {{out}}/stored.csv",
    "prefetch": "--profile tiny --config-folder {here}/config",
    "table": "--profile tiny --config-folder {here}/config --results {here}/results.csv "
    "--provenance {here}/provenance.csv --declaration {here}/table.yaml --output {out}/table",
    "compare": "",
    "gate": "--suite commonsense-tiny --model tiny-llama --evaluation {here}/evaluation.json "
    "--output {out}/gate.json",
    "count-tokens": "--model tiny-llama --data tiny-prose --output {out}/counts.json",
    "data-table": "--output {out}/table2",
    "audit": "--output {out}/audit.md",
    "benchmarks": "--output {out}/table6",
    "train-stage": "",
    "pruen": "",
}

COMMAND_LINE = [
    Case("pruen", "No such command 'pruen'"),
    Case("prune --model tiny-lama", "unknown model 'tiny-lama'; did you mean 'tiny-llama'"),
    Case("prune --model ./no/such/folder", "model folder ./no/such/folder does not exist"),
    Case("prune --method llm-prunner", "did you mean 'llm-pruner'"),
    Case("prune --method llm-pruner --method-file {here}/none.py", "none.py: no such file"),
    Case("prune --sparsity 0", "sparsity 0 is outside 1..99"),
    Case("prune --sparsity 100", "sparsity 100 is outside 1..99"),
    Case("prune --sparsity -5", "sparsity -5 is outside 1..99"),
    Case("prune --sparsity 0.2", "'--sparsity'"),
    Case("prune --method dense", "sparsity 0 only"),
    Case("prune --seed one", "'--seed'"),
    Case("prune --set layer_stat=1", "did you mean 'layer_start'"),
    Case("prune --set layer_start", "must read KEY=VALUE"),
    Case("prune --set =1", "must read KEY=VALUE"),
    Case("prune --set layer_start=many", "layer_start"),
    Case("prune --set layer_start=[1", "layer_start"),
    Case("prune --set layer_start=2026-13-45", "not valid YAML"),
    Case("prune --set layer_start=!!python/object/apply:os.getcwd", "not valid YAML"),
    Case("prune --set layer_end=9", "must select some of the layers 0..3"),
    Case("prune --set layer_start=1 --set layer_start=2", "given twice"),
    Case("prune --method adapt-pruner --set steps=0", "steps"),
    Case("prune --method adapt-pruner --set steps=2 --set step_size=5", "step_size"),
    Case("prune --method adapt-pruner --set amplitude=.nan", "amplitude"),
    Case("prune --method adapt-pruner --set layer_distance=hamming", "layer_distance"),
    Case("prune --method wanda --set pattern=3:2 --sparsity 50", "keeps 3 of 2 weights; N must be"),
    Case("prune --method wanda --set pattern=2-4 --sparsity 50", "must be N:M (2:4, say) or"),
    Case("prune --method wanda --set pattern=2:4 --sparsity 40", "contradicts the pattern 2:4"),
    Case("prune --method wanda --set pattern=1:7 --sparsity 85", "1:7 does not divide the rows of"),
    Case("params --method wanda --set pattern=1:5 --sparsity 80", "1:5 does not divide the rows"),
    Case(
        "prune --method sparsegpt --set pattern=1:3 --sparsity 66",
        "block_size 128 is no multiple of the 3 weights of a group",
    ),
    Case(
        "prune --method wanda --set pattern=2:4 --set use_variant=true --sparsity 50",
        "use_variant goes with pattern 'unstructured' alone",
    ),
    Case("prune --dtype float3", "unknown dtype 'float3'"),
    Case("prune --dtype nn", "unknown dtype 'nn'"),
    Case("prune --device gpu", "device 'gpu' is not available"),
    Case("prune --threads 0", "threads"),
    Case("prune --calibration tiny-pros", "unknown calibration data 'tiny-pros'; did you mean"),
    Case("prune --calibration none.json", "none.json: no such file"),
    Case("prune --sequences 0", "sequences"),
    Case("prune --sequences 5000", "5000 sequences were asked for"),
    Case("prune --length 1", "length"),
    Case("prune --length 5000", "holds 0 documents of at least 5000 tokens"),
    Case("prune --local-data {here}/none", "none: no such folder"),
    Case("prune --scores none.safetensors", "none.safetensors"),
    Case("prune --scores {here}/s", "broken", {"s": b"\0" * 40}),
    Case("prune --output {here}/file", "is a file", {"file": "kept"}),
    Case("prune --output {here}/file/below", "cannot be written", {"file": "kept"}),
    Case("prune --output {here}/" + "n" * 300, "cannot be written"),
    Case("prune --colour blue", "--colour"),
    Case("score --sparsities 20,much", "must be whole numbers"),
    Case("score --sparsities 20,100", "sparsity 100 is outside 1..99"),
    Case("score --method adapt-pruner", "share scores only with"),
    Case("score --method dense --sparsities 0", "dense has no score stage"),
    Case("score --output {here}", "is a folder"),
    Case("calibrate --dataset nothing", "unknown calibration data 'nothing'"),
    Case("calibrate --model tiny-llamma", "did you mean 'tiny-llama'"),
    Case("params --method flap --sparsity 120", "sparsity 120 is outside 1..99"),
    Case("params --model gpt5", "unknown model 'gpt5'"),
    Case("fetch", "give --model NAME, --suite NAME or --text NAME"),
    Case("fetch --model tiny-llama --suite commonsense-tiny", "one of the three"),
    Case("fetch --suite common-sense", "unknown suite 'common-sense'"),
    Case("fetch --suite all-paper --local-data {here}/none", "none: no such folder"),
    Case("loss --tokens none.json", "none.json: no such file"),
    Case("evaluate", "give --suite NAME or --tasks"),
    Case("evaluate --suite commonsense-tny", "did you mean 'commonsense-tiny'"),
    Case("evaluate --tasks tiny_local_plaice", "did you mean 'tiny_local_place'"),
    Case("evaluate --tasks tiny_local_place,tiny_local_place", "given twice"),
    Case("evaluate --tasks tiny_local_place --limit 0", "--limit"),
    Case("evaluate --tasks tiny_local_place --batch few", "must be auto or a number"),
    Case("evaluate --tasks tiny_local_place --max-length 8", "--max-length"),
    Case("evaluate --tasks tiny_local_place --scorer-precision half", "allowed: float32, stock"),
    Case("evaluate --suite commonsense-tiny --token-perplexity 12,x", "whole numbers of tokens"),
    Case("evaluate --suite commonsense-tiny --token-perplexity 4096", "2..2048"),
    Case("recover --preset trian", "did you mean 'train'"),
    Case("recover --data nothing", "unknown training data 'nothing'"),
    Case("recover --data {here}/none.jsonl", "no such file"),
    Case("recover --set sequence_length=4096", "beyond the model's window"),
    Case(
        "recover --data {here}/a.jsonl --set sequence_length=32",
        "row 2",
        {"a.jsonl": '{"text": "a"}\n{"txt": 1}\n'},
    ),
    Case("recover --data {here}/a.jsonl --set sequence_length=32", "empty", {"a.jsonl": ""}),
    Case("recover --set batches=4", "did you mean 'batch'"),
    Case("recover --set batch=0", "batch"),
    Case("recover --set sequence_length=1", "sequence_length"),
    Case("recover --device tpu", "must be cpu or cuda"),
    Case("recover --launch {here}/none.yaml", "none.yaml: no such file"),
    Case("recover --launch {here}/l.yaml", "l.yaml: not valid YAML", {"l.yaml": "a: ["}),
    Case("recover --launch {here}/l.yaml", "l.yaml: must be a mapping", {"l.yaml": "- a"}),
    Case(
        "recover --launch {here}/l.yaml",
        "num_processes must be a positive whole number, not 'many'",
        {"l.yaml": "num_processes: many"},
    ),
    Case("recover --model {here}/m", "states no vocab_size", {"m/config.json": "[]"}),
    Case("recover --preset prune-then-train", "target"),
    Case("recover --target-parameters 1000 --target-model tiny-llama-small", "not both"),
    Case("sensitivity --layer-sparsity 100", "--layer-sparsity"),
    Case("sensitivity --suite nothing", "unknown suite 'nothing'"),
    Case("measure --rounds 0", "--rounds"),
    Case("measure --dense no-such-model", "unknown model 'no-such-model'"),
    Case("check-method", "give --method NAME or --method-file"),
    Case("check-method --method flapp", "did you mean 'flap'"),
    Case("check-method --method flap --sparsities many", "must be whole numbers"),
    Case("status --profile tinny", "did you mean 'tiny'"),
    Case("status --profile ../config/tiny", "unknown profile '../config/tiny'"),
    Case("status --config-folder {here}/none", "unknown profile 'tiny'"),
    Case("status --override seed=1", "did you mean 'seeds'"),
    Case("status --override sparsities=", "whole numbers"),
    Case("status --override methods=flap@none", "unknown variant 'flap@none'"),
    Case("collect --declaration {here}/none.yaml", "none.yaml: No such file"),
    Case("figure --name fig9", "unknown figure 'fig9'"),
    Case("figure --name fig1", "no such file"),
    Case("speed", "no such file"),
    Case("store", "not finished"),
    Case("prefetch --profile nothing", "unknown profile 'nothing'"),
    Case("compare {here}/a.csv {here}/b.csv", "a.csv: no such file"),
    Case("compare {here}/a.csv {here}/a.csv", "other columns", {"a.csv": "a,b\n1,2\n"}),
    Case("compare {here}/a.csv {here}/a.csv", "not a results file", {"a.csv": b"\xff\xfe\0"}),
    Case("gate", "evaluation.json: no such file"),
    Case("gate", "altered", {"evaluation.json": '{"schema": 1, "sha256": "0"}'}),
    Case("gate", "evaluation.json: has schema None", {"evaluation.json": "[]"}),
    Case("gate", "not a readable JSON", {"evaluation.json": "[" * 100_000}),
    Case("count-tokens --data nothing", "unknown training data 'nothing'"),
    Case("data-table --counts {here}/none.json", "none.json: no such file"),
    Case("audit --tables {here}/none", "none"),
    Case("benchmarks --suite nothing", "unknown suite 'nothing'"),
    Case("train-stage --run {here}/none", "no such file"),
    Case("train-stage --run {here}", "conditions", {"settings.json": "{}"}),
]

_MINE = "that this command does not write"
_THESIS = {"out/thesis.md": "mine", "out/thesis.tex": "mine", "out/thesis.csv": "mine"}

#: Places where something of the user's lies, or an input of the command.
OUTPUTS = [
    Case("prune --output {out}", "holds 'kept.txt', which this suite did not write there"),
    Case("prune --output {here}", "which this suite did not write there"),
    Case("prune --output .", "is, or holds, the working folder"),
    Case("prune --output /", "is, or holds, the working folder"),
    Case("prune --output ~", "is, or holds, the home folder"),
    Case("prune --output ~nobody-here/a", "no such home folder"),
    Case("prune --output /dev/null", "is a file, a folder is to be written"),
    Case("prune --output {result}", "holds 'notes.txt'", {"result/notes.txt": "mine"}),
    Case("prune --output {result}", "holds 'sub/notes.txt'", {"result/sub/notes.txt": "mine"}),
    Case(
        "prune --output {result}",
        "2 bytes, not 97: changed since",
        {"result/kept.json": "{}"},
    ),
    Case("prune --output {cached}", "which this command reads"),
    Case("prune --output {cached}/pruned", "lies in"),
    Case("prune --output {cached}/..", "which this command reads"),
    Case("prune --output {link}", "which this command reads"),
    Case("prune --calibration {out}/kept.json --output {out}", "which this command reads"),
    Case("recover --output {out}", "holds 'kept.txt', which this suite did not write there"),
    Case("recover --output {cached}", "which this command reads"),
    Case("recover --output .", "is, or holds, the working folder"),
    Case("recover --run {here}/r", "holds 'log.jsonl', which is no", {"r/log.jsonl": "mine"}),
    Case("recover --run .", "is, or holds, the working folder"),
    Case("recover --run {result}", "is, or holds,"),
    Case("recover --run {result}/run", "lies in"),
    Case("recover --run {cached}", "which this command reads"),
    Case("recover --run {here}/r", "holds 'models'", {"r/models/mine.bin": "mine"}),
    Case("recover --run {here}/r", "holds 'checkpoints'", {"r/checkpoints/a.pt": "mine"}),
    Case("recover --run {here}/r", "holds 'settings.json'", {"r/settings.json": '{"a": 1}'}),
    Case("recover --run {here}/r", "holds 'rows/mine.csv'", {"r/rows/mine.csv": "mine"}),
    Case("prefetch --to {here}/m", "is a model folder", {"m/config.json": "{}"}),
    Case("prefetch --to {here}/m", "no list of fetched files", {"m/manifest.json": "{}"}),
    Case("prefetch --to {out}/kept.txt", "is a file"),
    Case("score --output {out}/kept.txt", _MINE),
    Case("score --output {cached}/s.safetensors", "among the weights of an input"),
    Case("score --output {out}/c.json --calibration {out}/c.json", _INPUT, {"out/c.json": "[[1]]"}),
    Case("calibrate --output {out}/kept.txt", _MINE),
    Case("calibrate --output {out}/a.json", _MINE, {"out/a.json": '{"tokens": [[1, 2]]}'}),
    Case("fetch --model tiny-llama --output {cached}/config.json", _MINE),
    Case("fetch --suite commonsense-tiny --output {out}/kept.txt", _MINE),
    Case("fetch --model tiny-llama --output /dev/null", "is no regular file"),
    Case("fetch --model tiny-llama --output {here}/file-link", "is a link"),
    Case("evaluate --suite commonsense-tiny --output {out}/kept.txt", _MINE),
    Case("evaluate --suite commonsense-tiny --output {result}/pruning.json", _MINE),
    Case("evaluate --suite commonsense-tiny --documents {out}/kept.txt", _MINE),
    Case("evaluate --suite commonsense-tiny --output {here}/e.parquet", "two results"),
    Case(
        "evaluate --suite commonsense-tiny --output {here}/e.json",
        "holds 'notes.json', which is no kept task",
        {"e.json.partial/notes.json": "mine"},
    ),
    Case("sensitivity --output {out}/kept.txt", _MINE),
    Case("measure --output {out}/kept.txt", _MINE),
    Case("count-tokens --output {out}/kept.txt", _MINE),
    Case("gate --output {out}/kept.txt", _MINE),
    Case("gate --output {here}/evaluation.json", _INPUT, {"evaluation.json": "{}"}),
    Case("collect --results {out}/kept.txt", _MINE),
    Case("collect --provenance {out}/kept.txt", _MINE),
    Case("collect --results {here}/a.csv --provenance {here}/a.csv", "two results"),
    Case("collect --results {here}/a.csv", _MINE, {"a.csv.sha256": "mine"}),
    Case("store --output {out}/kept.txt", _MINE),
    Case("store --output {here}/a.csv", _MINE, {"a.versions.json": "[]"}),
    Case("store --output {here}/a.csv", _MINE, {"a.documents.parquet": "mine"}),
    Case("table --output {here}/results", _INPUT, {"results.csv": "profile,model"}),
    *(
        Case(f"{command} --output {{out}}/thesis", _MINE, _THESIS)
        for command in (
            *("table", "figure --name size", "speed", "cost", "data-table --counts {here}/c.json"),
            *("benchmarks", "compare {here}/a.csv {here}/b.csv"),
        )
    ),
    Case("table --output {out}/thesis", _MINE, {"out/thesis.md": "mine"}),
    *(
        Case(f"{command} --output .", "is a folder, a file is to be written there")
        for command in ("table", "store", "calibrate", "audit", "evaluate --suite x")
    ),
    Case("report --output {out}/kept.txt", _MINE),
    Case("audit --output {out}/kept.txt", _MINE),
]
