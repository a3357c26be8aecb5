"""Measuring pruned models against dense: all kinds of checkpoints, ratios, the table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

from adaptprune.errors import UserError
from adaptprune.figures.catalog import draw
from adaptprune.figures.style import method_styles
from adaptprune.files.atomic import write_sealed_json
from adaptprune.machine.provenance import cpu_model
from adaptprune.measure.kernels import has_kernels, use_kernels
from adaptprune.measure.speed import compare_rates
from adaptprune.tables.speed import read_measures, render_speed
from adaptprune.workflow.profiles import load_profile
from adaptprune.workflow.run import Source, other_batch

if TYPE_CHECKING:
    from collections.abc import Callable

CONFIG = Path(__file__).parents[1] / "config"
QUICK = ("--prompt", 8, "--new-tokens", 3, "--rounds", 2, "--threads", 1)


def test_the_ratio_is_the_median_over_rounds_of_ratios_within_a_round() -> None:
    # The machine is half as fast in the last round: both models meet it, the ratio stays.
    found = compare_rates({"dense": [100.0, 100.0, 50.0], "pruned": [130.0, 120.0, 60.0]})
    assert found["ratio"] == pytest.approx(1.2)
    assert (found["ratio_least"], found["ratio_most"]) == pytest.approx((1.2, 1.3))
    assert (found["dense"], found["pruned"]) == (100.0, 120.0)
    assert found["faster"]
    assert not compare_rates({"dense": [100.0, 100.0], "pruned": [120.0, 99.0]})["faster"]


def measured(
    command: Callable[..., tuple[int, str, str]], folder: Path, *options: Any
) -> dict[str, Any]:
    """Prune a tiny model into ``pruned`` in a folder and measure it; return the record."""
    status, _, errors = command(
        *("prune", "--model", "tiny-llama", "--seed", 0, *options, "--output", folder / "pruned"),
        *("--calibration", "tiny-prose", "--sequences", 4, "--length", 32),
    )
    assert status == 0, errors
    output = folder / "speed.json"
    status, _, errors = command("measure", "--model", folder / "pruned", *QUICK, "--output", output)
    assert status == 0, errors
    record: dict[str, Any] = json.loads(output.read_text())
    return record


@pytest.mark.parametrize("method", ["flap", "slicegpt", "adapt-pruner", "llm-pruner"])
def test_every_kind_of_checkpoint_is_measured(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path, method: str
) -> None:
    settings = ("--set", "steps=2") if method == "adapt-pruner" else ()
    record = measured(command, tmp_path, "--method", method, "--sparsity", 40, *settings)
    counts = json.loads((tmp_path / "pruned" / "pruning.json").read_text())["counts"]
    assert (record["params"], record["params_dense"]) == (
        counts["params"],
        counts["params_dense"],
    )
    assert (record["dense"], record["method"], record["sparsity"]) == ("tiny-llama", method, 40)
    assert record["device_name"] == cpu_model()
    for phase in ("prefill", "decode"):
        measure = record["measures"][phase]
        assert measure["pruned"] > 0
        assert measure["ratio_least"] <= measure["ratio"] <= measure["ratio_most"]
    assert set(record["measures"]) == {"prefill", "decode", "memory"}


def test_the_memory_of_a_large_model_shows(tmp_path: Path) -> None:
    from tiny_models import save_tiny_model

    from adaptprune.measure.speed import Workload, measure_stage
    from adaptprune.models.runtime import Runtime

    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("only Linux tells the peak of resident memory")
    sizes = {"small": 8, "large": 300_000}  # 0.1 and 58 MB of neurons
    for name, neurons in sizes.items():
        save_tiny_model(tmp_path / name, intermediate=neurons, layers=1)
    output = tmp_path / "speed.json"
    measure_stage(
        str(tmp_path / "small"), str(tmp_path / "large"), Workload(1, 8, 2, 1), Runtime(), output
    )
    memory = json.loads(output.read_text())["measures"]["memory"]
    assert 50 < memory["dense"] < 400
    assert memory["pruned"] < memory["dense"] / 2


def test_a_checkpoint_without_a_record_needs_to_be_told_its_dense_model(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    from adaptprune.models.catalogue import locate

    model = locate("tiny-llama")
    output = tmp_path / "speed.json"
    status, _, errors = command("measure", "--model", model, *QUICK, "--output", output)
    assert status == 2
    assert "give --dense" in errors
    status, _, errors = command(
        "measure", "--model", model, "--dense", "tiny-llama", *QUICK, "--output", output
    )
    assert status == 0, errors


def test_a_failed_checkpoint_stays_failed_with_its_reason(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    pruned = tmp_path / "pruned"
    pruned.mkdir()
    write_sealed_json(
        pruned / "pruning.json",
        {
            "model": "tiny-llama",
            "method": "flap",
            "variant": None,
            "sparsity": 20,
            "seed": 0,
            "status": "failed",
            "reason": "the calibration loss is nan",
        },
    )
    output = tmp_path / "speed.json"
    status, _, errors = command("measure", "--model", pruned, *QUICK, "--output", output)
    assert status == 0, errors
    record = json.loads(output.read_text())
    assert (record["status"], record["reason"]) == ("failed", "the calibration loss is nan")
    assert "measures" not in record


def rates(ratio: float, least: float) -> dict[str, Any]:
    return {
        "unit": "tokens/s",
        "dense": 100.0,
        "pruned": 100.0 * ratio,
        "ratio": ratio,
        "ratio_least": least,
        "ratio_most": ratio + 0.1,
        "faster": least > 1,
    }


def write_record(
    source: Source, method: str, sparsity: int, batch: int = 1, **changes: Any
) -> None:
    record = {
        "status": "ok",
        "reason": None,
        "workload": {"batch": batch, "prompt": 8, "new_tokens": 4, "rounds": 3},
        "params": 1000 - 5 * sparsity,
        "params_dense": 1000,
        "dtype": "float32",
        "device": "cpu",
        "device_name": "Some CPU",
        "threads": 1,
        "measures": {
            "prefill": rates(1.3, 1.2),
            "decode": rates(0.9, 0.8) if method == "slicegpt" else rates(1.2, 1.1),
            "memory": {"unit": "MB", "dense": 400.0, "pruned": 300.0, "ratio": 0.75},
        },
    }
    name = f"{sparsity}{other_batch(batch, source.profile.speed)}.json"
    path = source.folder / "speed" / "tiny-llama" / method / name
    write_sealed_json(path, {**record, **changes})


@pytest.fixture
def source(tmp_path: Path) -> Source:
    overrides = {"methods": "dense,flap,slicegpt", "sparsities": "20"}
    found = Source("tiny", load_profile(CONFIG, "tiny", overrides), tmp_path)
    for method in ("flap", "slicegpt"):
        write_record(found, method, 20)
    return found


def test_a_method_that_could_not_be_measured_changes_no_other_s_style(source: Source) -> None:
    write_record(source, "flap", 20, status="failed", reason="NaN", measures={})
    figure = draw("speed", source).figure
    styles = method_styles(source.profile.methods)
    for axes in figure.axes:
        handles, labels = axes.get_legend_handles_labels()
        assert labels == ["SliceGPT"]
        assert handles[0].lines[0].get_color() == styles["slicegpt"]["color"]


def test_the_table_says_where_pruning_makes_nothing_faster(source: Source, tmp_path: Path) -> None:
    render_speed(source, tmp_path / "speed")
    text = (tmp_path / "speed.md").read_text()
    assert "| tiny-llama | 20% | SliceGPT | 90.0% | 130 | 1.30 | 90.0 | 0.90 | 300 | 0.75 |" in text
    assert "Every pruned model was faster at prefill in every round." in text
    assert "float32 on Some CPU, 1 CPU thread(s)" in text
    assert "models of the first seed, and no trained ones" in text
    assert (
        "Pruning does not make decoding faster in every round: SliceGPT at 20 % of tiny-llama "
        "(0.80 to 1.00)." in text
    )
    assert r"\caption{Speed and memory" in (tmp_path / "speed.tex").read_text()
    assert len((tmp_path / "speed.csv").read_text().splitlines()) == 1 + 2 * 3


def test_kernels_for_2_4_need_a_gpu(source: Source, tmp_path: Path) -> None:
    write_record(source, "flap", 20, pattern="2:4")
    render_speed(source, tmp_path / "speed")
    lines = (tmp_path / "speed.md").read_text().splitlines()
    assert next(line for line in lines if "| FLAP |" in line).endswith(
        "| needs a GPU | needs a GPU |"
    )
    assert next(line for line in lines if "| SliceGPT |" in line).endswith("| – | – |")
    assert any("CUDA device in half precision" in line for line in lines)


def test_kernels_for_2_4_are_shown_where_they_were_timed(source: Source, tmp_path: Path) -> None:
    measures = {"prefill": rates(1.0, 0.9), "decode": rates(1.0, 0.9)}
    measures |= {"prefill_kernels": rates(1.5, 1.4), "decode_kernels": rates(1.3, 1.2)}
    measures["memory"] = {"unit": "MB", "dense": 400.0, "pruned": 400.0, "ratio": 1.0}
    write_record(source, "flap", 20, pattern="2:4", measures=measures)
    render_speed(source, tmp_path / "speed")
    assert "| 1.00 | 1.50 | 1.30 |" in (tmp_path / "speed.md").read_text()


@pytest.mark.parametrize(
    ("pattern", "device", "dtype", "known"),
    [
        ("2:4", "cuda", "bfloat16", True),
        ("2:4", "cuda", "float32", False),
        ("2:4", "cpu", "bfloat16", False),
        ("4:8", "cuda", "float16", False),
        (None, "cuda", "float16", False),
    ],
)
def test_what_kernels_can_run(pattern: str | None, device: str, dtype: str, known: bool) -> None:
    assert has_kernels(pattern, torch.device(device), dtype) is known


def test_kernels_get_the_weights_of_every_linear_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    from tiny_models import tiny_model

    packed = []

    def pack(matrix: torch.Tensor) -> torch.Tensor:
        packed.append(matrix)
        return -matrix

    monkeypatch.setattr(torch.sparse, "to_sparse_semi_structured", pack)
    model = tiny_model(layers=2)
    before = model.model.layers[1].mlp.down_proj.weight.detach().clone()
    head = model.lm_head.weight.detach().clone()
    use_kernels(model)
    assert len(packed) == 2 * 7
    assert torch.equal(model.model.layers[1].mlp.down_proj.weight, -before)
    assert torch.equal(model.lm_head.weight, head)


def test_the_pattern_of_masks_stands_in_the_record(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    masks = ("--method", "weight-magnitude", "--sparsity", 50, "--set", "pattern=2:4")
    record = measured(command, tmp_path, *masks)
    assert record["pattern"] == "2:4"
    assert set(record["measures"]) == {"prefill", "decode", "memory"}  # no kernels on a CPU


def test_a_failed_cell_stands_in_the_table_with_its_reason(source: Source, tmp_path: Path) -> None:
    bare = {"params": None, "params_dense": None, "measures": {}}
    path = source.folder / "speed" / "tiny-llama" / "flap" / "20.json"
    content = json.loads(path.read_text()) | {"status": "failed", "reason": "NaN", **bare}
    for key in ("sha256", "measures", "params", "params_dense"):
        del content[key]
    write_sealed_json(path, content)
    render_speed(source, tmp_path / "speed")
    text = (tmp_path / "speed.md").read_text()
    assert "| FLAP | failed |" in text
    assert "Not measured: FLAP at 20 % of tiny-llama, failed: NaN." in text


def test_records_of_different_conditions_are_not_compared(source: Source) -> None:
    write_record(source, "slicegpt", 20, threads=2)
    with pytest.raises(UserError, match=r"mixed conditions: threads is 1 .* and 2"):
        read_measures(source)
    write_record(source, "slicegpt", 20, device_name="Other CPU")
    with pytest.raises(UserError, match=r"device_name is Some CPU .* and Other CPU"):
        read_measures(source)


def test_an_absent_record_is_named(source: Source) -> None:
    (source.folder / "speed" / "tiny-llama" / "flap" / "20.json").unlink()
    with pytest.raises(UserError, match=r"flap/20\.json: no such file"):
        read_measures(source)
