"""The names that Python and notebooks use: what they return, and what they leave alone."""

from __future__ import annotations

import importlib
import os
import pkgutil
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from matrix_examples import stored, write_cells, write_dense

import adaptprune
from adaptprune.errors import UserError
from adaptprune.files.atomic import read_json, record_hash
from adaptprune.models import checkpoint
from adaptprune.models.random import random_model
from adaptprune.pruning.uniform import named_scores

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(adaptprune.__file__).parent
NAMES = (
    *("load", "calibrate", "prune", "evaluate", "recover", "compare", "methods", "check_method"),
    "UniformMethod",
)
SMALL: dict[str, Any] = {"sequences": 4, "length": 16}

LISTING = """
import sys, adaptprune
assert "flap" in adaptprune.methods().index and adaptprune.UniformMethod.__name__
assert "torch" not in sys.modules
"""


class Norms(adaptprune.UniformMethod):
    """Rank units by one norm; a method that stands in no file of its own."""

    name, title, version, citation = "norms", "Norms", 1, "-"
    needs_calibration = False

    def score(self, model: Any, context: Any, parameters: Any, sparsities: Any) -> Any:
        heads, neurons = [], []
        for layer in model.model.layers:
            kv_heads = layer.self_attn.k_proj.out_features // layer.self_attn.head_dim
            heads.append(layer.self_attn.k_proj.weight.detach().view(kv_heads, -1).norm(dim=1))
            neurons.append(layer.mlp.up_proj.weight.detach().norm(dim=1))
        return named_scores(heads, neurons)


def import_everything() -> None:
    """Import every module of the package, and the files of the tasks."""
    for module in pkgutil.walk_packages([str(ROOT)], "adaptprune."):
        if module.name != "adaptprune.__main__":
            importlib.import_module(module.name)
    importlib.import_module("adaptprune.evaluate.tasks.utils")


def test_all_names_are_offered_and_none_is_a_module() -> None:
    assert set(NAMES) == set(adaptprune.__all__) <= set(dir(adaptprune))
    for name in NAMES:
        assert not (ROOT / f"{name}.py").exists()
        assert not (ROOT / name / "__init__.py").exists()
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = adaptprune.no_such_name


def test_listing_methods_from_python_imports_no_torch() -> None:
    subprocess.run([sys.executable, "-c", LISTING], check=True)


@pytest.mark.usefixtures("cache")
def test_every_name_works_twice_after_every_module_was_imported(tmp_path: Path) -> None:
    import_everything()
    cells = write_cells(tmp_path / "cells", sparsities=[20])
    matrix = stored(tmp_path, "matrix", [write_dense(tmp_path / "cells"), *cells])
    outcomes = []
    for attempt in ("one", "two"):
        model = adaptprune.load("tiny-llama")
        tokens = adaptprune.calibrate(model, "tiny-prose", **SMALL)
        pruned = adaptprune.prune(
            model, "adapt-pruner", sparsity=40, calibration=tokens, step_size=20, amplitude=0.2
        )
        folder = pruned.save(tmp_path / attempt)
        scores = adaptprune.evaluate(pruned, tasks=["tiny_local_place"], limit=3)
        recovered = adaptprune.recover(
            pruned, "train", "tiny-prose", tokens=256, sequence_length=32, batch=4
        )
        comparison = adaptprune.compare(matrix, matrix, method="flap")
        outcomes.append(
            {
                "weights": checkpoint.revision(folder),
                "kept": pruned.kept,
                "scores": scores.to_dict(),
                "losses": recovered.log["loss"].tolist(),
                "comparison": str(comparison),
                "shown": comparison._repr_html_(),
                "methods": list(adaptprune.methods().index),
            }
        )
        held = adaptprune.check_method("random", sparsities=[50])
        assert "its outcomes load in a fresh process" in held
    assert outcomes[0] == outcomes[1]


def globals_now() -> dict[str, Any]:
    """Return what is global and what lies in the working folder."""
    return {
        "environment": dict(os.environ),
        "random": random.getstate(),
        "numpy": str(np.random.get_state()),
        "torch": torch.get_rng_state().tolist(),
        "threads": torch.get_num_threads(),
        "dtype": torch.get_default_dtype(),
        "strict": torch.are_deterministic_algorithms_enabled(),
        "files": sorted(Path.cwd().rglob("*")),
    }


def test_nothing_global_changes_and_no_file_is_written(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    torch.use_deterministic_algorithms(False)
    before = globals_now()
    model = adaptprune.load("tiny-llama")
    weights = {name: tensor.clone() for name, tensor in model.model.state_dict().items()}
    tokens = adaptprune.calibrate(model, "tiny-prose", **SMALL)
    pruned = adaptprune.prune(model, "flap", sparsity=30, calibration=tokens)
    adaptprune.evaluate(pruned, suite="commonsense-tiny", documents_per_task=2)
    few = {"tokens": 128, "sequence_length": 32, "batch": 4}
    recovered = adaptprune.recover(model, "train", "tiny-prose", **few)
    del recovered  # its folder goes with it
    assert globals_now() == before
    after = model.model.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in weights.items())


def test_runtime_holds_for_one_call(cache: Path) -> None:
    class Watching(Norms):
        def score(self, *arguments: Any) -> Any:
            seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
            return super().score(*arguments)

    seen: list[tuple[int, bool]] = []
    before = globals_now()
    adaptprune.prune("tiny-llama", Watching(), sparsity=50, runtime={"threads": 2})
    assert seen == [(2, True)]
    assert globals_now() == before
    with pytest.raises(UserError, match="give some of dtype, device, threads"):
        adaptprune.load("tiny-llama", runtime={"cores": 1})


def test_python_and_the_commands_give_the_same(
    command: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    by_hand, evaluation = tmp_path / "by_hand", tmp_path / "evaluation.json"
    calibration = ["--calibration", "tiny-prose", "--sequences", 4, "--length", 16]
    status, _, errors = command(
        *("prune", "--model", "tiny-llama", "--method", "llm-pruner", "--sparsity", 30),
        *("--seed", 1, *calibration, "--threads", 1, "--output", by_hand),
    )
    assert status == 0, errors
    few = ["--suite", "commonsense-tiny", "--documents-per-task", 3, "--threads", 1]
    assert command("evaluate", "--model", by_hand, *few, "--output", evaluation)[0] == 0
    tokens = adaptprune.calibrate("tiny-llama", "tiny-prose", seed=1, **SMALL)
    how = {"threads": 1}
    pruned = adaptprune.prune(
        "tiny-llama", "llm-pruner", sparsity=30, calibration=tokens, seed=1, runtime=how
    )
    folder = pruned.save(tmp_path / "by_python")
    assert checkpoint.revision(folder) == checkpoint.revision(by_hand)
    records = [read_json(path / "pruning.json") for path in (folder, by_hand)]
    for record in records:
        record.pop("sha256")  # the seal, over times too
    assert record_hash(records[0]) == record_hash(records[1])
    assert pruned.counts == records[1]["counts"]
    written = read_json(evaluation)["results"]
    for row in adaptprune.evaluate(
        pruned, suite="commonsense-tiny", documents_per_task=3, runtime=how
    ).itertuples():
        assert row.value == written[row.task][row.metric]
        assert row.n == written[row.task]["n"]


def test_a_model_of_transformers_is_taken_as_it_is(tmp_path: Path) -> None:
    own = random_model(layers=3)
    pruned = adaptprune.prune(own, Norms(), sparsity=50)
    assert pruned.kept is not None
    assert len(pruned.kept.layers[0].mlp) == 6
    assert own.model.layers[0].mlp.up_proj.out_features == 12
    folder = pruned.save(tmp_path / "saved")
    again = adaptprune.load(str(folder))
    ids = torch.arange(12)[None]
    with torch.no_grad():
        assert torch.equal(pruned.model(ids).logits, again.model(ids).logits)
    twice = adaptprune.prune(pruned, Norms(), sparsity=50)
    assert twice.record["pruned_before"] == "norms"


def test_changed_weights_are_not_called_those_of_the_folder(cache: Path) -> None:
    model = adaptprune.load("tiny-llama")
    assert model.origin()["model_hash"] == model.revision
    model.model.model.embed_tokens.weight.data[0, 0] += 1
    assert model.origin()["model_hash"] != model.revision
    assert model.origin()["model_revision"] is None


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: adaptprune.load(3), "give a built-in id, a folder, a hub id or a causal"),
        (lambda: adaptprune.prune("tiny-llama", "flab", sparsity=20), "did you mean 'flap'"),
        (lambda: adaptprune.prune("tiny-llama", 3, sparsity=20), "give a name, a file or a method"),
        (
            lambda: adaptprune.prune("tiny-llama", "flap", sparsity=20, calibration=[[1], [1, 2]]),
            "equally long sequences of token ids",
        ),
        (lambda: adaptprune.prune("tiny-llama", "flap", sparsity=200), "outside 1..99"),
        (lambda: adaptprune.evaluate("tiny-llama"), "one of the two"),
        (lambda: adaptprune.evaluate(random_model(), tasks=["tiny_local_place"]), "no tokenizer"),
        (lambda: adaptprune.recover("tiny-llama", "train", "tiny-prose", step=1), "step"),
    ],
)
def test_a_mistake_is_one_line(cache: Path, call: Callable[[], Any], complaint: str) -> None:
    with pytest.raises(UserError, match=complaint) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    pruned = adaptprune.prune(random_model(), Norms(), sparsity=50)
    with pytest.raises(UserError, match="is there already"):
        pruned.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
