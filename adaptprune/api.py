"""What ``adaptprune`` offers to Python and notebooks; its names are imported from ``adaptprune``.

Nothing is written but where a folder is named. Threads, deterministic algorithms, random
generators, default dtype and environment are what they were when a function returns. ``runtime``
says how to compute meanwhile: it sets what the commands set, so the numbers are theirs. A mistake
in the input raises a ``UserError`` of one line, a number that is not finite a ``NumericalError``
(``adaptprune.errors``).
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.errors import NumericalError, UserError
from adaptprune.files.surroundings import expanded
from adaptprune.given import (
    find_given_method,
    load,
    present_runtime,
    settle,
    token_ids,
    tokenizer_of,
)
from adaptprune.machine.unchanged import nothing_global_changed
from adaptprune.pruning.method import Method

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import pandas as pd

    from adaptprune.comparison.report import Comparison
    from adaptprune.data.calibration import CalibrationSet
    from adaptprune.evaluation.forward import Precision
    from adaptprune.given import Model, RuntimeLike
    from adaptprune.pruning.pruned import PrunedModel
    from adaptprune.recovery.recovered import RecoveredModel

__all__ = [
    "calibrate",
    "check_method",
    "compare",
    "evaluate",
    "load",
    "methods",
    "prune",
    "recover",
]

#: What is drawn where nothing else is said.
DATASET = "bigbench-prose"


@nothing_global_changed()
def calibrate(
    model: Model,
    dataset: str = DATASET,
    *,
    texts: Iterable[str] | None = None,
    sequences: int = 32,
    length: int = 64,
    seed: int = 0,
    local_data: str | Path | None = None,
) -> CalibrationSet:
    """Draw a calibration set: token ids that all methods share at this seed.

    Args:
        model: whose tokenizer is used; the weights of a model given by name are not loaded.
        dataset: name of a collection of text; with ``texts`` what these are called.
        texts: documents to draw from, in place of a collection.
        sequences: how many are drawn, at most one of each document.
        length: tokens of each.
        seed: of the draw.
        local_data: folder of data sets that stands for the hub.

    Returns:
        A set whose ``tokens`` are [sequences][length] token ids.

    Raises:
        UserError: the data are unknown, too few documents are long enough, or there is no
            tokenizer.
    """
    from adaptprune.data.calibration import draw
    from adaptprune.data.encoding import check_ids
    from adaptprune.data.texts import find_corpus, read_texts

    folder = None if local_data is None else Path(local_data)
    if texts is None:
        find_corpus(dataset)  # refused before a model is fetched
    elif dataset == DATASET:
        dataset = "texts"
    tokenizer, vocabulary = tokenizer_of(model)
    found = read_texts(dataset, folder) if texts is None else texts
    drawn = draw(found, tokenizer, dataset, sequences, length, seed)
    check_ids(max(drawn.tokens, key=max), vocabulary, dataset)
    return drawn


@nothing_global_changed()
def prune(
    model: Model,
    method: str | Path | Method,
    *,
    sparsity: int,
    calibration: CalibrationSet | Sequence[Sequence[int]] | None = None,
    seed: int = 0,
    runtime: RuntimeLike | None = None,
    **parameters: Any,
) -> PrunedModel:
    """Prune a copy of a model; the one that was given stays as it is.

    Args:
        model: see ``load``.
        method: its name, a file that defines one, or an instance of a ``Method`` class.
        sparsity: percent of the prunable channels, or of the weights, as the method counts them.
        calibration: what ``calibrate`` returned, or [sequences][length] token ids; drawn with its
            defaults where the method needs it and none is given.
        seed: of what is random in the method.
        runtime: dtype, device and threads.
        parameters: of the method, as ``methods`` lists them.

    Returns:
        An object with ``model`` (of transformers), ``kept`` (units by layer), ``counts`` and
        ``save(folder)``, which writes what the command ``prune`` writes.

    Raises:
        UserError: an unknown method or parameter, a sparsity that it cannot reach, or a model that
            it cannot prune.
        NumericalError: a score or a weight is not finite.
    """
    from adaptprune.machine.provenance import Stopwatch
    from adaptprune.plugins import in_one_line
    from adaptprune.pruning.pruned import prune_loaded
    from adaptprune.pruning.stage import Job, record_of

    watch = Stopwatch()
    chosen = find_given_method(method)
    with in_one_line(chosen):
        parsed = chosen.parse(parameters)
        chosen.check(sparsity, parsed)
    settle(runtime)
    source = load(model, runtime=runtime)
    tokens = None
    if chosen.needs_calibration:
        tokens = token_ids(calibrate(source, seed=seed) if calibration is None else calibration)
    job = Job(source.name, chosen, None, parsed, seed, tokens, present_runtime(source.model))
    job.check_calibration(source.model)
    pruned = prune_loaded(
        chosen,
        parsed,
        copy.deepcopy(source.model).eval(),
        sparsity,
        job.context(),
        tokenizer=source.tokenizer,
        source=source.folder,
    )
    pruned.record = record_of(job, source.origin(), sparsity, pruned)
    pruned.record["provenance"] = watch.provenance()
    return pruned


@nothing_global_changed()
def evaluate(
    model: Model,
    *,
    suite: str | None = None,
    tasks: Sequence[str] = (),
    limit: int | None = None,
    documents_per_task: int | None = None,
    perplexity_documents: int | None = None,
    token_perplexity: Sequence[int] = (),
    max_length: int | None = None,
    window_limit: int = 2048,
    batch_tokens: int | None = None,
    precision: Precision = "float32",
    local_data: str | Path | None = None,
    runtime: RuntimeLike | None = None,
) -> pd.DataFrame:
    """Evaluate a model with lm-eval tasks, all of them in memory.

    Args:
        model: see ``load``; it needs a tokenizer.
        suite: name of a suite.
        tasks: lm-eval's names, where no suite is given.
        limit: the first N documents of each task, as lm-eval counts them.
        documents_per_task: size of the seeded subset of each task of a suite, None for all.
        perplexity_documents: the same of the suite's perplexity text.
        token_perplexity: window lengths (tokens) at which that text gets a token perplexity.
        max_length: window in tokens; None for that of the model, up to ``window_limit``.
        window_limit: tokens at most where no window is given.
        batch_tokens: tokens of a forward pass, None for automatic.
        precision: of the softmax: float32, or ``stock`` for the model's dtype.
        local_data: folder of data sets that stands for the hub.
        runtime: dtype, device and threads.

    Returns:
        A row for every task and metric: ``task, metric, value, stderr, n``. Accuracies are
        fractions, ``n`` counts documents, ``stderr`` is None where a metric is no mean of them.
        ``attrs["conditions"]`` holds what must be equal to be compared.

    Raises:
        UserError: an unknown task or model, or data that cannot be had.
        NumericalError: a log-likelihood or a metric is not finite.
    """
    import pandas as pd

    from adaptprune.evaluation.stage import Scoring, Selection, evaluate_loaded

    if (suite is None) != bool(tasks):
        raise UserError("give suite=NAME or tasks=[…] (one of the two)")
    selection = Selection(
        suite=suite,
        tasks=list(tasks),
        limit=limit,
        documents_per_task=documents_per_task,
        perplexity_documents=perplexity_documents,
        token_lengths=tuple(token_perplexity),
    )
    scoring = Scoring(
        max_length=max_length,
        window_limit=window_limit,
        batch_tokens=batch_tokens,
        precision=precision,
        local_data=None if local_data is None else Path(local_data),
    )
    wanted = selection.tasks_to_run()  # refused before a model is fetched
    settle(runtime)
    source = load(model, runtime=runtime)
    if source.tokenizer is None:
        raise UserError(f"model {source.name}: has no tokenizer; give load(model, tokenizer=…)")
    was_training = source.model.training
    try:
        result = evaluate_loaded(source.model.eval(), source.tokenizer, wanted, selection, scoring)
    finally:
        source.model.train(was_training)
    if result.reason is not None:
        raise NumericalError(result.reason)
    rows = [
        (task, metric, value, numbers.get(f"{metric}_stderr"), numbers["n"])
        for task, numbers in result.outcome.results.items()
        for metric, value in numbers.items()
        if metric != "n" and not metric.endswith("_stderr")
    ]
    frame = pd.DataFrame(rows, columns=["task", "metric", "value", "stderr", "n"])
    frame.attrs["conditions"] = result.to_json()["conditions"]
    return frame


@nothing_global_changed()
def recover(
    model: Model,
    preset: str,
    data: str | Path,
    *,
    target: int | str | None = None,
    calibration: CalibrationSet | Sequence[Sequence[int]] | None = None,
    seed: int = 0,
    micro_batch: int = 8,
    local_data: str | Path | None = None,
    runtime: RuntimeLike | None = None,
    **settings: Any,
) -> RecoveredModel:
    """Train a copy of a model, changed between trainings as the preset says.

    The state of the training lies in a folder of its own that is removed with the result. The
    command ``recover`` keeps it, and goes on after a kill.

    Args:
        model: see ``load``; it needs a tokenizer.
        preset: name of a recovery preset.
        data: name of a mixture or of a collection of text, or a ``.jsonl`` file.
        target: parameters to end with, or the model whose shape is the target; for a preset that
            prunes.
        calibration: as of ``prune``, for a preset that prunes.
        seed: of the data order and of what is random in training.
        micro_batch: rows of one forward pass.
        local_data: folder of data sets that stands for the hub.
        runtime: device and threads; a training is in float32.
        settings: values of the preset, ``tokens=100_000`` for one.

    Returns:
        An object with ``model``, ``log`` (a row for every step), ``record`` and ``save(folder)``,
        which writes what the command ``recover`` writes.

    Raises:
        UserError: an unknown preset, setting or data, or what cannot work.
        NumericalError: a loss or a gradient is not finite.
    """
    from adaptprune.recovery.folder import Execution
    from adaptprune.recovery.presets import find_preset
    from adaptprune.recovery.recovered import recover_loaded
    from adaptprune.recovery.registry import find_recovery
    from adaptprune.recovery.stage import Recovery

    chosen = find_preset(preset, settings)
    how = settle(runtime)
    tokens = None
    if find_recovery(chosen.method).needs_calibration:
        tokens = token_ids(calibrate(model, seed=seed) if calibration is None else calibration)
    job = Recovery(
        model=str(model),
        preset=chosen,
        target=target,
        data=str(data),
        calibration=tokens,
        seed=seed,
        execution=Execution(
            device=how.device,
            threads=how.threads,
            micro_batch=micro_batch,
            checkpoint_every=10**9,  # a killed process takes its folder along
        ),
        local_data=None if local_data is None else Path(local_data),
    )
    return recover_loaded(job, None if isinstance(model, str | Path) else load(model))


def compare(
    baseline: str | Path, new: str | Path, *, method: str | Path | Method | None = None
) -> Comparison:
    """Compare two results files over the same documents.

    Args:
        baseline: results CSV of the baselines, with the score of every document beside it.
        new: results CSV to compare with them; may be the same file.
        method: the one method of ``new`` to compare with all baselines, without it all of them,
            each with its namesake where there is one.

    Returns:
        An object with ``sentences``, ``table`` (a DataFrame of all numbers) and ``notes``; a
        notebook shows it as a page, ``print`` as Markdown.

    Raises:
        UserError: a file cannot be trusted, or the conditions differ.
    """
    from adaptprune.comparison.report import compare_files

    if isinstance(method, Path | Method):
        method = find_given_method(method).name
    return compare_files(expanded(Path(baseline)), expanded(Path(new)), method)


def methods() -> pd.DataFrame:
    """List the installed pruning methods: title, version, origin, parameters, citation; by name."""
    import pandas as pd

    from adaptprune.pruning.registry import METHODS

    rows = {}
    for name in METHODS.installed():
        method = METHODS.find(name)
        fields = method.parameters.model_fields.items()
        rows[name] = {
            "title": method.title,
            "version": method.version,
            "origin": METHODS.origin(name),
            "parameters": {key: field.default for key, field in fields},
            "citation": method.citation,
        }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("name")


@nothing_global_changed()
def check_method(
    method: str | Path | Method, *, sparsities: Sequence[int] = (20, 50, 90), **parameters: Any
) -> list[str]:
    """Check that a method holds what all methods must hold, on tiny models; takes seconds.

    Args:
        method: its name, a file that defines one, or an instance of a ``Method`` class.
        sparsities: percentages to try.
        parameters: of the method; without, its defaults.

    Returns:
        The rules, all of which hold.

    Raises:
        ConformanceError: the first rule that does not hold.
    """
    from adaptprune import testing

    chosen = find_given_method(method)
    held: list[str] = []
    testing.check_method(chosen, settings=parameters, sparsities=sparsities, report=held.append)
    return held
