"""What a workflow says last: the tables, pages and figures it made, or how to go on. Torch-free."""

from __future__ import annotations

import atexit
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.errors import STOPPED

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Files that people read.
_PAGES = (".html", ".md", ".pdf")


def say_made(jobs: Iterable[Any], folder: Path = Path()) -> None:
    """Name on stderr the tables, pages and figures that were asked for, where they lie now.

    Args:
        jobs: of the targets; one that only names files has them as inputs.
        folder: that their files are named from.
    """
    asked = {str(file) for job in jobs for file in (*job.input, *job.output)}
    for file in sorted(asked):
        if file.endswith(_PAGES) and (folder / file).is_file():
            print(f"made {file}", file=sys.stderr)


class Ending:
    """Says the last lines of a workflow that Snakemake calls no handler for.

    These are of a run that found nothing to do, and of one that Ctrl-C stopped.

    Args:
        workflow: Snakemake's.
    """

    def __init__(self, workflow: Any):
        self._workflow, self._folder = workflow, Path.cwd()
        self._has_begun = self._is_stopped = False

    def watch(self) -> None:
        """Speak when Python ends."""
        atexit.register(self._say)
        # A run in the background may be meant to ignore the interrupt.
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, self._stop)

    def begin(self) -> None:
        """Note that jobs are run."""
        self._has_begun = True

    def _stop(self, number: int, frame: Any) -> None:
        self._is_stopped = True
        signal.default_int_handler(number, frame)

    def _say(self) -> None:
        dag = self._workflow.dag
        if self._is_stopped:
            print(STOPPED, file=sys.stderr)
        elif dag is None or self._has_begun or self._workflow.dryrun:
            return
        elif len(dag) == 0:
            say_made(dag.targetjobs, self._folder)
