"""AST with dynamic batch loading: which rows are drawn, what is remembered, and what is not."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from recovery_examples import assert_same_weights, log_without_times, recovery
from sheared_examples import DOMAINS, TwoDomains, sources

from adaptprune.errors import UserError
from adaptprune.papers.sparse_trainer.parameters import SparseTrainerParameters
from adaptprune.recovery.dynamic_batches import updated_weights
from adaptprune.recovery.loop import _Training
from adaptprune.recovery.stage import recover_stage

if TYPE_CHECKING:
    from pathlib import Path

LOADING = {"every": 4, "held_out_rows": 3}


def job(folder: Path, loading: dict[str, Any] | None = LOADING) -> TwoDomains:
    """Return a training of 20 steps on two domains."""
    settings = {"update_every": 3, "tokens": 80 * 16, "loading": loading}
    made = recovery(folder, preset="ast-naive", model=folder / "model", **settings)
    return TwoDomains(**{f.name: getattr(made, f.name) for f in dataclasses.fields(made)})


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with model, text and an undisturbed training."""
    folder = sources(tmp_path_factory.mktemp("loading"))
    recover_stage(job(folder), folder / "out", folder / "run")
    return folder


def test_domains_that_are_behind_get_more_of_the_rows(trained: Path) -> None:
    rows = log_without_times(trained / "out")
    measured = [row for row in rows if f"held_out_loss/{DOMAINS[0]}" in row]
    assert [row["step"] for row in measured] == [4, 8, 12, 16, 20]
    given = {"every": 4, "held_out_rows": 3, "reference_losses": dict.fromkeys(DOMAINS, 0.0)}
    other = job(trained, given)
    recover_stage(other, trained / "given", trained / "given.run")
    rows = log_without_times(trained / "given")
    for before, after in ((3, 4), (7, 8)):
        losses = [rows[before][f"held_out_loss/{name}"] for name in DOMAINS]
        weights = [rows[before][f"weight/{name}"] for name in DOMAINS]
        wanted = updated_weights(weights, losses, [0.0, 0.0])
        assert [rows[after][f"weight/{name}"] for name in DOMAINS] == pytest.approx(wanted)
    first = rows[0]
    assert rows[-1][f"weight/{DOMAINS[0]}"] != first[f"weight/{DOMAINS[0]}"]


def test_killed_training_goes_on_with_its_domains(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        """Stands for a kill."""

    step, taken = _Training._step, [0]

    def dying(training: _Training) -> Any:
        taken[0] += 1
        if taken[0] == 9:
            raise Killed
        return step(training)

    monkeypatch.setattr(_Training, "_step", dying)
    with pytest.raises(Killed):
        recover_stage(job(trained), tmp_path / "out", tmp_path / "run")
    recover_stage(job(trained), tmp_path / "out", tmp_path / "run")
    assert_same_weights(tmp_path / "out", trained / "out")
    assert log_without_times(tmp_path / "out") == log_without_times(trained / "out")


def test_reference_of_no_domain_is_refused(trained: Path, tmp_path: Path) -> None:
    wrong = job(trained, {"every": 4, "held_out_rows": 3, "reference_losses": {"birds": 1.0}})
    with pytest.raises(UserError, match="'birds' is no domain"):
        recover_stage(wrong, tmp_path / "out", tmp_path / "run")


def test_records_of_trainings_without_it_are_what_they_were() -> None:
    assert "loading" not in SparseTrainerParameters().model_dump()
    assert "loading" in SparseTrainerParameters(loading=LOADING).model_dump()
