"""The command line: JSON on stdout, one line for a mistake, before long work."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tiny_models import save_tiny_model, tiny_config

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., tuple[int, str, str]]

PARAMS = ("params", "--model", "smollm2-135m", "--method")
CONFIG = Path(__file__).parents[1] / "config"


def refused(run: tuple[int, str, str]) -> str:
    """Check that a run ended in one line on stderr with status 2; return that line."""
    status, out, err = run
    assert status == 2
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    return err


def prune(command: Command, output: Path, **changes: Any) -> tuple[int, str, str]:
    """Run ``prune`` with good options but for the changed ones."""
    options = {
        "model": "tiny-llama",
        "method": "llm-pruner",
        "sparsity": 20,
        "seed": 0,
        "calibration": "tiny-prose",
        "sequences": 4,
        "length": 16,
        "output": output,
    } | changes
    return command(
        "prune", *(part for key, value in options.items() for part in (f"--{key}", value))
    )


def test_methods_are_listed_with_origin_and_parameters(command: Command) -> None:
    status, out, _ = command("methods")
    lines = {line.split()[0]: line for line in out.splitlines()}
    assert status == 0
    assert "adaptprune 0" in lines["flap"]
    assert "bias_compensation=True" in lines["flap"]
    assert "amplitude=0.02" in lines["adapt-pruner"]


def test_models_are_listed_with_their_counts(command: Command) -> None:
    status, out, _ = command("models")
    assert status == 0
    assert "134,515,008" in next(line for line in out.splitlines() if "smollm2-135m" in line)


def test_params_prints_one_json_object(command: Command) -> None:
    status, out, _ = command(*PARAMS, "llm-pruner", "--sparsity", "50")
    content = json.loads(out)
    assert status == 0
    assert content["params_dense"] == 134_515_008
    assert content["params_total"] == content["params_min"] == content["params_max"]
    assert content["params_decoder"] < content["params_total"]
    assert content["kept"] == [{"kv_heads": 2, "q_heads": 6, "mlp": 768}] * 30


def test_params_takes_a_variant_for_its_method(command: Command) -> None:
    plain = command(*PARAMS, "slicegpt", "--sparsity", "20")
    assert command(*PARAMS, "slicegpt@mine", "--sparsity", "20") == plain


def test_params_counts_a_local_folder(command: Command, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "model")
    status, out, _ = command("params", "--model", folder, "--method", "dense", "--sparsity", "0")
    assert status == 0
    assert json.loads(out)["params_total"] == json.loads(out)["params_dense"]


def test_prune_then_loss(command: Command, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(json.dumps([[5, 6, 7, 8], [9, 10, 11, 12]]))
    status, out, _ = prune(command, tmp_path / "out", calibration=tokens)
    assert (status, out) == (0, "")
    status, out, _ = command("loss", "--model", tmp_path / "out", "--tokens", tokens)
    assert status == 0
    assert json.loads(out)["positions"] == 6
    assert 0 < json.loads(out)["loss"] < 20


def test_calibration_drawn_by_name_is_that_of_calibrate(command: Command, tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.json"
    draw = ("--dataset", "tiny-prose", "--sequences", 4, "--length", 16, "--seed", 3)
    assert command("calibrate", "--model", "tiny-llama", *draw, "--output", drawn)[0] == 0
    for name, source in (("by_name", "tiny-prose"), ("by_file", drawn)):
        assert prune(command, tmp_path / name, seed=3, calibration=source)[0] == 0
    records = [
        json.loads((tmp_path / name / "pruning.json").read_text())
        for name in ("by_name", "by_file")
    ]
    assert records[0]["calibration"] == records[1]["calibration"]


def test_scores_serve_several_prunings(command: Command, tmp_path: Path) -> None:
    scores = tmp_path / "scores.safetensors"
    common = ("--model", "tiny-llama", "--method", "llm-pruner", "--seed", 0)
    data = ("--calibration", "tiny-prose", "--sequences", 4, "--length", 16)
    status, _, _ = command("score", *common, *data, "--sparsities", "20,40", "--output", scores)
    assert status == 0
    for sparsity in (20, 40):
        assert prune(command, tmp_path / "with", sparsity=sparsity, scores=scores)[0] == 0
        assert prune(command, tmp_path / "without", sparsity=sparsity)[0] == 0
        first, second = (
            (tmp_path / name / "model.safetensors").read_bytes() for name in ("with", "without")
        )
        assert first == second


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"model": "tiny-lama"}, "unknown model 'tiny-lama'; did you mean 'tiny-llama'"),
        ({"model": "./no/such/folder"}, "model folder ./no/such/folder does not exist"),
        ({"method": "llm-prunner"}, "unknown method 'llm-prunner'; did you mean 'llm-pruner'"),
        ({"sparsity": 0}, "sparsity 0 is outside 1..99"),
        ({"sparsity": 100}, "sparsity 100 is outside 1..99"),
        ({"sparsity": 0.2}, "'--sparsity'"),
        ({"method": "dense"}, "sparsity 0 only"),
        ({"set": "layer_stat=1"}, "did you mean 'layer_start'"),
        ({"set": "layer_start"}, "must read KEY=VALUE"),
        ({"set": "layer_start=many"}, "layer_start"),
        ({"set": "layer_start=[1"}, "layer_start"),
        ({"set": "layer_end=9"}, "must select some of the layers 0..3"),
        ({"dtype": "float3"}, "unknown dtype 'float3'"),
        ({"dtype": "nn"}, "unknown dtype 'nn'"),
        ({"device": "gpu"}, "device 'gpu' is not available"),
        ({"threads": 0}, "threads"),
        ({"calibration": "tiny-pros"}, "unknown calibration data 'tiny-pros'; did you mean"),
        ({"calibration": "none.json"}, "none.json: no such file"),
        ({"sequences": 0}, "sequences"),
        ({"length": 1}, "length"),
        ({"sequences": 5000}, "5000 sequences were asked for"),
        ({"length": 5000}, "holds 0 documents of at least 5000 tokens"),
        ({"scores": "none.safetensors"}, "none.safetensors"),
        ({"colour": "blue"}, "--colour"),
    ],
)
def test_mistake_in_prune_is_told_in_one_line(
    changes: dict[str, Any], complaint: str, command: Command, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    assert complaint in refused(prune(command, output, **changes))
    assert not output.exists()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("[[1, 2], [3]]", "equally long"),
        ("[]", "non-empty"),
        ("[[1, 257]]", "0..256"),
        ("[[1, true]]", "True"),
        ("[[1, 2]", "not a readable JSON file"),
    ],
)
def test_bad_calibration_file_is_told_in_one_line(
    content: str, complaint: str, command: Command, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text(content)
    line = refused(prune(command, tmp_path / "out", calibration=tokens))
    assert complaint in line
    assert "tokens.json" in line


def test_token_file_with_origin_missing_is_still_read(command: Command, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text('{"tokens": [[1, 2, 3], [4, 5, 6]]}')
    assert prune(command, tmp_path / "out", calibration=tokens)[0] == 0
    record = json.loads((tmp_path / "out" / "pruning.json").read_text())
    assert record["calibration"]["dataset"] == "tokens.json"


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        (None, "holds no config.json"),
        ("{", "not a readable JSON file"),
        ("[]", "config.json"),
        (json.dumps({"model_type": "gpt2"}), "unknown architecture"),
        (json.dumps({"model_type": "llama"}), "lacks the key"),
        (json.dumps(tiny_config().to_dict() | {"hidden_size": "wide"}), "hidden_size"),
    ],
)
def test_bad_model_folder_is_told_in_one_line(
    config: str | None, complaint: str, command: Command, tmp_path: Path
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    if config is not None:
        (folder / "config.json").write_text(config)
    assert complaint in refused(prune(command, tmp_path / "out", model=folder))


def test_altered_checkpoint_is_refused(command: Command, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.json"
    tokens.write_text("[[1, 2, 3]]")
    prune(command, tmp_path / "out", calibration=tokens)
    weights = tmp_path / "out" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    line = refused(command("loss", "--model", tmp_path / "out", "--tokens", tokens))
    assert "model.safetensors: its content was altered" in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ((*PARAMS, "flap"), "--sparsity"),
        (("pruen",), "pruen"),
        (("fetch", "--output", "x"), "give --model NAME, --suite NAME or --text NAME"),
        (("evaluate", "--model", "tiny-llama", "--output", "x.json"), "--suite NAME or --tasks"),
        (("loss", "--model", "tiny-llama", "--tokens", "none.json"), "none.json: no such file"),
        (("status", "--profile", "min", "--config-folder", CONFIG), "did you mean 'mini'"),
        (("status", "--config-folder", CONFIG, "--override", "seed=1"), "did you mean 'seeds'"),
    ],
)
def test_other_mistakes_are_told_in_one_line(
    arguments: tuple[Any, ...], complaint: str, command: Command
) -> None:
    assert complaint in refused(command(*arguments))


def test_parameter_given_twice_is_refused(command: Command) -> None:
    twice = ("--set", "layer_start=1", "--set", "layer_start=2")
    assert "given twice" in refused(command(*PARAMS, "llm-pruner", "--sparsity", "20", *twice))


def test_scores_of_bad_sparsities_are_refused(command: Command, tmp_path: Path) -> None:
    common = ("score", "--model", "tiny-llama", "--method", "random", "--seed", 0)
    run = command(*common, "--sparsities", "20,much", "--output", tmp_path / "scores")
    assert "must be whole numbers" in refused(run)


def test_status_lists_what_remains(command: Command, tmp_path: Path) -> None:
    where = ("--runs", tmp_path, "--config-folder", CONFIG)
    status, out, _ = command("status", "--profile", "mini", *where)
    content = json.loads(out)
    assert status == 0
    assert content["done"] == 0
    assert content["cells"] == len(content["remaining"]) == 37


def test_module_ends_with_status_2_and_no_traceback() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "adaptprune", *PARAMS, "flap", "--sparsity", "120"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2
    assert done.stderr == "error: sparsity 120 is outside 1..99 (percent)\n"


def test_mistakes_are_found_before_torch_is_loaded(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom adaptprune.cli import main\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules)\n"
    )
    arguments = ["prune", "--model", "smollm2-135m", "--method", "flap", "--sparsity", "100"]
    arguments += ["--seed", "0", "--output", str(tmp_path / "out")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "False\n")
