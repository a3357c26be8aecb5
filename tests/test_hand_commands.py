"""Commands by hand with ``--profile`` give the workflow's numbers, and say what they take."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
import pytest
from test_cli import refused

from adaptprune.commands.profiles import Taken
from adaptprune.errors import UserError
from adaptprune.workflow.profiles import load_profile

if TYPE_CHECKING:
    from collections.abc import Callable

    Command = Callable[..., tuple[int, str, str]]

CONFIG = Path(__file__).parent.parent / "config"
PROFILE = ("--profile", "tiny", "--config-folder", CONFIG)


def workflow_flags(calibration: Path, method: str) -> list[object]:
    """Return the options that the rules of the workflow give ``score`` and ``prune``."""
    profile = load_profile(CONFIG, "tiny")
    flags: list[object] = ["--calibration", calibration]
    for key, value in profile.settings_of(method).parameters.items():
        flags += ["--set", f"{key}={json.dumps(value)}"]
    return [*flags, "--dtype", "float32", "--device", "cpu", "--threads", 1]


@pytest.fixture
def calibration(command: Command, tmp_path: Path) -> Path:
    """The set that the workflow draws."""
    drawn = tmp_path / "calibration.json"
    size = ("--dataset", "tiny-prose", "--sequences", 8, "--length", 32, "--seed", 1)
    status, _, err = command("calibrate", "--model", "tiny-llama", *size, "--output", drawn)
    assert status == 0, err
    return drawn


@pytest.mark.parametrize("method", ["adapt-pruner", "flap@corrected", "llm-pruner", "slicegpt"])
def test_prune_by_hand_keeps_what_the_workflow_keeps(
    command: Command, tmp_path: Path, calibration: Path, method: str
) -> None:
    """The workflow prunes from a drawn file and, where there are some, from shared scores."""
    cell = ("--model", "tiny-llama", "--method", method, "--seed", 1)
    flags = workflow_flags(calibration, method)
    if load_profile(CONFIG, "tiny").shares_scores(method):
        scores = tmp_path / "scores.safetensors"
        status, _, err = command(
            "score", *cell, "--sparsities", "20,40", *flags, "--output", scores
        )
        assert status == 0, err
        flags += ["--scores", scores]
    theirs, ours = tmp_path / "workflow", tmp_path / "hand"
    assert command("prune", *cell, "--sparsity", 40, *flags, "--output", theirs)[0] == 0
    status, out, err = command("prune", *cell, "--sparsity", 40, *PROFILE, "--output", ours)
    assert (status, out) == (0, "")
    said = "calibration: 8 sequences of 32 tokens of tiny-prose (profile tiny)"
    assert sum(said in line for line in err.splitlines()) == 1
    for name in ("kept.json", "model.safetensors"):
        assert (ours / name).read_bytes() == (theirs / name).read_bytes()
    records = [json.loads((folder / "pruning.json").read_text()) for folder in (ours, theirs)]
    for key in ("parameters", "calibration", "dtype", "device", "threads", "counts", "variant"):
        assert records[0][key] == records[1][key], key


def test_calibrate_and_score_by_hand_make_the_workflow_s_files(
    command: Command, tmp_path: Path, calibration: Path
) -> None:
    drawn = tmp_path / "drawn.json"
    cell = ("--model", "tiny-llama", "--seed", 1)
    assert command("calibrate", *cell, *PROFILE, "--output", drawn)[0] == 0
    assert drawn.read_bytes() == calibration.read_bytes()
    flags = {"theirs": workflow_flags(calibration, "llm-pruner"), "ours": PROFILE}
    found = {}
    for name, given in flags.items():
        scores = tmp_path / f"{name}.safetensors"
        options = ("--method", "llm-pruner", "--sparsities", "20,40")
        status, _, err = command("score", *cell, *options, *given, "--output", scores)
        assert status == 0, err
        from safetensors.torch import load_file

        found[name] = load_file(scores)
    assert found["ours"].keys() == found["theirs"].keys()
    assert all((found["ours"][key] == found["theirs"][key]).all() for key in found["ours"])


def test_evaluate_by_hand_scores_what_the_workflow_scores(command: Command, tmp_path: Path) -> None:
    theirs, ours = tmp_path / "workflow.json", tmp_path / "hand.json"
    suite = "--suite commonsense-tiny --max-length 512 --batch auto --documents-per-task 12"
    flags = shlex.split(f"{suite} --perplexity-documents 6 --token-perplexity 32")
    flags += shlex.split("--dtype float32 --device cpu --threads 1")
    model = ("--model", "tiny-llama")
    assert command("evaluate", *model, *flags, "--output", theirs)[0] == 0
    status, out, err = command("evaluate", *model, *PROFILE, "--output", ours)
    assert (status, out) == (0, "")
    (line,) = [line for line in err.splitlines() if "profile tiny" in line]
    assert "suite commonsense-tiny" in line
    assert "12 documents of each task" in line
    assert "perplexity over 6 documents" in line
    records = [json.loads(path.read_text()) for path in (ours, theirs)]
    for key in ("results", "conditions", "suite", "status"):
        assert records[0][key] == records[1][key], key
    documents = [pd.read_parquet(path.with_suffix(".parquet")) for path in (ours, theirs)]
    pd.testing.assert_frame_equal(*documents)


def test_an_option_wins_over_the_profile(command: Command, tmp_path: Path) -> None:
    cell = ("--model", "tiny-llama", "--method", "adapt-pruner", "--seed", 0, "--sparsity", 20)
    given = ("--sequences", 4, "--set", "amplitude=0.1", "--threads", 2)
    status, _, err = command("prune", *cell, *PROFILE, *given, "--output", tmp_path / "out")
    assert status == 0, err
    record = json.loads((tmp_path / "out" / "pruning.json").read_text())
    drawn, parameters = record["calibration"], record["parameters"]
    assert (drawn["dataset"], drawn["sequences"], drawn["length"]) == ("tiny-prose", 4, 32)
    assert (parameters["step_size"], parameters["amplitude"]) == (10, 0.1)
    assert record["threads"] == 2
    assert "calibration: 4 sequences of 32 tokens of tiny-prose (profile tiny)" in err
    assert "parameters: step_size=10 (profile tiny)" in err


def test_a_parameter_of_the_profile_is_taken_away_by_null() -> None:
    taken = Taken("tiny", CONFIG)
    given = {"steps": 5, "step_size": None}
    assert taken.parameters("adapt-pruner", given) == {"steps": 5, "amplitude": 0.05}
    assert Taken(None, CONFIG).parameters("adapt-pruner", given) == given


def test_a_limit_takes_the_place_of_the_profile_s_subset() -> None:
    options: dict[str, Any] = dict.fromkeys(
        ("suite", "tasks", "documents_per_task", "perplexity_documents", "token_perplexity")
    )
    options |= dict.fromkeys(("max_length", "window_limit", "batch", "scorer_precision"))
    chosen = Taken("tiny", CONFIG).evaluation(**options, limit=3)
    assert (chosen.suite, chosen.documents_per_task) == ("commonsense-tiny", None)
    chosen = Taken("tiny", CONFIG).evaluation(**options, limit=None)
    assert (chosen.documents_per_task, chosen.perplexity_documents) == (12, 6)
    assert (chosen.window_limit, chosen.token_perplexity) == (512, [32])
    short = options | {"max_length": 16}
    assert Taken("tiny", CONFIG).evaluation(**short, limit=None).token_perplexity == []
    named = options | {"tasks": "arc_easy"}
    assert Taken("tiny", CONFIG).evaluation(**named, limit=None).documents_per_task is None
    with pytest.raises(UserError, match=r"give --suite NAME or --tasks a,b .* or --profile NAME"):
        Taken(None, CONFIG).evaluation(**options, limit=None)


def test_without_a_profile_the_defaults_are_said(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = ("--model", "tiny-llama")
    few = ("--suite", "commonsense-tiny", "--documents-per-task", 3)
    status, _, err = command("evaluate", *model, *few, "--output", tmp_path / "scores.json")
    assert status == 0
    assert "perplexity over all 30 documents (default)" in err, "it is what takes the time"
    taken = Taken(None, CONFIG)
    taken.calibration(None, None, None, None, "adapt-pruner")
    taken.say()
    said = "calibration: 32 sequences of 64 tokens of bigbench-prose (default)\n"
    assert capsys.readouterr().err == said
    taken.say()
    assert capsys.readouterr().err == "", "once"


def test_what_is_given_is_not_said_to_be_taken(
    command: Command, tmp_path: Path, calibration: Path
) -> None:
    cell = ("--model", "tiny-llama", "--method", "llm-pruner", "--seed", 0, "--sparsity", 20)
    output = ("--output", tmp_path / "out")
    status, _, err = command("prune", *cell, "--calibration", calibration, *output)
    assert (status, err) == (0, f"wrote {tmp_path / 'out'}\n")


def test_a_method_without_calibration_takes_none(command: Command, tmp_path: Path) -> None:
    cell = ("--model", "tiny-llama", "--method", "magnitude", "--seed", 0, "--sparsity", 20)
    status, _, err = command("prune", *cell, *PROFILE, "--output", tmp_path / "out")
    assert status == 0
    assert "calibration" not in err


def test_the_name_of_a_variant_alone_is_refused(command: Command, tmp_path: Path) -> None:
    """It would be the plain method under another name."""
    cell = ("--model", "tiny-llama", "--method", "flap@corrected", "--seed", 0, "--sparsity", 20)
    line = refused(command("prune", *cell, "--output", tmp_path / "out"))
    assert "the name of a variant alone changes nothing" in line
    line = refused(command("prune", *cell, *PROFILE[:1], "tinny", *PROFILE[2:], "--output", "out"))
    assert "did you mean 'tiny'" in line


def test_sensitivity_and_measure_take_a_profile(command: Command, tmp_path: Path) -> None:
    model, output = ("--model", "tiny-llama"), ("--output", tmp_path / "out.json")
    status, _, err = command("sensitivity", *model, *PROFILE, "--window", 32, *output)
    assert status == 0, err
    assert "suite commonsense-tiny (profile tiny); perplexity over 6 documents" in err
    dense = ("--dense", "tiny-llama", "--output", tmp_path / "speed.json")
    status, _, err = command("measure", *model, *PROFILE, *dense)
    assert status == 0, err
    assert "batch 1, prompt of 16 tokens and 4 more, 3 rounds (profile tiny)" in err
    workload = json.loads((tmp_path / "speed.json").read_text())["workload"]
    assert (workload["prompt"], workload["new_tokens"], workload["rounds"]) == (16, 4, 3)


def test_a_recovery_of_the_profile_is_trained_by_hand(command: Command, tmp_path: Path) -> None:
    recovery = ("--recovery", "prune-train", "--set", "tokens=1024")
    status, out, err = command("recover", *PROFILE, *recovery, "--output", tmp_path / "out")
    assert (status, out) == (0, "")
    first, second, *_ = err.splitlines()
    assert first.startswith("recovery prune-train: prune-then-train of tiny-llama on tiny-prose, ")
    assert "calibration: 8 sequences of 32 tokens of tiny-prose (profile tiny)" in first
    assert second.startswith(
        "training: 1,024 tokens in 8 steps of 4 rows of 32 tokens, 1 stage; estimated time "
    )
    record = json.loads((tmp_path / "out" / "recovery.json").read_text())
    config = load_profile(CONFIG, "tiny").recovery("prune-train")
    expected = config.recipe.model_dump(mode="json") | {"tokens": 1024}
    assert record["conditions"]["preset"] == expected
    assert config.outcome is not None
    assert record["conditions"]["target"]["parameters"] == config.outcome.parameters
    assert record["tokens"] == 1024


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--recovery", "accel"), "--recovery accel: give the profile that has it"),
        ((*PROFILE, "--recovery", "acel"), "did you mean 'accel'"),
        ((*PROFILE, "--recovery", "accel", "--preset", "train"), "--preset NAME or --recovery"),
        ((*PROFILE, "--model", "tiny-llama", "--preset", "train"), "give --data NAME, or a"),
        (("--preset", "train", "--data", "tiny-prose"), "give --model NAME, or a recovery"),
    ],
)
def test_what_is_trained_must_be_said_once(
    command: Command, tmp_path: Path, options: tuple[object, ...], told: str
) -> None:
    assert told in refused(command("recover", *options, "--output", tmp_path / "out"))


def test_the_workflow_s_rules_take_the_same_settings_as_a_profile_by_hand() -> None:
    """Whatever a rule gives as options is what ``--profile`` takes, in every profile there is."""
    for path in sorted(CONFIG.glob("*.yaml")):
        if path.stem == "base":
            continue
        profile = load_profile(CONFIG, path.stem)
        taken = Taken(path.stem, CONFIG)
        for method in [*profile.methods, *(name for name in profile.settings if "@" in name)]:
            drawn, expected = (
                taken.calibration(None, None, None, None, method),
                profile.calibration_of(method),
            )
            assert drawn[:3] == (expected.dataset, expected.sequences, expected.length)
            assert taken.parameters(method, {}) == profile.settings_of(method).parameters
        assert taken.runtime(None, None, None, None) == (
            profile.dtype,
            profile.device,
            profile.threads,
            profile.trust_remote_code,
        )
