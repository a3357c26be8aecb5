"""The pocket family's rule, on a family of a few thousand parameters; what the family declares."""

from __future__ import annotations

import itertools
import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file
from test_cli import refused

from adaptprune.data.texts import corpora
from adaptprune.errors import UserError
from adaptprune.files.manifest import verify_folder
from adaptprune.models import catalogue as catalogue_module
from adaptprune.models import checkpoint
from adaptprune.models.catalogue import ModelEntry, catalogue, pretrained_name, shape_of
from adaptprune.recovery import pretraining as pretrained
from adaptprune.recovery.loop import _Training

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = 300
FAMILY = {name: catalogue()[f"pocket-{name}"] for name in ("10m", "6m", "3m", "1m")}


def entry(**changes: Any) -> ModelEntry:
    """Return the declaration of a model of some 6,000 parameters that is trained for 12 steps."""
    source: dict[str, Any] = {
        "kind": "pretrained",
        "corpus": "tiny-prose",
        "vocabulary": VOCABULARY,
        "seed": 3,
        "training": {
            "tokens": 768,
            "sequence_length": 16,
            "batch": 4,
            "peak_learning_rate": 1e-2,
        },
    }
    architecture = {
        "model_type": "llama",
        "hidden_size": 12,
        "intermediate_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 4,
        "vocab_size": VOCABULARY,
        "max_position_embeddings": 32,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    return ModelEntry(
        id="pocket-test",
        source=source | changes,
        figures_from="made up",
        architecture=architecture,
    )


@pytest.fixture
def made(cache: Path, tmp_path: Path) -> Path:
    target = tmp_path / "models" / "made"
    pretrained.write_pretrained_model(entry(), target)
    return target


def test_a_pretrained_model_is_a_model_folder_with_its_tokenizer(made: Path, cache: Path) -> None:
    model, tokenizer = checkpoint.load_model(made), checkpoint.load_tokenizer(made)
    assert checkpoint.count_parameters(model) == shape_of(str(made)).parameters
    assert len(tokenizer) == VOCABULARY
    assert tokenizer.eos_token_id == model.config.eos_token_id == 0
    text = "Ada hid the lamp, didn't she?  Ümläut …"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    record = json.loads((made / pretrained.RECORD).read_text())
    assert (record["tokens"], record["steps"]) == (768, 12)
    assert sum(record["losses"][-3:]) < sum(record["losses"][:3])
    assert not list((cache / "pretraining").iterdir()), "the state of the training is removed"


def test_half_of_the_bytes_hold_the_weights_that_are_computed_with(
    cache: Path, tmp_path: Path
) -> None:
    recipe = {"preset": "pretrain", "tokens": 384, "epochs": 2, "sequence_length": 16, "batch": 4}
    declared, target = entry(training=recipe), tmp_path / "made"
    assert declared.training_tokens == 768
    pretrained.write_pretrained_model(declared, target)
    stored = load_file(target / "model.safetensors")
    assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
    model = checkpoint.load_model(target)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert torch.equal(model.model.norm.weight, stored["model.norm.weight"].float())
    assert len(json.loads((target / pretrained.RECORD).read_text())["losses"]) == 12


def test_a_model_that_comes_with_the_package_is_not_trained(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue_module, "catalogue", lambda: {"pocket-test": entry()})
    monkeypatch.setattr(catalogue_module, "SHIPPED", tmp_path / "shipped")
    shutil.copytree(made, tmp_path / "shipped" / pretrained_name(entry()))
    monkeypatch.setattr(pretrained, "write_pretrained_model", None)
    folder = catalogue_module.locate("pocket-test")
    assert folder.parent == tmp_path / "shipped"
    assert checkpoint.revision(folder) == checkpoint.revision(made)


def test_pretraining_gives_the_same_bytes_again(made: Path, tmp_path: Path) -> None:
    again = tmp_path / "again"
    pretrained.write_pretrained_model(entry(), again)
    assert checkpoint.revision(again) == checkpoint.revision(made)


def test_a_killed_pretraining_goes_on_and_ends_with_the_same_bits(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    step = _Training._step

    def counted(self: Any) -> dict[str, Any]:
        row = step(self)
        steps.append(row["step"])
        if len(steps) == 8:
            raise KeyboardInterrupt
        return row

    monkeypatch.setattr(_Training, "_step", counted)
    monkeypatch.setattr(pretrained, "CHECKPOINT_EVERY", 5)
    target = tmp_path / "killed"
    with pytest.raises(KeyboardInterrupt):
        pretrained.write_pretrained_model(entry(), target)
    assert not target.exists()
    pretrained.write_pretrained_model(entry(), target)
    assert steps == [*range(1, 9), *range(6, 13)], "it goes on from its last checkpoint"
    first, second = (load_file(folder / "model.safetensors") for folder in (made, target))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def test_what_is_not_pretrained_here_is_refused_in_one_line(command: Any, tmp_path: Path) -> None:
    run = command("pretrain", "--model", "smollm2-135m", "--output", tmp_path / "new")
    assert "model smollm2-135m is not pretrained here (allowed: pocket-" in refused(run)
    run = command("pretrain", "--model", "pocket-1m", "--output", tmp_path)
    assert f"{tmp_path} exists" in refused(run)
    run = command("fetch", "--model", "smollm2-100m", "--output", tmp_path / "note.json")
    assert "smollm2-100m is a shape to cut other models to" in refused(run)


def test_every_part_of_a_declaration_is_in_the_name_of_its_folder() -> None:
    names = {
        pretrained_name(declared)
        for declared in (
            entry(),
            entry(seed=4),
            entry(vocabulary=301),
            entry(training={"tokens": 769}),
            entry(corpus="bigbench-training"),
        )
    }
    assert len(names) == 5


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocabulary": 299}, r"vocab_size 300 is not the vocabulary of its tokenizer \(299\)"),
        ({"vocabulary": 5000}, "yields a vocabulary of .* tokens, not 5000"),
        ({"training": {"tokens": 768, "sequence_length": 64}}, "beyond the model's window of 32"),
    ],
)
def test_a_wrong_declaration_is_one_line(
    cache: Path, tmp_path: Path, changes: dict[str, Any], words: str
) -> None:
    declared = entry(**changes)
    target = tmp_path / pretrained_name(declared)
    with pytest.raises(UserError, match=words) as error:
        pretrained.write_pretrained_model(declared, target)
    assert "\n" not in str(error.value)
    assert not target.exists()


def test_members_of_the_pocket_family_have_the_sizes_of_their_names() -> None:
    for name, member in FAMILY.items():
        millions = shape_of(member.id).parameters / 1e6
        assert round(millions) == int(name.removesuffix("m"))


def test_a_pocket_model_can_be_cut_to_the_shape_of_the_next() -> None:
    for large, small in itertools.pairwise(shape_of(member.id) for member in FAMILY.values()):
        assert (large.vocab_size, large.head_dim) == (small.vocab_size, small.head_dim)
        assert large.queries_per_kv_head == small.queries_per_kv_head
        assert large.hidden_size > small.hidden_size
        assert len(large.blocks) > len(small.blocks) or large.blocks[0] != small.blocks[0]
        assert large.blocks[0].kv_heads > small.blocks[0].kv_heads
        assert large.blocks[0].intermediate_size > small.blocks[0].intermediate_size


def test_the_pocket_family_shares_text_and_tokenizer() -> None:
    sources = [member.source.model_dump() for member in FAMILY.values()]
    rates = [source.pop("training")["peak_learning_rate"] for source in sources]
    assert all(source == sources[0] for source in sources)
    assert rates == sorted(rates), "the wider, the slower"
    corpus: Any = corpora()[sources[0]["corpus"]]
    assert (corpus.kind, corpus.split) == ("bigbench", "training")


def test_what_is_pretrained_before_a_table_fits_a_laptop() -> None:
    """At 50 GFLOP/s on one core, 6 operations per parameter and token."""
    operations = sum(
        6 * shape_of(member.id).parameters * (member.training_tokens or 0)
        for member in FAMILY.values()
        if not catalogue_module.is_shipped(member.id)
    )
    assert operations / 50e9 / 60 < 45, "minutes of one core"


def test_what_comes_with_the_package_is_what_is_declared() -> None:
    names = {pretrained_name(member): member for member in FAMILY.values()}
    shipped = sorted(folder for folder in catalogue_module.SHIPPED.glob("*") if folder.is_dir())
    assert {folder.name for folder in shipped} <= names.keys(), "made from another declaration"
    files = [file for folder in shipped for file in folder.iterdir()]
    assert sum(file.stat().st_size for file in files) < 22e6
    for folder in shipped:
        verify_folder(folder)
        weights = load_file(folder / "model.safetensors")
        assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
        declared = names[folder.name]
        record = json.loads((folder / pretrained.RECORD).read_text())
        assert record["tokens"] == declared.training_tokens
        assert len(record["losses"]) == record["steps"]
        assert record["losses"][-1] < record["losses"][0]
