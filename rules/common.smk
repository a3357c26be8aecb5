# What all rules share: what was asked for, and the names of files. No torch is imported.
import sys
from pathlib import Path

from adaptprune.errors import UserError
from adaptprune.evaluation.suites import load_suite
from adaptprune.forkserver import start_forkserver
from adaptprune.machine.workflow_lock import announce_workflow, hold_lock
from adaptprune.pruning.registry import find_method
from adaptprune.tables.declared_tables import DeclaredTables
from adaptprune.workflow import graph, options, paths
from adaptprune.workflow.computed import Computed
from adaptprune.workflow.ending import Ending, say_made
from adaptprune.workflow.papers import (
    claims_file,
    declared_tables,
    paper_of_table,
    papers,
)
from adaptprune.workflow.paths import CELL, DRAWN
from adaptprune.workflow.presented import Presented
from adaptprune.workflow.profiles import profile_names, settings_hash
from adaptprune.workflow.progress import (
    Progress,
    cell_folders,
    report_progress,
)
from adaptprune.workflow.request import Request

graph.collect_no_garbage()

ROOT = Path(workflow.basedir)
CONFIG = paths.config_folder(ROOT)
PAPER_TABLES = paths.tables_folder(ROOT)

try:
    TABLES = DeclaredTables(declared_tables(PAPER_TABLES))
    REQUEST = Request(
        ROOT,
        config,
        TABLES,
        force=lambda file: workflow.dag.forcefiles.add(file),
        say=lambda line: workflow.is_main_process and print(line, file=sys.stderr),
    )
    if REQUEST.compared is not None:
        # Not above: it brings pandas, which the other targets can do without.
        from adaptprune.comparison.conditions import check_stored

        check_stored(
            REQUEST.profile(REQUEST.name), REQUEST.compared, REQUEST.baseline()
        )
    announce_workflow()
except UserError as error:
    raise SystemExit(f"error: {error}")

PROFILE = REQUEST.name
# Functions of rules: of those that compute, and of those that collect and present.
JOB = Computed(REQUEST, lambda: workflow.cores if workflow.local_exec else None)
SHOWN = Presented(REQUEST)
if REQUEST.compared is not None and workflow.is_main_process:
    from adaptprune.comparison.forecast import say_beforehand

    if lacking := REQUEST.lacking_cells():
        offered = workflow.resource_settings
        at_once = offered.nodes or REQUEST.jobs_at_once(offered.cores or 1)
        line = say_beforehand(lacking, Path(REQUEST.baseline()), at_once)
        print(line, file=sys.stderr)
# Files: those of any profile, as patterns, and those of the one that was asked for.
RUN = paths.Run("{profile}")
MINE = paths.Run(PROFILE)


ENDING = Ending(workflow)
if workflow.is_main_process:
    ENDING.watch()


onstart:
    ENDING.begin()
    graph.collect_garbage()
    try:
        hold_lock(Path(paths.RUNS))
    except UserError as error:
        raise SystemExit(f"error: {error}")
    if JOB.cores():
        at_once = max(1, JOB.cores() // JOB.occupied_cores(PROFILE))
        start_forkserver()
    else:
        at_once = workflow.nodes  # jobs in the queue at a time
    report_progress(Progress(cell_folders(workflow.dag.jobs)), at_once)


onsuccess:
    say_made(workflow.dag.targetjobs)


wildcard_constraints:
    profile="|".join(profile_names(CONFIG)),
    model=r"[^/]+",
    method=r"[^/]+",
    sparsity=r"\d+",
    recovery=r"[a-z0-9-]+",
    seed=r"\d+",
    selection=r"|-[a-z0-9_]+",
    known=r"[0-9a-f]{12}",
