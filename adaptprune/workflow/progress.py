"""Which cells of a workflow are done, and how long the others will take. Torch-free."""

from __future__ import annotations

import json
import math
import statistics
import sys
import threading
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adaptprune.cells import record_name

if TYPE_CHECKING:
    from collections.abc import Iterable


def cell_folders(jobs: Iterable[Any]) -> list[Path]:
    """Return the folders of the cells that Snakemake's jobs evaluate, sorted."""
    files = [getattr(job.output, "evaluation", None) for job in jobs]
    return sorted(Path(file).parent for file in files if file)


class Progress:
    """What the records of some cells tell, looked at again and again.

    Args:
        folders: of the cells: ``…/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}``.
    """

    def __init__(self, folders: list[Path]):
        self.folders = folders
        self._records: dict[Path, dict[str, Any]] = {}

    def _record(self, path: Path) -> dict[str, Any] | None:
        """Return a record's provenance; a file is read once, since records never change."""
        if path not in self._records:
            try:
                self._records[path] = json.loads(path.read_text(encoding="utf-8"))["provenance"]
            except (OSError, ValueError, KeyError, TypeError):
                return None  # not there yet, or for `collect` to complain about
        return self._records[path]

    def _seconds(self, stage: str, folder: Path) -> float | None:
        name = "evaluation.json" if stage == "evaluate" else record_name(folder.parent.name)
        record = self._record(folder / name)
        if record is None:
            return None
        if stage == "score":
            return record.get("score_wall_s")
        # The CPU time also covers the start of the process.
        return max(record.get("wall_s") or 0.0, record.get("cpu_s") or 0.0)

    def remaining(self) -> list[Path]:
        """Return the folders of the cells without an evaluation."""
        return [folder for folder in self.folders if self._seconds("evaluate", folder) is None]

    def seconds_left(self) -> float | None:
        """Estimate the job seconds still to be spent; None before anything is known.

        A job is expected to take the mean of those of the same stage and method, or else of the
        same stage.
        """
        total = 0.0
        for stage in ("score", "prune", "evaluate"):
            known: dict[str, list[float]] = defaultdict(list)
            method_of: dict[Any, str] = {}
            finished = set()
            for folder in self.folders:
                *scored_once, method, _, _, seed = folder.parts
                job = (*scored_once, method, seed) if stage == "score" else folder
                method_of[job] = method
                if (seconds := self._seconds(stage, folder)) is not None:
                    known[method].append(seconds)
                if self._seconds("prune" if stage == "score" else stage, folder) is not None:
                    finished.add(job)
            everything = [seconds for of_method in known.values() for seconds in of_method]
            waiting = [method for job, method in method_of.items() if job not in finished]
            if waiting and not everything:
                if stage == "score":
                    continue  # perhaps no method has this stage
                return None
            total += sum(statistics.fmean(known.get(method) or everything) for method in waiting)
        return total

    def line(self, jobs: int) -> str:
        """Return one line for people.

        Args:
            jobs: how many jobs run at once.
        """
        done = len(self.folders) - len(self.remaining())
        text = f"progress: {done} of {len(self.folders)} cells done"
        seconds = self.seconds_left()
        if seconds is None or done == len(self.folders):
            return text
        return f"{text}, about {math.ceil(seconds / jobs / 60)} min left"


def report_progress(progress: Progress, jobs: int, interval: float = 20) -> None:
    """Print a line to stderr whenever it has changed, until this process ends; none of no cells.

    Args:
        progress: of the run.
        jobs: how many jobs run at once.
        interval: seconds between two looks.
    """

    def watch() -> None:
        last = ""
        pause = threading.Event()
        while not pause.wait(interval):
            line = progress.line(jobs)
            if line != last:
                print(line, file=sys.stderr, flush=True)
            last = line

    if progress.folders:
        threading.Thread(target=watch, daemon=True).start()
