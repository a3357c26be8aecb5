"""The command line: one function per command, heavy imports inside.

Results go to stdout or to files, logs and progress to stderr. A mistake in the input is one line
on stderr and exit status 2.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import yaml

from adaptprune.errors import NumericalError, UserError, unknown

if TYPE_CHECKING:
    from adaptprune.calibration import CalibrationSet
    from adaptprune.stages import Job, Runtime

app = typer.Typer(
    help=__doc__, add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False
)

ModelOption = Annotated[str, typer.Option("--model", help="built-in id, local folder or hub id")]
MethodOption = Annotated[str, typer.Option("--method", help="name or name@variant")]
SparsityOption = Annotated[int, typer.Option("--sparsity", help="percent of prunable channels")]
SeedOption = Annotated[int, typer.Option("--seed", help="of the calibration draw and the method")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="method parameter")
]
CalibrationOption = Annotated[
    str, typer.Option("--calibration", help="name of a data set, or FILE.json of token ids")
]
SequencesOption = Annotated[int, typer.Option("--sequences", help="sequences drawn by name")]
LengthOption = Annotated[int, typer.Option("--length", help="tokens of each of them")]
OutputOption = Annotated[Path, typer.Option("--output", help="where the result goes")]
DtypeOption = Annotated[str, typer.Option("--dtype", help="of the weights")]
DeviceOption = Annotated[str, typer.Option("--device", help="cpu, cuda, cuda:1, …")]
ThreadsOption = Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads")]
RemoteOption = Annotated[
    bool, typer.Option("--trust-remote-code", help="run code that lies in the model folder")
]


def print_json(value: Any) -> None:
    """Print a value as JSON to stdout."""
    print(json.dumps(value, allow_nan=False))


def parse_settings(pairs: list[str] | None) -> dict[str, Any]:
    """Read ``key=value`` pairs; values are YAML scalars, so numbers are numbers.

    Raises:
        UserError: a pair without ``=``, or a key given twice.
    """
    settings: dict[str, Any] = {}
    for pair in pairs or []:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UserError(f"--set {pair}: must read KEY=VALUE")
        if key in settings:
            raise UserError(f"--set {key} is given twice")
        settings[key] = yaml.safe_load(value)
    return settings


@app.command()
def methods() -> None:
    """List the installed pruning methods, where they come from and their parameters."""
    from adaptprune.registry import entry_points, find_method, origin

    for name in entry_points():
        method = find_method(name)
        fields = method.parameters.model_fields.items()
        parameters = ", ".join(f"{key}={field.default}" for key, field in fields)
        print(f"{name:14} v{method.version}  {origin(name)}  {method.citation}  [{parameters}]")


@app.command()
def models() -> None:
    """List the built-in models and where their weights come from."""
    from adaptprune.models import catalogue, shape_of

    for name, entry in catalogue().items():
        print(f"{name:44} {shape_of(name).parameters:>14,}  {entry.source.kind}")


@app.command()
def tasks() -> None:
    """List the task suites and their tasks."""
    from adaptprune.evaluate.suites import list_suites, load_suite

    for name in list_suites():
        suite = load_suite(name)
        print(f"{name}: {suite.description}")
        for task in suite.tasks:
            print(f"  {task.task:44} {task.title:14} {task.metric:9} {task.documents} documents")


@app.command()
def params(
    model: ModelOption, method: MethodOption, sparsity: SparsityOption, settings: SetOption = None
) -> None:
    """Count the parameters after pruning from the architecture alone, without weights."""
    from adaptprune.models import shape_of
    from adaptprune.registry import find_method

    chosen = find_method(method)
    parameters = chosen.parse(parse_settings(settings))
    chosen.check(sparsity, parameters)
    shape = shape_of(model)
    budget = chosen.budget(shape, sparsity, parameters)
    exact = budget.minimum == budget.maximum
    print_json(
        {
            "params_total": budget.minimum if exact else None,
            "params_min": budget.minimum,
            "params_max": budget.maximum,
            "params_decoder": budget.decoder,
            "params_dense": shape.parameters,
            "kept": None
            if budget.blocks is None
            else [
                {
                    "kv_heads": block.kv_heads,
                    "q_heads": block.kv_heads * shape.queries_per_kv_head,
                    "mlp": block.intermediate_size,
                }
                for block in budget.blocks
            ],
            "width": budget.width,
        }
    )


@app.command()
def fetch(model: ModelOption, output: OutputOption) -> None:
    """Bring a model into the cache, verify it, and note where it lies."""
    from adaptprune.checkpoint import revision
    from adaptprune.files import write_json
    from adaptprune.models import locate

    folder = locate(model)
    write_json(output, {"model": model, "folder": folder.name, "revision": revision(folder)})


@app.command()
def calibrate(
    model: ModelOption,
    dataset: Annotated[str, typer.Option(help="name of a data set")],
    sequences: SequencesOption,
    length: LengthOption,
    seed: SeedOption,
    output: OutputOption,
) -> None:
    """Draw a calibration set: token ids that all methods share at this seed."""
    from adaptprune.files import write_json

    drawn = draw_calibration(model, dataset, sequences, length, seed)
    write_json(output, drawn.describe() | {"tokens": drawn.tokens})


def draw_calibration(
    model: str, dataset: str, sequences: int, length: int, seed: int
) -> CalibrationSet:
    """Draw a calibration set of a named data set with a model's tokenizer."""
    from adaptprune.calibration import draw
    from adaptprune.checkpoint import load_tokenizer
    from adaptprune.corpus import find_corpus, read_texts
    from adaptprune.models import locate

    find_corpus(dataset)
    tokenizer = load_tokenizer(locate(model))
    return draw(read_texts(dataset), tokenizer, dataset, sequences, length, seed)


def _read_calibration(
    source: str, model: str, sequences: int, length: int, seed: int
) -> CalibrationSet:
    """Take token ids from a file, or draw them from a named data set."""
    from adaptprune.calibration import CalibrationSet, read_tokens
    from adaptprune.files import read_json
    from adaptprune.models import shape_of

    path = Path(source)
    if path.suffix != ".json":
        return draw_calibration(model, source, sequences, length, seed)
    tokens = read_tokens(path, shape_of(model).vocab_size)
    content = read_json(path)
    if isinstance(content, dict):
        return CalibrationSet(tokens, content["dataset"], content["seed"])
    return CalibrationSet(tokens, path.name, None)


def _build_job(
    model: str,
    method: str,
    seed: int,
    settings: dict[str, Any],
    calibration: tuple[str, int, int],
    runtime: Runtime,
    sparsities: list[int],
) -> Job:
    """Check everything that can be checked without weights, then read the calibration set."""
    from adaptprune.models import find_entry, shape_of
    from adaptprune.registry import find_method, split_variant
    from adaptprune.stages import Job

    name, variant = split_variant(method)
    chosen = find_method(name)
    parameters = chosen.parse(settings)
    for sparsity in sparsities:
        chosen.check(sparsity, parameters)
    if find_entry(model) is not None or Path(model).expanduser().is_dir():
        shape = shape_of(model)
        for sparsity in sparsities:
            chosen.budget(shape, sparsity, parameters)
    tokens = None
    if chosen.needs_calibration:
        source, sequences, length = calibration
        tokens = _read_calibration(source, model, sequences, length, seed)
    return Job(model, chosen, variant, parameters, seed, tokens, runtime)


@app.command()
def score(
    model: ModelOption,
    method: MethodOption,
    sparsities: Annotated[str, typer.Option(help="percentages to be cut, comma-separated")],
    seed: SeedOption,
    output: OutputOption,
    calibration: CalibrationOption = "bigbench-prose",
    sequences: SequencesOption = 32,
    length: LengthOption = 64,
    settings: SetOption = None,
    dtype: DtypeOption = "float32",
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Compute a method's scores once; ``prune --scores`` cuts every sparsity from them."""
    from adaptprune.stages import Runtime, score_stage

    try:
        wanted = [int(part) for part in sparsities.split(",")]
    except ValueError:
        raise UserError(f"--sparsities {sparsities}: must be whole numbers, as in 20,40") from None
    runtime = Runtime(dtype, device, threads, trust_remote_code)
    source = (calibration, sequences, length)
    job = _build_job(model, method, seed, parse_settings(settings), source, runtime, wanted)
    score_stage(job, wanted, output)


@app.command()
def prune(
    model: ModelOption,
    method: MethodOption,
    sparsity: SparsityOption,
    seed: SeedOption,
    output: OutputOption,
    calibration: CalibrationOption = "bigbench-prose",
    sequences: SequencesOption = 32,
    length: LengthOption = 64,
    settings: SetOption = None,
    scores: Annotated[Path | None, typer.Option(help="file that ``score`` made")] = None,
    dtype: DtypeOption = "float32",
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
    trust_remote_code: RemoteOption = False,
) -> None:
    """Prune a model and write its checkpoint: weights, pruning.json and kept.json."""
    from adaptprune.stages import Runtime, prune_stage

    runtime = Runtime(dtype, device, threads, trust_remote_code)
    source = (calibration, sequences, length)
    job = _build_job(model, method, seed, parse_settings(settings), source, runtime, [sparsity])
    prune_stage(job, sparsity, output, scores)


@app.command()
def loss(
    model: ModelOption,
    tokens: Annotated[Path, typer.Option(help="JSON list of equal-length lists of token ids")],
    dtype: DtypeOption = "float32",
    device: DeviceOption = "cpu",
    threads: ThreadsOption = None,
) -> None:
    """Print the mean next-token cross-entropy (nats) over all predicted positions as JSON."""
    from adaptprune.calibration import read_tokens
    from adaptprune.files import read_json
    from adaptprune.models import locate
    from adaptprune.stages import Runtime, mean_loss_of

    folder = locate(model)
    vocab_size = read_json(folder / "config.json")["vocab_size"]
    rows = read_tokens(tokens, vocab_size)
    print_json(mean_loss_of(folder, rows, Runtime(dtype, device, threads)))


def main() -> None:
    """Run the command line; the entry point of ``adaptprune`` and ``python -m adaptprune``."""
    try:
        app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.TyperException as error:
        # A wrong option or value; typer's own report would take several lines.
        print(f"error: {' '.join(error.format_message().split())}", file=sys.stderr)
        sys.exit(2)
    except (UserError, NumericalError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
