"""The command line: ``adaptprune COMMAND`` or ``python -m adaptprune COMMAND``.

Results go to stdout or to files, logs and progress to stderr. A mistake in the input is one line
on stderr and exit status 2.
"""

from __future__ import annotations

import atexit
import functools
import gc
import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup

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
    written,
)
from adaptprune.errors import INTERRUPTED, STOPPED, NumericalError, UserError
from adaptprune.files.surroundings import check, expanded, speak_utf8
from adaptprune.machine.workflow_lock import end_with_workflow
from adaptprune.pruning.vectors import take_official_vectors

if TYPE_CHECKING:
    from collections.abc import Callable


def with_expanded_paths(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command that is given paths without ``~``, which no shell expands after ``=``."""

    @functools.wraps(command)
    def run(**options: Any) -> None:
        command(**{n: expanded(v) if isinstance(v, Path) else v for n, v in options.items()})

    return run


class Grouped(TyperGroup):
    """Lists the commands by what they are for."""

    def format_commands(self, context: Any, formatter: Any) -> None:
        """Write every group under its title; what the workflow alone calls is not listed."""
        longest = max(len(name) for name in self.commands)
        for title, commands in COMMANDS.items():
            listed = [self.commands[name_of(command)] for command in commands]
            rows = [
                (str(one.name).ljust(longest), one.get_short_help_str(formatter.width))
                for one in listed
                if not one.hidden
            ]
            with formatter.section(title):
                formatter.write_dl(rows)


def name_of(command: Callable[..., None]) -> str:
    """Return the name of a command on the command line."""
    return command.__name__.replace("_", "-")


COMMANDS: dict[str, tuple[Callable[..., None], ...]] = {
    "Prune and measure": (
        pruning.calibrate,
        pruning.score,
        pruning.prune,
        training.recover,
        training.pretrain,
        training.merge,
        reporting.evaluate,
        pruning.loss,
        measuring.measure,
        measuring.sensitivity,
    ),
    "Run and collect": (
        prefetching.prefetch,
        pruning.fetch,
        reporting.status,
        reporting.gate,
        reporting.collect,
        comparing.store,
        reporting.made_from,
        training.train_stage,
    ),
    "Present": (
        comparing.compare,
        comparing.leaderboard,
        reporting.table,
        reporting.figure,
        reporting.report,
        reporting.benchmarks,
        measuring.speed,
        measuring.cost,
        data.count_tokens,
        data.data_table,
        audit.audit,
    ),
    "Inspect": (
        listing.methods,
        listing.recoveries,
        listing.models,
        listing.tasks,
        listing.params,
        checking.check_method,
        diagnosing.doctor,
    ),
}
#: What the workflow and the training processes call; known, but not listed.
UNLISTED = (reporting.made_from, training.train_stage)

app = typer.Typer(
    cls=Grouped,
    help="Pruning of language models: prune, evaluate, compare.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"adaptprune {version('adaptprune')}")
        raise typer.Exit


@app.callback()
def of_the_suite(
    _: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="and end")
    ] = False,
) -> None:
    """Pruning of language models: prune, evaluate, compare."""


for group in COMMANDS.values():
    for command in group:
        app.command(name_of(command), hidden=command in UNLISTED)(with_expanded_paths(command))


def spare_the_garbage_collector() -> None:
    """Look for cyclic garbage rarely, and not at the end.

    Importing torch and transformers makes a million objects that stay; walking through them again
    and again takes about a fifth of a job's start and end.
    """
    gc.set_threshold(100_000, 50, 100)
    atexit.register(gc.freeze)


def main() -> None:
    """Run the command line; the entry point of ``adaptprune`` and ``python -m adaptprune``."""
    speak_utf8()
    take_official_vectors(sys.argv[1:])
    spare_the_garbage_collector()
    end_with_workflow()
    written.forget()
    status = 0
    try:
        check()
        # The interrupt and an exit of typer's come back as a status.
        status = app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0
    except (typer.Abort, KeyboardInterrupt):
        status = INTERRUPTED
    except typer.Exit as stop:
        status = stop.exit_code
    except typer.TyperException as error:
        # A wrong option or value; typer's own report would take several lines.
        message = " ".join(error.format_message().split())
        if message:  # empty where the help has been shown instead
            print(f"error: {message}", file=sys.stderr)
        sys.exit(2)
    except (UserError, NumericalError) as error:
        _end(str(error))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # who read has gone
        sys.exit(1)
    except OSError as error:  # of a file or folder that nobody thought could be wrong
        if error.filename is None or error.strerror is None:
            raise
        _end(f"{error.filename}: {error.strerror}")
    if status == INTERRUPTED:
        print(STOPPED, file=sys.stderr)
    if status:
        sys.exit(status)
    written.tell()


def _end(message: str) -> NoReturn:
    """End in one line."""
    print(f"error: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(2)
