"""Other people's folders: pruned, measured and evaluated as plain transformers and lm-eval do."""

from __future__ import annotations

import copy
import json
import math
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from byte_tokenizers import bytes_tokenizer
from folders import GROUPS, METHODS, Folder
from lm_eval.models.huggingface import HFLM
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from adaptprune.evaluation.scorer import PrefixScorer
from adaptprune.models.catalogue import shape_of
from adaptprune.models.shapes import FAMILIES
from adaptprune.models.tying import is_tied
from baselines import slicegpt

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Command = Callable[..., tuple[int, str, str]]

ROWS = torch.randint(256, (3, 40), generator=torch.Generator().manual_seed(2))
TASKS = "tiny_local_place,tiny_local_prose"
KINDS = ("loglikelihood", "loglikelihood_rolling")
FOLDERS = [
    pytest.param(folder, id=folder.name, marks=pytest.mark.xdist_group(f"folders of {group}"))
    for group, folders in GROUPS.items()
    for folder in folders
]
PRUNED = [row for row in FOLDERS if row.values[0].family in FAMILIES and not row.values[0].prune]


class Alone(HFLM):
    """lm-eval's own model, shown every text by itself as the first that it reads."""

    def __init__(self, model: Any, tokenizer: Any, window: int):
        # Stock ties again whatever the config calls tied, though transformers loaded two weights.
        model.config.tie_word_embeddings = is_tied(model)
        super().__init__(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=window)

    def _model_call(self, inps: torch.Tensor, *_: Any, **__: Any) -> torch.Tensor:
        return logits(self.model, inps)


def logits(model: Any, tokens: torch.Tensor) -> torch.Tensor:
    """Return the logits of texts [rows, length], each the first that a model reads."""
    with torch.no_grad():
        return torch.cat(
            [copy.deepcopy(model)(row[None], use_cache=False).logits for row in tokens]
        )


def plain(folder: Path) -> Any:
    """Load a folder as anybody does."""
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()


def mean_loss(model: Any) -> float:
    """Return the mean cross-entropy of the rows in nats."""
    found = logits(model, ROWS)[:, :-1].flatten(0, 1)
    return torch.nn.functional.cross_entropy(found, ROWS[:, 1:].flatten()).item()


def silenced(dense: Any, kept: list[dict[str, list[int]]], cut: Any) -> Any:
    """Return the dense model with removed units set to zero and the biases of the cut model."""
    model = copy.deepcopy(dense)
    for layer, units, other in zip(model.model.layers, kept, cut.model.layers, strict=True):
        attention, size = layer.self_attn, layer.self_attn.head_dim
        heads = torch.zeros(attention.o_proj.in_features)
        for head in units["q_heads"]:
            heads[head * size : (head + 1) * size] = 1
        neurons = torch.zeros(layer.mlp.down_proj.in_features)
        neurons[units["mlp"]] = 1
        attention.o_proj.weight.data *= heads
        layer.mlp.down_proj.weight.data *= neurons
        attention.o_proj.bias = other.self_attn.o_proj.bias
        layer.mlp.down_proj.bias = other.mlp.down_proj.bias
    return model


def refused(run: tuple[int, str, str], words: str) -> None:
    """Check that a command ended in one line with some words."""
    status, out, err = run
    assert (status, out) == (2, "")
    lines = err.strip().splitlines()
    assert lines[-1].startswith("error: ")
    assert "Traceback" not in err
    assert re.search(words, lines[-1]), err


def check_loss(command: Command, model: Path, work: Path, wanted: Any, words: str = "") -> None:
    """Check what ``loss`` says of a folder."""
    tokens = work / "tokens.json"
    tokens.write_text(json.dumps(ROWS.tolist()), encoding="utf-8")
    run = command("loss", "--model", model, "--tokens", tokens)
    if words:
        return refused(run, words)
    assert run[0] == 0, run[2]
    assert json.loads(run[1])["loss"] == pytest.approx(mean_loss(wanted), abs=2e-5)


def check_evaluation(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    folder: Folder,
    model: Path,
    work: Path,
    words: str = "",
) -> None:
    """Check each request that ``evaluate`` scores against lm-eval's own model."""
    asked: dict[str, tuple[list[Any], list[Any]]] = {}
    with monkeypatch.context() as patch:
        for kind in KINDS:
            method = getattr(PrefixScorer, kind)

            def record(
                self: Any, requests: list[Any], *rest: Any, kind: str = kind, method: Any = method
            ) -> Any:
                asked[kind] = (requests, method(self, requests, *rest))
                return asked[kind][1]

            patch.setattr(PrefixScorer, kind, record)
        window = ("--max-length", folder.window) if folder.window else ()
        output = ("--limit", 2, "--output", work / "scores.json")
        run = command("evaluate", "--model", model, "--tasks", TASKS, *window, *output)
    if words:
        return refused(run, words)
    assert run[0] == 0, run[2]
    written = json.loads((work / "scores.json").read_text(encoding="utf-8"))
    assert written["conditions"]["max_length"] == folder.takes
    tokenizer = (
        AutoTokenizer.from_pretrained(model)
        if folder.seen_as is None
        else bytes_tokenizer(**folder.seen_as)
    )
    stock = Alone(plain(model), tokenizer, folder.takes)
    assert set(asked) == set(KINDS)
    for kind, (requests, scored) in asked.items():
        theirs = getattr(stock, kind)(requests, disable_tqdm=True)
        for ours, wanted in zip(scored, theirs, strict=True):
            if kind == "loglikelihood":
                assert ours[0] == pytest.approx(wanted[0], abs=2e-3)
                assert ours[1] == wanted[1]
            else:
                assert ours == pytest.approx(wanted, abs=2e-2)


def prune(
    command: Command, model: Path, method: str, work: Path, sparsity: int | None = None
) -> tuple[int, str, str]:
    """Prune a folder with token ids of its own vocabulary."""
    tokens = work / "calibration.json"
    drawn = torch.randint(256, (4, 32), generator=torch.Generator().manual_seed(1))
    tokens.write_text(json.dumps(drawn.tolist()), encoding="utf-8")
    usual, settings = METHODS[method]
    given = ("--sparsity", sparsity or usual, *(p for s in settings for p in ("--set", s)))
    where = ("--calibration", tokens, "--seed", 0, "--output", work / method)
    return command("prune", "--model", model, "--method", method, *given, *where)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_folder_is_measured_as_transformers_and_lm_eval_do(
    folder: Folder, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder.write(tmp_path / "model")
    check_loss(command, model, tmp_path, None if folder.loss else plain(model), folder.loss)
    check_evaluation(command, monkeypatch, folder, model, tmp_path, folder.evaluate)
    if folder.prune:
        refused(prune(command, model, "magnitude", tmp_path), folder.prune)
        assert not (tmp_path / "magnitude").exists()


@pytest.mark.parametrize("folder", PRUNED)
def test_a_pruned_folder_is_the_dense_model_without_its_units(
    folder: Folder, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = folder.write(tmp_path / "model")
    dense = plain(model)
    assert shape_of(str(model)).parameters == sum(p.numel() for p in dense.parameters())
    for method in METHODS:
        status, _, err = prune(command, model, method, tmp_path)
        assert status == 0, err
        out = tmp_path / method
        loaded = plain(out)
        counts = json.loads((out / "pruning.json").read_text(encoding="utf-8"))["counts"]
        assert counts["params_dense"] == sum(p.numel() for p in dense.parameters())
        assert counts["params"] == sum(p.numel() for p in loaded.parameters())
        stored = [
            tensor for file in out.glob("*.safetensors") for tensor in load_file(file).values()
        ]
        assert counts["params"] == sum(math.prod(tensor.shape) for tensor in stored)
        if method != "slicegpt":
            kept = json.loads((out / "kept.json").read_text(encoding="utf-8"))["layers"]
            wanted = silenced(dense, kept, loaded)
            torch.testing.assert_close(
                logits(loaded, ROWS), logits(wanted, ROWS), atol=2e-3, rtol=1e-3
            )
        check_loss(command, out, tmp_path, loaded)
        if not folder.evaluate and method in ("flap", "slicegpt"):  # the two classes of our own
            check_evaluation(command, monkeypatch, folder, out, tmp_path)


@pytest.mark.parametrize("folder", PRUNED)
def test_a_folder_sliced_to_its_own_width_is_the_dense_model(
    folder: Folder, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rotation alone changes nothing, whatever the positions, windows, biases and head."""
    model = folder.write(tmp_path / "model")
    dense = plain(model)
    monkeypatch.setattr(slicegpt, "sliced_width", lambda hidden, *_: hidden)
    exact = ("embedding_mean=corrected", "norm_epsilon=corrected")
    monkeypatch.setitem(METHODS, "slicegpt", (10, exact))
    status, _, err = prune(command, model, "slicegpt", tmp_path)
    assert status == 0, err
    sliced = plain(tmp_path / "slicegpt")
    torch.testing.assert_close(logits(sliced, ROWS), logits(dense, ROWS), atol=5e-3, rtol=1e-3)
    # The components are those of what the layers really give, sliding windows included.
    tokens = torch.tensor(json.loads((tmp_path / "calibration.json").read_text(encoding="utf-8")))
    outputs: list[torch.Tensor] = []
    dense.model.norm.register_forward_pre_hook(lambda _, inputs: outputs.append(inputs[0]))
    logits(dense, tokens)
    last = json.loads((tmp_path / "slicegpt" / "pruning.json").read_text(encoding="utf-8"))["steps"]
    wanted = 1.01 * torch.cat(outputs).double().square().sum().item()  # damping adds a hundredth
    assert last[-1]["eigenvalue_sum"] == pytest.approx(wanted, rel=1e-4)
