"""The public conformance kit: what every pruning method must hold, checked on tiny random models.

For a method of your own, in a test or by hand::

    from adaptprune.testing import check_method

    check_method(my_method.SPEC)

or ``adaptprune check-method --method-file my_method.py``. It takes seconds and needs no data.
"""

from __future__ import annotations

import ast
import copy
import tempfile
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic
import torch

from adaptprune.data.calibration import CalibrationSet
from adaptprune.errors import NumericalError, UserError
from adaptprune.models.checkpoint import count_parameters, load_model
from adaptprune.models.random import OTHERS, SHAPES, random_model, random_tokens
from adaptprune.models.reloading import reload
from adaptprune.models.runtime import Runtime
from adaptprune.models.shapes import FAMILIES
from adaptprune.models.sizes import shape_of_model
from adaptprune.plugins import Parameters, in_one_line, source_file
from adaptprune.pruning.decisions import Cut
from adaptprune.pruning.dense import DenseModel
from adaptprune.pruning.guard import check_model, check_pruned, check_scores
from adaptprune.pruning.method import Context
from adaptprune.pruning.stage import Job, prune_stage, score_stage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from adaptprune.pruning.decisions import Decision
    from adaptprune.pruning.method import Method, Scores

#: The models that a method must prune: family and shape of ``random_model``, by what is special.
MODELS: dict[str, dict[str, Any]] = {
    "llama, 4 query and 2 kv heads": {},
    "9 query and 3 kv heads, tied": {**SHAPES["grouped"], "tied": True},
    "multi-head attention, odd widths": SHAPES["odd"],
    "hidden size apart from heads": SHAPES["wide_heads"],
    "biases everywhere": {"attention_bias": True, "mlp_bias": True},
    "qwen2 (biases on q, k and v), tied": {"family": "qwen2", "tied": True},
    "qwen3 (norms per head)": {"family": "qwen3"},
    "mistral": {"family": "mistral", **SHAPES["multi_head"]},
    "one layer, one kv head, two neurons": {"layers": 1, "heads": 2, "kv_heads": 1}
    | {"intermediate": 2},
}

#: The models whose outcomes are loaded in a fresh process: each family, with and without a head of
#: its own; of three layers, since a method may take whole ones.
FAMILY_MODELS: dict[str, dict[str, Any]] = {
    f"{family} {head}": {"family": family, "tied": head == "tied", "layers": 3}
    for family in FAMILIES
    for head in ("tied", "untied")
}

#: What logits of tiny models may differ by where sums have another order.
_ROUNDING = 1e-4


class ConformanceError(UserError):
    """A method breaks a rule; the message names method, rule, model and sparsity."""


@dataclass(frozen=True)
class _Trial:
    """One method with its parameters, on one model at one sparsity (percent)."""

    method: Method
    parameters: Any
    dense: Any
    sparsity: int

    def context(self) -> Context:
        """Return fresh calibration tokens, or none for a method that needs none."""
        return Context(random_tokens() if self.method.needs_calibration else None, seed=3)

    def score(self, model: Any, sparsities: Sequence[int]) -> Scores:
        """Compute the scores of a model and check them."""
        with in_one_line(self.method):
            scores = self.method.score(model, self.context(), self.parameters, sparsities)
            check_scores(self.method, scores)
        return scores

    def known(self) -> DenseModel:
        """Return what is known of the dense model."""
        return DenseModel.of(self.dense, needs_shape=self.method.needs_shape)

    def prune(self, scores: Scores | None = None, chance: int = 0) -> tuple[Decision, Any]:
        """Prune a copy of the dense model; return the decision and the pruned model, both checked.

        Args:
            scores: of ``score``, or None to have them computed.
            chance: seed of torch's global generator, on which nothing may depend.
        """
        model, dense = copy.deepcopy(self.dense), self.known()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(chance)
            with in_one_line(self.method):
                returned = self.method.prune(
                    model, scores, self.sparsity, self.context(), self.parameters
                )
        with in_one_line(self.method):
            decision = check_pruned(self.method, returned, dense).decide()
            final = decision.apply(model)
            check_model(self.method, final, decision, dense)
        return decision, final


def check_method(
    method: Method,
    *,
    settings: dict[str, Any] | None = None,
    sparsities: Sequence[int] = (20, 50, 90),
    report: Callable[[str], None] = lambda rule: None,
) -> None:
    """Check that a method can take part: declaration, decisions, budgets, determinism, files.

    Args:
        method: an instance of a ``Method`` class.
        settings: parameters to run it with; without, its defaults.
        sparsities: percentages to try.
        report: called with the name of every rule that holds.

    Raises:
        ConformanceError: the first rule that does not hold.
    """
    name = getattr(method, "name", type(method).__name__)
    for rule, check in _rules(method, settings or {}, sparsities):
        try:
            check()
        except (UserError, NumericalError) as error:
            raise ConformanceError(f"method {name!r} breaks the rule {rule!r}: {error}") from error
        report(rule)


def _rules(
    method: Method, settings: dict[str, Any], sparsities: Sequence[int]
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield the rules in the order in which they build on one another."""
    yield "has a name, title, version and citation", partial(_check_declaration, method)
    yield "imports torch inside its functions alone", partial(_check_imports, method)
    yield "refuses unknown parameters", partial(_check_parameters, method, settings)
    parameters = method.parse(settings)
    yield "refuses sparsities outside 1..99", partial(_check_sparsities, method, parameters)
    for title, shape in MODELS.items():
        dense = random_model(**shape)
        trials = [_Trial(method, parameters, dense, sparsity) for sparsity in sparsities]
        yield f"decides within its budget: {title}", partial(_each, trials, _check_decision)
        yield f"decides the same twice: {title}", partial(_each, trials, _check_repetition)
    for family in OTHERS if not method.needs_shape else ():
        dense = random_model(family, layers=3)
        trials = [_Trial(method, parameters, dense, sparsity) for sparsity in sparsities]
        yield f"decides within its budget: {family}", partial(_each, trials, _check_decision)
        yield f"decides the same twice: {family}", partial(_each, trials, _check_repetition)
    yield "decides the same from stored scores", partial(_check_stored, method, parameters)
    yield "saves and loads the same model", partial(_check_files, method, parameters)
    yield "its outcomes load in a fresh process", partial(_check_reload, method, parameters)


def _each(trials: list[_Trial], check: Callable[[_Trial], None]) -> None:
    """Run one check at every sparsity, whose error then says at which."""
    for trial in trials:
        try:
            check(trial)
        except (UserError, NumericalError) as error:
            raise ConformanceError(f"at {trial.sparsity} %: {error}") from error


def _check_declaration(method: Method) -> None:
    for key, kind in (("name", str), ("title", str), ("version", int), ("citation", str)):
        value = getattr(method, key, None)
        if type(value) is not kind or not value:
            raise ConformanceError(f"{key} must be a non-empty {kind.__name__}, not {value!r}")
    if method.version < 1:
        raise ConformanceError(f"version must be 1 or more, not {method.version}")
    parameters = method.parameters
    if not (isinstance(parameters, type) and issubclass(parameters, Parameters)):
        raise ConformanceError(
            "parameters must be a subclass of adaptprune.pruning.method.Parameters"
        )


def _check_imports(method: Method) -> None:
    source = source_file(method)
    if source is None or not Path(source).is_file():
        return  # of a notebook: nothing is listed from there
    for node in ast.parse(Path(source).read_text(encoding="utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            if name.split(".")[0] in ("torch", "transformers"):
                raise ConformanceError(
                    f"{Path(source).name}:{node.lineno} imports {name} when the methods are listed"
                )


def _check_parameters(method: Method, settings: dict[str, Any]) -> None:
    parameters = method.parse(settings)
    if not _refused(UserError, partial(method.parse, {**settings, "no_such_parameter": 1})):
        raise ConformanceError("no_such_parameter=1 is taken")
    for name in type(parameters).model_fields:
        if not _refused(pydantic.ValidationError, partial(setattr, parameters, name, None)):
            raise ConformanceError(f"parameter {name} can be changed after it was read")


def _check_sparsities(method: Method, parameters: Any) -> None:
    for sparsity in (-20, 0, 100):
        if not _refused(UserError, partial(method.check, sparsity, parameters)):
            raise ConformanceError(f"a sparsity of {sparsity} % is taken")


def _refused(complaint: type[Exception], call: Callable[[], object]) -> bool:
    """Say whether a call ends in a complaint."""
    try:
        call()
    except complaint:
        return True
    return False


def _check_decision(trial: _Trial) -> None:
    """The pruned model works, is as large as the budget says, and reads the same vocabulary."""
    method, asked = trial.method, (trial.sparsity, trial.parameters)
    with in_one_line(method):
        if trial.dense.config.model_type in OTHERS:
            budget = method.budget_of(trial.dense, *asked)
        else:
            budget = method.budget(shape_of_model(trial.dense), *asked)
    decision, model = trial.prune()
    count = count_parameters(model)
    if not budget.minimum <= count <= budget.maximum:
        raise ConformanceError(
            f"{count} parameters remain; its budget says {budget.minimum} to {budget.maximum}"
        )
    sizes = decision.kept.blocks() if isinstance(decision, Cut) else None
    if budget.blocks and sizes and list(budget.blocks) != sizes:
        raise ConformanceError("layers have other sizes than its budget says")
    tokens = random_tokens()
    with torch.no_grad():
        logits = model(input_ids=tokens, use_cache=False).logits
    if (
        logits.shape != (*tokens.shape, trial.dense.config.vocab_size)
        or not logits.isfinite().all()
    ):
        raise ConformanceError(f"logits of shape {tuple(logits.shape)}, or not finite")


def _decided_alike(trial: _Trial, one: tuple[Decision, Any], two: tuple[Decision, Any]) -> bool:
    """Say whether two outcomes are the same: what was decided, and every weight."""
    dense = trial.known()
    return one[0].describe(dense) == two[0].describe(dense) and _same(one[1], two[1])


def _same(one: Any, two: Any) -> bool:
    """Say whether two models have the same weights, bit by bit."""
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(weight, second[name]) for name, weight in first.items()
    )


def _check_repetition(trial: _Trial) -> None:
    """The seed of the cell decides, not torch's global generator."""
    if not _decided_alike(trial, trial.prune(chance=1), trial.prune(chance=2)):
        raise ConformanceError("a second run with the same seed has another outcome")


def _check_stored(method: Method, parameters: Any) -> None:
    """One set of scores serves every sparsity, in any order."""
    if not method.shares_scores(parameters):
        return
    dense = random_model("llama", **SHAPES["grouped"])
    trials = [_Trial(method, parameters, dense, sparsity) for sparsity in (50, 20)]
    scores = trials[0].score(copy.deepcopy(dense), [20, 50])
    for trial in trials:
        if not _decided_alike(trial, trial.prune(), trial.prune(scores)):
            raise ConformanceError(f"stored scores give another outcome at {trial.sparsity} %")


def _job(method: Method, parameters: Any, folder: Path) -> Job:
    """Return the job of pruning a tiny model that lies in a folder."""
    calibration = CalibrationSet(random_tokens().tolist(), "made-up", 3)
    runtime = Runtime(threads=torch.get_num_threads())
    return Job(str(folder), method, None, parameters, 3, calibration, runtime)


def _check_files(method: Method, parameters: Any) -> None:
    """The stages that the workflow runs write the same checkpoint twice, and it loads."""
    dense = random_model("llama", **SHAPES["grouped"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        dense.save_pretrained(folder / "dense")
        job = _job(method, parameters, folder / "dense")
        scores = None
        if method.shares_scores(parameters):
            scores = folder / "scores.safetensors"
            score_stage(job, [50], scores)
        weights = []
        for name in ("one", "two"):
            prune_stage(job, 50, folder / name, scores)
            weights.append((folder / name / "model.safetensors").read_bytes())
        if weights[0] != weights[1]:
            raise ConformanceError("two runs write checkpoints with different weights")
        _, expected = _Trial(method, parameters, dense, 50).prune()
        if not _same(load_model(folder / "one"), expected):
            raise ConformanceError("the checkpoint loads with other weights than were decided")


def _check_reload(method: Method, parameters: Any) -> None:
    """A process that does not know the method computes what the method's own outcomes did."""
    tokens, expected = random_tokens(), {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for name, shape in FAMILY_MODELS.items():
            dense = random_model(**shape)
            _, outcome = _Trial(method, parameters, dense, 50).prune()
            with torch.no_grad():
                expected[name] = outcome.eval()(input_ids=tokens, use_cache=False).logits
            source = folder / f"{name} dense"
            dense.save_pretrained(source)
            try:
                prune_stage(_job(method, parameters, source), 50, folder / name)
            except UserError as error:
                raise ConformanceError(f"{name}: {error}") from error
        for name, logits in reload(folder, list(expected), tokens).items():
            difference = (logits - expected[name]).abs().max().item()
            if not difference <= _ROUNDING:
                raise ConformanceError(
                    f"{name}: logits differ by {difference:.2g} once it is loaded"
                )
