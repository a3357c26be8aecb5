"""Say where the time of a workflow went: python benchmarks/time_spent.py SNAKEMAKE_LOG PROVENANCE.

The log gives the start and end of every job, the provenance the seconds its stages computed; the
rest of a job is its shell, the start of its processes, and writing what it made.
"""

from __future__ import annotations

import datetime
import re
import sys
from pathlib import Path

import pandas as pd

_TIME = re.compile(r"^\[(\w{3} \w{3} +\d+ \d\d:\d\d:\d\d \d{4})\]")
_START = re.compile(r"^(?:local)?[Jj]ob (\d+): (\w+)")
_END = re.compile(r"^Finished jobid: (\d+) \(Rule: (\w+)\)")


def job_seconds(log: Path) -> tuple[pd.DataFrame, float]:
    """Return rule and seconds of every finished job, and the seconds that passed in all."""
    now: datetime.datetime | None = None
    first: datetime.datetime | None = None
    started: dict[str, datetime.datetime] = {}
    jobs = []
    for line in log.read_text().splitlines():
        if match := _TIME.match(line):
            now = datetime.datetime.strptime(match[1], "%a %b %d %H:%M:%S %Y")
            first = first or now
        elif now and (match := _START.match(line)):
            started[match[1]] = now
        elif now and (match := _END.match(line)) and match[1] in started:
            jobs.append({"rule": match[2], "seconds": (now - started[match[1]]).total_seconds()})
    if not jobs or first is None or now is None:
        sys.exit(f"{log}: no finished jobs")
    return pd.DataFrame(jobs), (now - first).total_seconds()


def main(log: str, provenance: str) -> None:
    """Print the shares as a Markdown table."""
    jobs, elapsed = job_seconds(Path(log))
    computed = pd.read_csv(provenance).groupby("stage")["wall_s"].sum()
    spent = jobs.groupby("rule")["seconds"].agg(["count", "sum"])
    print(f"Elapsed {elapsed / 60:.1f} min; jobs took {spent['sum'].sum() / 60:.1f} min in all.\n")
    print("| rule | jobs | minutes in jobs | of them computing |\n|---|---:|---:|---|")
    for rule, (count, seconds) in spent.sort_values("sum", ascending=False).iterrows():
        stages = computed[computed.index.isin(str(rule).split("_"))]
        inside = ", ".join(f"{stage} {took / 60:.1f}" for stage, took in stages.items()) or "-"
        print(f"| {rule} | {count:.0f} | {seconds / 60:.1f} | {inside} |")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
