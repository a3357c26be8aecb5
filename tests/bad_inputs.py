"""Bad input, case by case: a command line, the words its one line must hold, and files it reads.

A line begins with a command; the good options of ``GOOD`` come before its own, of which the last
one counts. ``{here}`` is the case's own folder, ``{out}`` a path that holds something already.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

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
_PROFILE = "--profile tiny --config-folder {here}/config --runs {here}/runs"
GOOD = {
    "prune": f"{_TINY} --method llm-pruner --sparsity 20 --output {{out}}",
    "score": f"{_TINY} --method llm-pruner --sparsities 20,40 --output {{out}}/scores",
    "calibrate": "--model tiny-llama --dataset tiny-prose --sequences 4 --length 16 --seed 0 "
    "--output {out}/drawn.json",
    "params": "--model smollm2-135m --method llm-pruner --sparsity 20",
    "loss": "--model tiny-llama --tokens {here}/tokens.json",
    "fetch": "--output {out}/fetched.json",
    "evaluate": "--model tiny-llama --output {out}/evaluation.json",
    "recover": "--model tiny-llama --preset train --data tiny-prose --output {out}",
    "sensitivity": f"{_TINY} --suite commonsense-tiny --output {{out}}/fig.json",
    "measure": "--model tiny-llama --output {out}/speed.json",
    "check-method": "--sparsities 50",
    "status": _PROFILE,
    "collect": f"{_PROFILE} --results {{out}}/r.csv --provenance {{out}}/p.csv",
    "figure": f"{_PROFILE} --output {{out}}/figure",
    "speed": f"{_PROFILE} --output {{out}}/speed",
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
    Case("fetch", "give --model NAME or --suite NAME"),
    Case("fetch --model tiny-llama --suite commonsense-tiny", "one of the two"),
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

#: A profile laid over ``tiny``: its text, and what the line must say.
PROFILES = [
    ("sparsity: [20]", "did you mean 'sparsities'"),
    ("sparsities: []", "sparsities"),
    ("sparsities: [0]", "sparsity 0 is outside 1..99"),
    ("sparsities: [100]", "sparsity 100 is outside 1..99"),
    ("sparsities: [20.5]", "sparsities.0"),
    ("sparsities: [20, 20]", "lists an entry twice"),
    ("sparsities: 20", "sparsities"),
    ("seeds: [1, 1]", "lists an entry twice"),
    ("seeds: [first]", "seeds.0"),
    ("models: []", "models"),
    ("models: null", "models"),
    ("models: [tiny-lama]", "did you mean 'tiny-llama'"),
    ("models: [/no/such/folder]", "/no/such/folder does not exist"),
    ("models: ['/tmp']", "holds no config.json"),
    ("local_data: '/tmp; ls'", "has a blank or a special character"),
    ("methods: [flapp]", "did you mean 'flap'"),
    ("methods: [flap@mine]", "unknown variant 'flap@mine'"),
    ("settings: {flapp: {}}", "unknown method 'flapp'"),
    ("settings: {flap: {parameters: {head_costs: 1}}}", "did you mean 'head_cost'"),
    ("settings: {flap: {parameters: {head_cost: 3}}}", "head_cost"),
    ("settings: {flap: {parameter: {}}}", "settings.flap.parameter"),
    ("settings: {flap: {calibration: {dataset: no, sequences: 1, length: 9}}}", "'False'|dataset"),
    ("calibration: {dataset: nothing}", "unknown calibration data 'nothing'"),
    ("calibration: {sequences: 0}", "calibration.sequences"),
    ("calibration: {length: 1}", "calibration.length"),
    ("evaluation: {suite: nothing}", "unknown suite 'nothing'"),
    ("evaluation: {documents_per_task: 0}", "evaluation.documents_per_task"),
    ("evaluation: {perplexity_documents: -1}", "evaluation.perplexity_documents"),
    ("evaluation: {token_perplexity: [1]}", "must lie in 2..512"),
    ("evaluation: {token_perplexity: [4096]}", "must lie in 2..512"),
    ("evaluation: {max_length: 8}", "evaluation.max_length"),
    ("evaluation: {batch: 0}", "evaluation.batch"),
    ("evaluation: {batch: big}", "evaluation.batch"),
    ("speed: {rounds: 0}", "speed.rounds"),
    ("dtype: float8", "dtype"),
    ("threads: 0", "threads"),
    ("memory_mb: -1", "memory_mb"),
    ("trust_remote_code: perhaps", "trust_remote_code"),
    ("local_data: /no/such/folder", "/no/such/folder is no folder"),
    ("mixture: nothing", "unknown mixture 'nothing'"),
    ("method_file: /no/such.py", "/no/such.py: no such file"),
    ("dense_gate: 7", "dense_gate"),
    ("training: {checkpoint_every: 0}", "training.checkpoint_every"),
    ("recoveries: {accel: {preset: nothing}}", "unknown recovery preset 'nothing'"),
    ("recoveries: {accel: {overrides: {batches: 1}}}", "'batches'"),
    ("recoveries: {accel: {target: nothing}}", "nothing"),
    ("recoveries: {Accel Two: {preset: train, model: tiny-llama, data: tiny-prose}}", "Accel Two"),
    ("extends: bad", "extends itself"),
    ("extends: nothing", "unknown profile 'nothing'"),
    ("title: 2026-99-99", "not valid YAML"),
    ("title: [unclosed", "not valid YAML"),
    ("title: !!python/object/apply:os.getcwd []", "not valid YAML"),
    ("- a list", "must be a mapping"),
]

#: A calibration file: its content, and what the line must say.
CALIBRATIONS: list[tuple[str | bytes, str]] = [
    ("", "not a readable JSON file"),
    ("not json", "not a readable JSON file"),
    ("[[1, 2]", "not a readable JSON file"),
    (b"\xff\xfe[[1,2]]", "not a readable JSON file"),
    ("[" * 100_000, "not a readable JSON file"),
    ("[[" + "1" * 5000 + "]]", "not a readable JSON file"),
    ("[]", "non-empty"),
    ("[[]]", "sequences of 0 tokens"),
    ("[1, 2]", "list of lists"),
    ('{"token": [[1, 2]]}', "list of lists"),
    ("[[1, 2], [3]]", "equally long"),
    ("[[1]]", "at least 2 needed"),
    ("[[1, 257]]", "0..256"),
    ("[[1, -1]]", "0..256"),
    ("[[1, 1.5]]", "1.5"),
    ("[[1, true]]", "True"),
    ("[[1, null]]", "None"),
    ("[[1, NaN]]", "nan"),
    ('[[1, "2"]]', "'2'"),
    ('{"tokens": [[1, 2]], "hash": "0"}', "altered since it was drawn"),
]

#: What of a pruning's decision is wrong: Python source of ``prune``, and what the line must say.
METHODS = [
    ("raise ValueError('two\\nlines')", r"ValueError: two lines \(mine\.py:\d+\)"),
    ("raise SystemExit(0)", "SystemExit: 0"),
    ("return 1 / 0", "ZeroDivisionError"),
    ("return None", "must return Pruned, not NoneType"),
    ("return kept(all_units)", "must return Pruned, not KeptUnits"),
    ("return Pruned()", "must return kept units or a model"),
    ("return Pruned(kept=[[0]])", "must return KeptUnits, not list"),
    ("return Pruned(kept(all_units[:-1]))", "list 3 layers, the model has 4"),
    ("return Pruned(kept([((), (0,))] * 4))", "hold no kv_heads"),
    ("return Pruned(kept([((0,), ())] * 4))", "hold no mlp"),
    ("return Pruned(kept([((0, 99), (0,))] * 4))", r"in 0\.\.2"),
    ("return Pruned(kept([((0,), (0, 9999))] * 4))", "sorted, unique and in"),
    ("return Pruned(kept([((0,), (-1, 0))] * 4))", "sorted, unique and in"),
    ("return Pruned(kept([((0, 0), (0,))] * 4))", "sorted, unique and in"),
    ("return Pruned(kept([((0,), (3, 1))] * 4))", "sorted, unique and in"),
    ("return Pruned(kept([((0,), (0.5, 1.5))] * 4))", "must be whole numbers"),
    ("return Pruned(kept([((False,), (0,))] * 4))", "must be whole numbers"),
    ("return Pruned(kept([(torch.tensor([0]), (0,))] * 4))", "must be a tuple, not Tensor"),
    (
        "return Pruned(kept([(None, (0,))] * 4))",
        "kept kv_heads of layer 0 must be a tuple, not NoneType",
    ),
    ("return Pruned(kept([(3, (0,))] * 4))", "kept kv_heads of layer 0 must be a tuple, not int"),
    ("return Pruned(kept(all_units), biases={0: (torch.zeros(3), torch.zeros(3))})", "has shape"),
    (
        "return Pruned(kept(all_units), biases={99: (zeros, zeros)})",
        "biases of layer 99, the layers are",
    ),
    ("return Pruned(kept(all_units), biases={0: zeros})", "biases of layer 0 must be two tensors"),
    ("return Pruned(kept(all_units), biases={0: ('a', 'b')})", "biases of layer 0 must be two"),
    ("return Pruned(kept(all_units), steps=[{'a': zeros}])", "must be JSON values"),
    ("return Pruned(kept(all_units), notes=[object()])", "must be JSON values"),
    ("return Pruned(kept(all_units), steps=[{'a': float('nan')}])", "must be JSON values"),
    ("return Pruned(kept([((0,), (0,))] * 4), already_cut=True)", "other layer sizes"),
    ("model.resize_token_embeddings(9); return Pruned(kept(all_units))", "has a vocabulary of 9"),
    ("return Pruned(model='a model')", "must be one of transformers, not 'a model'"),
]

#: A method file as a whole.
METHOD_FILES = [
    ("", "must define SPEC"),
    ("SPEC = 3", "must define SPEC"),
    ("def broken(:", "SyntaxError"),
    ("import no_such_module", "ModuleNotFoundError"),
    ("raise SystemExit", "SystemExit"),
    ("raise RuntimeError('two\\nlines')", "RuntimeError: two lines"),
    (b"\xff\xfe", "cannot be imported"),
]

#: Class attributes of a method that are wrong.
ATTRIBUTES = [
    ("name = 'my method'", "letters, digits"),
    ("name = '../up'", "letters, digits"),
    ("name = 'flap'", "choose another name"),
    ("name = None", "letters, digits"),
    ("version = '1.0'", "version of method 'mine' must be of type int"),
    ("title = None", "title of method 'mine' must be of type str"),
    ("parameters = dict", "derived from adaptprune.method.Parameters"),
    ("def budget(self, *_): raise KeyError('size')", "KeyError: 'size'"),
    ("def check(self, *_): raise OSError('no')", "OSError: no"),
    ("def parse(self, *_): raise OSError('no')", "OSError: no"),
]

#: A task file, and what the line must say.
TASKS = [
    ("task: [unclosed", "not a task file"),
    ("task: mine\n", "mine"),
    ("task: mine\ninclude: absent.yaml\n", "absent.yaml"),
    ("{base}output_type: guess\n", "guess"),
    ("{base}custom_dataset: !function absent.load\n", "absent"),
    ("{base}dataset_kwargs: {{file: tasks/absent.jsonl, source: tiny}}\n", "absent.jsonl"),
    ("{base}doc_to_text: '{{{{prompt'\n", "mine"),
    ("{base}doc_to_choice: absent\n", "its data cannot be loaded: ValueError"),
    ("{base}doc_to_target: absent\n", "right answer of document 0 is .absent., none of its 3"),
    ("{base}doc_to_target: '-1'\n", "right answer of document 0 is .-1., none of its 3"),
    ("{base}metric_list: [{{metric: luck}}]\n", "metric .luck. is none of lm-eval"),
    ("{base}metric_list: [acc]\n", "metric_list must be a list of mappings"),
    ("{base}test_split: absent\n", "absent"),
]

#: A model folder: the values of its config that are changed (None: taken away), or a file of it.
CONFIGS: list[tuple[dict[str, Any], str]] = [
    ({"model_type": "gpt2"}, r"unknown architecture \(model_type\) 'gpt2'"),
    ({"model_type": None}, "unknown architecture"),
    ({"hidden_size": "wide"}, "hidden_size must be a positive whole number"),
    ({"hidden_size": -64}, "hidden_size must be a positive whole number"),
    ({"hidden_size": 10**12}, "model"),
    ({"num_hidden_layers": 0}, "num_hidden_layers must be a positive whole number"),
    ({"num_hidden_layers": 9}, "missing keys"),
    ({"num_hidden_layers": 1}, "unexpected keys"),
    ({"num_key_value_heads": 3}, "cannot share 3 kv heads evenly"),
    ({"vocab_size": None}, "lacks the key 'vocab_size'|vocab_size"),
    ({"vocab_size": 99}, "mismatched|not a loadable model|size"),
    ({"intermediate_size": True}, "intermediate_size must be a positive whole number"),
    ({"blocks": [{"intermediate_size": -1}]}, "intermediate_size must be a positive"),
    ({"blocks": "many"}, "blocks must be a list of mappings"),
    ({"auto_map": {"AutoModelForCausalLM": "evil.Model"}, "model_type": "evil"}, "'evil'"),
]
FILES: list[tuple[str, str | bytes, str]] = [
    ("config.json", "{", "not a readable JSON file"),
    ("config.json", "[]", "must be a mapping"),
    ("model.safetensors", b"", "broken weights"),
    ("model.safetensors", b"PK\3\4" + b"\0" * 99, "broken weights"),
    ("adapter_config.json", '{"base_model_name_or_path": "other"}', "an adapter"),
    ("model.safetensors.index.json", '{"weight_map": {"a": "../b.safetensors"}}', "of this folder"),
    ("model.safetensors.index.json", "[]", "weight_map"),
    ("tokenizer.json", "{", "tokenizer"),
    ("manifest.json", '{"files": {}}', "not a list of files"),
    ("manifest.json", '{"files": {"model.safetensors": {"bytes": 1, "sha256": "0"}}}', "not 1"),
    ("pruning.json", '{"status": "ok", "sha256": "0"}', "altered since it was written"),
]

#: A table's declaration.
DECLARATIONS = [
    ("", "the file"),
    ("name: [", "not YAML"),
    ("name: a\ncaption: b\nlabel: c\nmethods: []\n", "methods"),
    ("name: a\ncaption: b\nlabel: c\nmethods: [{method: flap, title: F, colour: red}]", "colour"),
    ("name: a\ncaption: b\nlabel: c\nrows: {tiny: [{title: a, block: b}]}\n", "give model or"),
]
