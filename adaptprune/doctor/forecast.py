"""What a profile's matrix will take in time and disk: counts times rates.

Counted are the matrix products: 2N operations for each token of a forward pass and 6N with the
backward one, N being parameters a token is multiplied by; 8N where activations are computed twice
(``adaptprune.pruning.gradients``). Documents have to be estimated where they are not built locally.
What jobs take besides was measured with the profiles `smoke` and `mini` on two CPU cores (see
docs/scaling.md).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from adaptprune.cells import split_variant
from adaptprune.data.sources import data_folder
from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.models.catalogue import folder_of, has_shape, is_local, shape_of
from adaptprune.models.memory import BYTES
from adaptprune.plugins import in_one_line
from adaptprune.pruning.method import Passes
from adaptprune.pruning.registry import find_method

if TYPE_CHECKING:
    from pathlib import Path

    from adaptprune.doctor.rates import Rates
    from adaptprune.evaluation.benchmarks import Benchmark
    from adaptprune.models.shapes import ModelShape
    from adaptprune.workflow.profiles import Profile

#: Seconds of a job beside its passes: start, scheduling, loading the tokenizer.
JOB_S = 2.0
#: Seconds of an evaluation beside that: building the tasks, packing, statistics, writing.
EVALUATION_S = 8.0
#: Operations per cube of the width, of float64 eigenvectors and the rotation that follows: SliceGPT
#: of 30 layers of width 576 takes 28 s where a forward pass has 60 GFLOP/s.
DECOMPOSITION = 140
#: Characters of English prose per token, of SmolLM2's and LLaMA 3's tokenizers.
CHARACTERS = 4.6
#: Tokens of a document that only the hub holds, all its choices included (the mean over the seven
#: commonsense tasks), and of one of WikiText2's passages.
DOCUMENT_TOKENS, PASSAGE_TOKENS = 114, 4700
#: Bytes that a finished cell leaves: records, scores of documents, logs.
CELL_BYTES = 150_000
#: Bytes that task data and texts of the package registry take in the cache.
DATA_BYTES = 400e6


@dataclass(frozen=True)
class Tokens:
    """Tokens of one evaluation: of tasks, of which few meet the output head, and of prose."""

    tasks: float
    prose: float


class Disk(NamedTuple):
    """Bytes: the most that the folder of the results takes at a time, and what the cache lacks."""

    results: float
    cache: float


@dataclass
class Forecast:
    """What a run will take.

    Attributes:
        cells: of the matrix.
        job_seconds: by stage, summed over all jobs.
        at_once: jobs that compute at the same time.
        bytes: the most that the folder of the results takes at a time.
        cache_bytes: what is still to be written into the cache.
    """

    cells: int
    at_once: int
    job_seconds: dict[str, float] = field(default_factory=dict)
    bytes: float = 0.0
    cache_bytes: float = 0.0

    @property
    def seconds(self) -> float:
        """Return the seconds that will pass, if all jobs find something to do side by side."""
        return sum(self.job_seconds.values()) / self.at_once

    def add(self, stage: str, seconds: float) -> None:
        """Count one more job."""
        self.job_seconds[stage] = self.job_seconds.get(stage, 0.0) + JOB_S + seconds


def evaluation_tokens(profile: Profile) -> Tokens:
    """Return how many tokens one evaluation passes through a model."""
    evaluation = profile.evaluation
    suite = load_suite(evaluation.suite)
    folder = data_folder(suite.data) if suite.data != "hub" else None

    def of(benchmark: Benchmark, limit: int | None, otherwise: float) -> float:
        taken = min(limit or benchmark.documents, benchmark.documents)
        return taken * (_mean_tokens(folder, benchmark) or otherwise)

    tasks = sum(of(task, evaluation.documents_per_task, DOCUMENT_TOKENS) for task in suite.tasks)
    if suite.perplexity is None:
        return Tokens(tasks, 0.0)
    prose = of(suite.perplexity, evaluation.perplexity_documents, PASSAGE_TOKENS)
    return Tokens(tasks, prose * (1 + len(evaluation.token_perplexity)))


def _mean_tokens(folder: Path | None, benchmark: Benchmark) -> float | None:
    """Return the tokens of a document that lies in the cache, None where there is none."""
    if folder is None:
        return None
    name = benchmark.task.split("_local_", 1)[-1]
    for file in (folder / "tasks" / f"{name}.jsonl", folder / "prose" / "perplexity.jsonl"):
        if file.is_file():
            rows = [json.loads(line) for line in file.read_text().splitlines()]
            texts = (
                len(row["prompt"]) + sum(map(len, row["choices"]))
                if "prompt" in row
                else len(row["text"])
                for row in rows
            )
            return sum(texts) / len(rows) / CHARACTERS
    return None


def pruning_seconds(
    profile: Profile, name: str, shape: ModelShape, sparsity: int, rates: Rates
) -> float:
    """Return the seconds of a method's passes on the way to a sparsity (percent).

    A method that cuts as it goes meets a model of half the sparsity on average.

    Raises:
        UserError: the method cannot tell its passes.
    """
    method = find_method(split_variant(name)[0])
    with in_one_line(method):
        parameters = method.parse(profile.settings_of(name).parameters)
        passes = method.passes(shape, sparsity, parameters)
    if not isinstance(passes, Passes):
        raise UserError(
            f"method {method.name!r}: passes must return Passes, not {type(passes).__name__}"
        )
    drawn = profile.calibration_of(name)
    tokens = drawn.sequences * drawn.length
    size: float = shape.compute_parameters
    by_layer = profile.device != "cpu" or profile.dtype != "float32"
    if passes.gradient > 1:
        size -= shape.decoder_parameters * sparsity / 200
    return (
        (8 if by_layer else 6) * size * tokens * passes.gradient / rates.gradient
        + 2 * size * tokens * passes.forward / rates.forward
        + DECOMPOSITION * shape.hidden_size**3 * passes.decompositions / rates.forward
    )


def evaluation_seconds(shape: ModelShape, sparsity: int, tokens: Tokens, rates: Rates) -> float:
    """Return the seconds of one evaluation of a model cut by a sparsity (percent)."""
    decoder = shape.decoder_parameters * (1 - sparsity / 100)
    head = shape.compute_parameters - shape.decoder_parameters
    operations = 2 * decoder * (tokens.tasks + tokens.prose) + 2 * head * tokens.prose
    return EVALUATION_S + operations / rates.forward


def predict(profile: Profile, rates: Rates, at_once: int) -> Forecast:
    """Predict what the matrix of a profile takes from a filled cache.

    Args:
        profile: what is run.
        rates: of this machine.
        at_once: jobs that compute at the same time.

    Raises:
        UserError: the architecture of a model is not known, or a method cannot tell its passes.
    """
    cells = profile.cells()
    forecast = Forecast(len(cells), at_once)
    shapes = {model: shape_of(model) for model in profile.models}
    tokens = evaluation_tokens(profile)
    scored = set()
    for cell in cells:
        shape = shapes[cell.model]
        moved = BYTES[profile.dtype] * shape.parameters / rates.stored
        if not profile.shares_scores(cell.method):
            seconds = pruning_seconds(profile, cell.method, shape, cell.sparsity, rates)
            forecast.add("prune", seconds + 2 * moved)
        else:
            forecast.add("prune", 2 * moved)
            if (job := (cell.model, cell.method, cell.seed)) not in scored:
                scored.add(job)
                last = max(profile.sparsities_of(cell.method))
                seconds = pruning_seconds(profile, cell.method, shape, last, rates)
                forecast.add("score", seconds + moved)
        # A mask removes no work.
        cuts = find_method(split_variant(cell.method)[0]).needs_shape
        seconds = evaluation_seconds(shape, cell.sparsity if cuts else 0, tokens, rates)
        forecast.add("evaluate", seconds + moved)
    forecast.bytes, forecast.cache_bytes = disk_needed(profile, at_once)
    return forecast


def check_shapes(profile: Profile) -> None:
    """Refuse to predict for a model whose passes nobody counts.

    Raises:
        UserError: naming the first such model.
    """
    for model in profile.models:
        if is_local(model) and not has_shape(model):
            raise UserError(f"the passes of {model} are not counted: it is of no family with units")


def known_shapes(profile: Profile) -> dict[str, ModelShape]:
    """Return the shapes of a profile's models, without those whose architecture is not known."""
    shapes = {}
    for model in profile.models:
        try:
            shapes[model] = shape_of(model)
        except UserError:
            continue  # the check of models says so
    return shapes


def disk_needed(profile: Profile, at_once: int) -> Disk:
    """Return what the matrix of a profile takes of the disk, models of unknown size left out."""
    shapes = known_shapes(profile)
    sizes = [BYTES[profile.dtype] * shape.parameters for shape in shapes.values()]
    # A checkpoint lies there from its pruning to the end of its evaluation.
    results = 2 * at_once * max(sizes, default=0) + CELL_BYTES * len(profile.cells())
    return Disk(results, _unfetched(profile, shapes))


def _unfetched(profile: Profile, shapes: dict[str, ModelShape]) -> float:
    """Return the bytes that are still to come into the cache; weights come in float32 at most."""
    suite = load_suite(profile.evaluation.suite)
    lacking = [model for model in shapes if not is_local(model) and not folder_of(model).is_dir()]
    data = suite.data == "bigbench" and not data_folder(suite.data).is_dir()
    return sum(4.0 * shapes[model].parameters for model in lacking) + (DATA_BYTES if data else 0)
