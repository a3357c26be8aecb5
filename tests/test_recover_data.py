"""Packing, presets and plans: what a recovery trains on, and what is refused before it."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adaptprune.data.packing import Document, Rows, pack
from adaptprune.errors import UserError
from adaptprune.files.atomic import read_json
from adaptprune.models.tiny import byte_tokenizer
from adaptprune.recovery.plan import Stage, plan_stages
from adaptprune.recovery.presets import find_preset, preset_names
from adaptprune.recovery.registry import find_recovery
from adaptprune.recovery.targets import Target

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.recovery.recipe import Preset

TOKENIZER = byte_tokenizer()
END = TOKENIZER.eos_token_id


def ids(text: str) -> list[int]:
    return TOKENIZER(text, add_special_tokens=False)["input_ids"]


def test_documents_are_joined_by_the_end_of_text(tmp_path: Path) -> None:
    pack({"text": ["abc", "", "de", "fghij"]}, TOKENIZER, 4, tmp_path / "rows")
    rows = Rows.open(tmp_path / "rows", seed=0)
    # a b c . | d e . f | g h i j | and the last end-of-text fills no row.
    assert rows.tokens.tolist() == [
        [*ids("abc"), END],
        [*ids("de"), END, *ids("f")],
        ids("ghij"),
    ]
    assert rows.counted.all()


def test_a_row_belongs_to_one_domain(tmp_path: Path) -> None:
    texts = {"one": ["abc", "defg"], "two": ["hijkl", "mn"]}
    pack(texts, TOKENIZER, 4, tmp_path / "rows")
    rows = Rows.open(tmp_path / "rows", seed=0)
    # a b c . | d e f g | and h i j k | l . m n; the last end-of-text of each fills no row.
    assert (rows.domains, rows.domain.tolist()) == (("one", "two"), [0, 0, 1, 1])
    assert rows.tokens.tolist()[2:] == [ids("hijk"), [*ids("l"), END, *ids("mn")]]
    content = read_json(tmp_path / "rows" / "rows.json")
    second = {"name": "two", "rows": 2, "documents": 2, "tokens": 9, "counted": 9}
    assert content["domains"][1] == second
    assert (content["rows"], content["tokens"]) == (4, 18)


def test_only_the_counted_pieces_of_a_document_count(tmp_path: Path) -> None:
    chat: Document = [("ab", False), ("cd", True), ("e", False)]
    pack({"chat": [chat, [("f", False), ("g", True)], "hi"]}, TOKENIZER, 3, tmp_path / "rows")
    rows = Rows.open(tmp_path / "rows", seed=0)
    # a b c | d e . | f g . | h i .
    assert rows.counted.tolist() == [
        [False, False, True],
        [True, False, False],
        [False, True, True],
        [True, True, True],
    ]
    batch = rows.batch(0, 4)
    assert batch.counted.tolist() == rows.counted[rows.order].tolist()
    assert batch.predictions == 1 + 0 + 2 + 2
    assert rows.take(np.array([3, 1])).tokens.tolist() == [[*ids("hi"), END], [*ids("de"), END]]


def test_cut_keeps_the_end_of_a_chat_and_leaves_text_alone(tmp_path: Path) -> None:
    chat: Document = [("ab", False), ("cdef", True)]
    pack({"both": [chat, "ghijk"]}, TOKENIZER, 10, tmp_path / "rows", cut=4)
    rows = Rows.open(tmp_path / "rows", seed=0)
    assert rows.tokens.tolist() == [[*ids("abc"), END, *ids("ghijk"), END]]
    # The end of what was cut is no end to be learnt.
    assert rows.counted.tolist() == [[False, False, True, False] + [True] * 6]


def test_limit_of_a_domain_is_kept_to_the_token(tmp_path: Path) -> None:
    texts = {"one": ["abc", "defg", "h"], "two": ["ij"]}
    pack(texts, TOKENIZER, 3, tmp_path / "rows", limits={"one": 6})
    rows = Rows.open(tmp_path / "rows", seed=0)
    assert rows.tokens.tolist() == [ids("abc"), [END, *ids("de")], [*ids("ij"), END]]


def test_every_row_comes_once_in_the_order_of_the_seed(tmp_path: Path) -> None:
    texts = {"text": ["a" * 30, "b" * 41, "c" * 50]}
    pack(texts, TOKENIZER, 3, tmp_path / "rows")
    rows, same, other = (Rows.open(tmp_path / "rows", seed) for seed in (0, 0, 1))
    assert sorted(rows.order.tolist()) == list(range(41))
    assert rows.order.tolist() == same.order.tolist() != other.order.tolist()
    drawn = np.concatenate([rows.batch(0, 15).tokens.numpy(), rows.batch(15, 41).tokens.numpy()])
    assert sorted(drawn.tolist()) == sorted(rows.tokens.tolist())


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([], "training data mine: empty, no document holds any text"),
        (["", ""], "training data mine: empty, no document holds any text"),
        (["abcdef"], "training data mine: 7 tokens are there, fewer than one row of 8"),
    ],
)
def test_too_little_text_is_refused(texts: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=message):
        pack({"mine": texts}, TOKENIZER, 8, tmp_path / "rows")
    assert list(tmp_path.iterdir()) == []


def test_tokenizer_that_ends_no_text_is_refused(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(UserError, match="no end-of-text token"):
        pack({"text": ["abc"]}, tokenizer, 2, tmp_path / "rows")


def stages_of(preset: Preset, rows: int, large: int = 100, small: int = 50) -> list[Stage]:
    """Plan a preset for a model of ``large`` parameters, all of which every token meets."""
    shape: Any = SimpleNamespace(parameters=large, compute_parameters=large)
    target = Target(parameters=small)
    method = find_recovery(preset.method)
    return plan_stages(preset, rows, lambda used: method.plan(preset, used, shape, target))


def test_plain_preset_is_what_the_released_scripts_do() -> None:
    preset = find_preset("adapt-accel")
    chosen = find_recovery(preset.method).parse(preset.parameters)
    assert (chosen.interleaves, preset.sequence_length, preset.batch) == (20, 1024, 128)
    assert (preset.peak_learning_rate, preset.minimum_learning_rate) == (2e-5, 0.0)
    assert (chosen.schedule, preset.handover, chosen.carry_moments) == ("linear", 0.99, False)
    assert (chosen.pruner.count_steps(100), chosen.pruner.increment(100)) == (50, 0.02)
    assert chosen.pruner.amplitude == 0.02


def test_every_preset_is_valid() -> None:
    assert [find_preset(name).name for name in preset_names()] == preset_names()
    assert find_preset("prune-then-train").parameters["interleaves"] == 1
    assert find_preset("adapt-accel-paper").minimum_learning_rate == 2e-6


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("none", {}, "preset 'none' trains nothing"),
        ("adapt-acel", {}, "unknown recovery preset 'adapt-acel'; did you mean 'adapt-accel'"),
        ("train", {"bach": 2}, "unknown key of recovery preset train 'bach'; did you mean 'batch'"),
        ("train", {"batch": 0}, "recovery preset train: batch: "),
        ("train", {"interleaves": 2}, "unknown key of recovery preset train 'interleaves'"),
        ("adapt-accel", {"pruner": {"amplitud": 1}}, "adapt-accel: pruner.amplitud: "),
        ("adapt-accel", {"interleaves": 0}, "adapt-accel: interleaves: "),
        ("train", {"method": "adapt-accel"}, "unknown key of recovery preset train 'method'"),
        ("train", {"tokens": 100, "flops": 1e6}, "give tokens or flops, not both"),
        ("train", {"minimum_learning_rate": 0.1}, "must not exceed peak_learning_rate"),
    ],
)
def test_wrong_preset_is_refused(name: str, overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_preset(name, overrides)


def test_plan_by_hand() -> None:
    overrides = {"interleaves": 3, "batch": 4, "sequence_length": 10, "handover": 0.5}
    preset = find_preset("adapt-accel", overrides)
    stages = stages_of(preset, rows=60, large=1000, small=400)
    # Shares of 60 rows: 10, 20 and 30; steps of 4 rows, the last one of a stage may be smaller.
    assert [stage.target for stage in stages] == [800, 600, 400]
    assert [(stage.start, stage.stop) for stage in stages] == [(0, 10), (10, 30), (30, 60)]
    assert [stage.steps for stage in stages] == [3, 5, 8]
    assert [stage.first_step for stage in stages] == [0, 3, 8]
    assert [stage.trained_steps for stage in stages] == [1, 2, 4]
    assert [stage.trained_rows(4) for stage in stages] == [4, 8, 16]
    assert [stage.schedule_step for stage in stages] == [0, 3, 8]
    assert {stage.schedule_steps for stage in stages} == {16}


def test_last_step_that_is_not_full_counts_its_rows() -> None:
    preset = find_preset("train", {"batch": 4, "sequence_length": 10})
    (stage,) = stages_of(preset, rows=10)
    assert (stage.steps, stage.trained_steps, stage.trained_rows(4)) == (3, 3, 10)


def test_tokens_of_a_preset_bound_the_data() -> None:
    preset = find_preset("train", {"tokens": 105, "sequence_length": 10, "batch": 2})
    assert stages_of(preset, rows=60)[0].stop == 10
    with pytest.raises(UserError, match="105 tokens are asked for, the data hold 90"):
        stages_of(preset, rows=9)


def test_flops_of_a_preset_bound_the_data() -> None:
    changes = {"sequence_length": 10, "batch": 2, "interleaves": 2}
    # A third of the rows is trained at 75 parameters, the rest at 50: 60 rows cost
    # 6 · 10 · (20 · 75 + 40 · 50) = 210,000, and every three more rows 10,500.
    for flops, rows in ((210_000, 60), (220_499, 60 + 2), (220_500, 63)):
        stages = stages_of(find_preset("adapt-accel", changes | {"flops": flops}), rows=90)
        assert stages[-1].stop == rows, flops
    with pytest.raises(UserError, match=r"400000 FLOPs are asked for, all data pay for 3\.15e"):
        stages_of(find_preset("adapt-accel", changes | {"flops": 400_000}), rows=90)


def test_too_few_tokens_for_one_step_per_stage_are_refused() -> None:
    preset = find_preset("adapt-accel", {"interleaves": 4, "batch": 4, "sequence_length": 10})
    # The first of 4 stages gets a tenth of the rows.
    assert stages_of(preset, rows=40)[0].steps == 1
    message = "too few tokens.*stage 1 of 4 gets 3 rows of 10, one step takes 4; about 520 tokens"
    with pytest.raises(UserError, match=message):
        stages_of(preset, rows=39)


@given(
    rows=st.integers(1, 10**6),
    interleaves=st.integers(1, 30),
    batch=st.integers(1, 300),
    handover=st.floats(0.01, 1),
)
def test_stages_tile_the_data_and_the_steps(
    rows: int, interleaves: int, batch: int, handover: float
) -> None:
    settings = {"interleaves": interleaves, "batch": batch, "handover": handover}
    preset = find_preset("adapt-accel", settings)
    rows += batch * (interleaves + 1) ** 2
    stages = stages_of(preset, rows, large=10**9, small=10**8)
    assert (stages[0].start, stages[-1].stop, stages[0].first_step) == (0, rows, 0)
    for before, after in itertools.pairwise(stages):
        assert after.start == before.stop
        assert after.first_step == before.first_step + before.steps
    for stage in stages:
        assert (stage.steps - 1) * batch < stage.stop - stage.start <= stage.steps * batch
        assert 1 <= stage.trained_steps <= stage.steps
