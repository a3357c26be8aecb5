"""The command line: ``adaptprune COMMAND`` or ``python -m adaptprune COMMAND``.

Results go to stdout or to files, logs and progress to stderr. A mistake in the input is one line
on stderr and exit status 2.
"""

from __future__ import annotations

import atexit
import gc
import sys

import typer

from adaptprune.commands import (
    audit,
    checking,
    comparing,
    data,
    diagnosing,
    listing,
    measuring,
    prefetching,
    pruning,
    reporting,
    training,
)
from adaptprune.errors import NumericalError, UserError
from adaptprune.workflow import end_with_workflow

app = typer.Typer(
    help="Structured pruning of language models: prune, evaluate, compare.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    listing.methods,
    listing.recoveries,
    listing.models,
    listing.tasks,
    listing.params,
    checking.check_method,
    pruning.fetch,
    prefetching.prefetch,
    diagnosing.doctor,
    pruning.calibrate,
    pruning.score,
    pruning.prune,
    pruning.loss,
    training.recover,
    training.train_stage,
    reporting.evaluate,
    reporting.gate,
    reporting.collect,
    reporting.status,
    reporting.table,
    reporting.figure,
    reporting.report,
    reporting.benchmarks,
    data.count_tokens,
    data.data_table,
    measuring.sensitivity,
    measuring.measure,
    measuring.speed,
    measuring.cost,
    comparing.store,
    comparing.compare,
    audit.audit,
):
    app.command()(command)


def spare_the_garbage_collector() -> None:
    """Look for cyclic garbage rarely, and not at the end.

    Importing torch and transformers makes a million objects that stay; walking through them again
    and again takes about a fifth of a job's start and end.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def main() -> None:
    """Run the command line; the entry point of ``adaptprune`` and ``python -m adaptprune``."""
    spare_the_garbage_collector()
    end_with_workflow()
    try:
        app(standalone_mode=False)
    except (typer.Abort, KeyboardInterrupt):
        sys.exit(130)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except typer.TyperException as error:
        # A wrong option or value; typer's own report would take several lines.
        message = " ".join(error.format_message().split())
        if message:  # empty where the help has been shown instead
            print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    except (UserError, NumericalError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
