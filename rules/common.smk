# What all rules share: the profile, its cells, and where files lie. No torch is imported here.
import gc
import json
import os
import shlex
from functools import cache
from pathlib import Path

from adaptprune.workflow.asked import Asked
from adaptprune.cells import record_name
from adaptprune.cells import Cell
from adaptprune.workflow.profiles import (
    OVERRIDES,
    load_profile,
    profile_names,
    settings_hash,
)
from adaptprune.tables.declared import load_declaration
from adaptprune.errors import UserError, unknown
from adaptprune.evaluation.suites import load_suite
from adaptprune.forkserver import start_forkserver
from adaptprune.workflow.made_from import is_made_from
from adaptprune.pruning.methodfile import load_method_file
from adaptprune.models.catalogue import catalogue, find_entry
from adaptprune.cells import slug
from adaptprune.workflow.papers import (
    claims_file,
    declared_tables,
    paper_of_table,
    papers,
    published_file,
)
from adaptprune.workflow.progress import Progress, report_progress
from adaptprune.data.training import is_on_hub
from adaptprune.data.mixtures import find_mixture
from adaptprune.pruning.registry import find_method
from adaptprune.cells import split_variant
from adaptprune.report.found import found_files
from adaptprune.measure.layers import UNIFORM
from adaptprune.tables.select import cells_of, run_in_stages
from adaptprune.machine.workflow_lock import announce_workflow, hold_lock

# The graph of a large matrix is millions of objects that stay: look for garbage once it is complete.
gc.disable()

ROOT = Path(workflow.basedir)
#: The new method that is compared with stored baselines; its cells alone are run then.
COMPARED = config.get("method")
#: The recoveries of cells that are trained, as a wildcard's expression.
TRAINED = r"(?!none/)[a-z0-9-]+"


def overrides():
    """Return the profile keys that the command line sets."""
    given = {key: config[key] for key in OVERRIDES if key in config}
    return given if COMPARED is None else given | {"methods": str(COMPARED)}


try:
    #: Every declared table and where its declaration lies.
    TABLES = declared_tables(ROOT / "paper_tables")
except UserError as error:
    raise SystemExit(f"error: {error}")


@cache
def declaration(table):
    return load_declaration(TABLES[table])


def stand_in(table):
    """Return the profile that a table is run in when the one of the command line is asked for."""
    return declaration(table).profiles.get(PROFILE, PROFILE)


@cache
def is_asked_for(name):
    """Say whether a profile is the one asked for, or stands in for it in some table."""
    return name in {PROFILE, *map(stand_in, TABLES)}


@cache
def profile(name):
    """Load a profile; the one that was asked for takes the overrides of the command line."""
    return load_profile(
        ROOT / "config", name, overrides() if is_asked_for(name) else None
    )


@cache
def table_cells(name, table):
    """Return the cells that a declared table is made from."""
    return cells_of(declaration(table), profile(name), name)


def results_file(name, table, kind="results"):
    """Return the results (or provenance) of a table: the profile's, or those of its own cells."""
    same = table_cells(name, table) == profile(name).cells()
    return f"results/runs/{name}/{kind}{'' if same else f'-{table}'}.csv"


def table_files(table, name=None):
    """Return what a table's target asks for.

    The results are named too, so that they are collected again when they are gone and the table
    is not.
    """
    try:
        name = name or stand_in(table)
        return [
            results_file(name, table),
            f"paper_tables/generated/{name}/{table}.md",
        ]
    except UserError as error:
        raise SystemExit(f"error: {error}")


@cache
def models_by_folder(name):
    known = [*catalogue(), *profile(name).all_models]
    return {slug(model): model for model in known}


def model_of(wildcards):
    """Return the id of the model that a folder name stands for."""
    return models_by_folder(wildcards.profile)[wildcards.model]


def method_of(wildcards):
    return find_method(split_variant(wildcards.method)[0])


@cache
def settings_of(name, method):
    """Return what a method, or a variant of it, runs with in a profile."""
    return profile(name).settings_of(method)


@cache
def shares_scores(name, method):
    """Say whether the sparsities of a method are cut from one score file."""
    return profile(name).shares_scores(method)


def set_options(values):
    """Return values as options of the command line, lists and null included."""
    return [
        part
        for key, value in sorted(values.items())
        for part in ("--set", f"{key}={json.dumps(value)}")
    ]


def settings_flags(wildcards):
    """Return the method's parameters, and the file it lies in, as command line options."""
    flags = set_options(settings_of(wildcards.profile, wildcards.method).parameters)
    for file in method_file(wildcards):
        flags += ["--method-file", file]
    return shlex.join(flags)


def method_file(wildcards):
    """Return the file of a method that is not installed: a change of it makes its cells anew."""
    file = profile(wildcards.profile).method_file
    if file is None or load_method_file(Path(file)) is not method_of(wildcards):
        return []
    return [file]


def runtime_flags(wildcards):
    chosen = profile(wildcards.profile)
    flags = (
        f"--dtype {chosen.dtype} --device {chosen.device} --threads {chosen.threads}"
    )
    return flags + (" --trust-remote-code" if chosen.trust_remote_code else "")


def offered_cores():
    """Return the cores that the run is given on this machine; None where it submits its jobs."""
    return workflow.cores if workflow.local_exec else None


def occupied_cores(name):
    """Return the cores a job occupies: more than it uses where more are offered than there are."""
    there = os.cpu_count() or 1
    return profile(name).threads * max(1, (offered_cores() or there) // there)


def threads_of(wildcards):
    return occupied_cores(wildcards.profile)


def memory_of(wildcards, attempt):
    """Return the megabytes of a job: of the profile, doubled with every attempt."""
    return profile(wildcards.profile).memory_mb * 2 ** (attempt - 1)


def gpus_of(wildcards):
    return int(profile(wildcards.profile).device.startswith("cuda"))


def text_files(name, text):
    """Return the record of a text of the hub once it is fetched; nothing for one that is built."""
    return [f"results/runs/{name}/texts/{text}.json"] if is_on_hub(text) else []


def drawn_file(name, model_folder, calibration, seed):
    """Return the calibration set that is drawn for a model by such settings."""
    folder = f"results/runs/{name}/calibration/{model_folder}"
    return f"{folder}/{calibration.slug}/s{seed}.json"


def calibration_files(wildcards):
    """Return the calibration set of a cell, or nothing for a method that needs none."""
    if not method_of(wildcards).needs_calibration:
        return []
    chosen = settings_of(wildcards.profile, wildcards.method).calibration
    chosen = chosen or profile(wildcards.profile).calibration
    return [drawn_file(wildcards.profile, wildcards.model, chosen, wildcards.seed)]


def scores_files(wildcards):
    """Return the score file that serves every sparsity, or nothing where there is none."""
    if not shares_scores(wildcards.profile, wildcards.method):
        return []
    return [
        f"results/runs/{wildcards.profile}/scores/{wildcards.model}/{wildcards.method}/s{wildcards.seed}.safetensors"
    ]


# One function for all files and one for all options: Snakemake calls each of them for every job.
def scoring_inputs(wildcards):
    """Return the model that a method works on, and what it needs besides."""
    model = f"results/runs/{wildcards.profile}/models/{wildcards.model}.json"
    return [model, *calibration_files(wildcards), *method_file(wildcards)]


def scored_inputs(wildcards):
    """Return the same; have scores made again that are of something else."""
    (file,) = scores_files(wildcards)
    asked = asked_of_cells(wildcards.profile)
    if asked.other_scores(wildcards.method, model_of(wildcards), Path(file)):
        remake(file)
    return scoring_inputs(wildcards)


def pruning_inputs(wildcards):
    """Return the same with scores in the model's place, where there are some: they wait for it."""
    model, *others = scoring_inputs(wildcards)
    return [*(scores_files(wildcards) or [model]), *others]


def scoring_options(wildcards):
    """Return what a method works with, as command line options."""
    calibration = [f"--calibration {path}" for path in calibration_files(wildcards)]
    return " ".join([settings_flags(wildcards), *calibration, runtime_flags(wildcards)])


def pruning_options(wildcards):
    scores = [f"--scores {path}" for path in scores_files(wildcards)]
    return " ".join([scoring_options(wildcards), *scores])


def method_version(wildcards):
    """Return what makes a method's cells, and no others, run again."""
    return method_of(wildcards).version


def declared_suite(wildcards):
    """Return a hash of the profile's benchmarks as they are declared."""
    return declared_benchmarks(profile(wildcards.profile).evaluation.suite)


@cache
def declared_benchmarks(suite):
    return settings_hash(load_suite(suite))


def evaluation_options(wildcards):
    """Return what is evaluated and how, as command line options."""
    chosen = profile(wildcards.profile).evaluation
    # A model is shown no more than the window it was built for. Only the job knows that of a model
    # that is not built in: the hub's may not be fetched yet, and options must not change by that.
    model = model_of(wildcards)
    length = chosen.window_of(model)
    window = f"--{'max-length' if find_entry(model) else 'window-limit'} {length}"
    flags = f"--suite {chosen.suite} {window} --batch {chosen.batch}"
    if chosen.scorer_precision != "float32":
        flags += f" --scorer-precision {chosen.scorer_precision}"
    if chosen.documents_per_task is not None:
        flags += f" --documents-per-task {chosen.documents_per_task}"
    if chosen.perplexity_documents is not None:
        flags += f" --perplexity-documents {chosen.perplexity_documents}"
    if lengths := chosen.lengths_within(length):
        flags += f" --token-perplexity {','.join(map(str, lengths))}"
    return f"{flags} {runtime_flags(wildcards)} {local_data_flag(wildcards)}"


def local_data_flag(wildcards):
    folder = profile(wildcards.profile).local_data
    return f"--local-data {shlex.quote(folder)}" if folder else ""


def dense_evaluation(wildcards):
    """Return the evaluation of the dense model, which does not depend on the seed."""
    seed = profile(wildcards.profile).seeds[0]
    return f"results/runs/{wildcards.profile}/cells/{wildcards.model}/dense/0/none/s{seed}/evaluation.json"


@cache
def gate_file(name, model):
    """Return the check of a dense model; what it compares with is part of its name.

    A change then asks for another file. Were it among the rule's params, Snakemake would run the
    check again and, for the ancient input's sake, nothing else.
    """
    chosen = profile(name)
    suite = chosen.evaluation.suite
    known = settings_hash((suite, chosen.dense_gate, load_suite(suite).dense))
    return f"results/runs/{name}/dense_gate/{slug(model)}-{known}.json"


@cache
def has_known_scores(name, model):
    """Say whether the dense scores of a model are known, and part of the profile's matrix."""
    chosen = profile(name)
    known = load_suite(chosen.evaluation.suite).dense
    return "dense" in chosen.methods and model in chosen.models and model in known


def dense_gate(wildcards):
    """Return the check of the dense model that the other cells wait for, where there is one."""
    model = model_of(wildcards)
    if wildcards.method == "dense" or not has_known_scores(wildcards.profile, model):
        return []
    return gate_file(wildcards.profile, model)


def collected_cells(wildcards):
    """Return the cells of one results file."""
    table = wildcards.selection.removeprefix("-")
    name = wildcards.profile
    return table_cells(name, table) if table else profile(name).cells()


def dense_gates(wildcards):
    """Return the checks of all dense models of a results file."""
    models = sorted({cell.model for cell in collected_cells(wildcards)})
    return [
        gate_file(wildcards.profile, model)
        for model in models
        if has_known_scores(wildcards.profile, model)
    ]


def cell_files(wildcards):
    """Return the files of every cell of one results file; have made again what is of another."""
    cells = f"results/runs/{wildcards.profile}/cells"
    files = [
        f"{cells}/{cell.key}/{name}"
        for cell in collected_cells(wildcards)
        for name in (record_name(cell.recovery), "evaluation.json")
    ]
    record = f"results/runs/{wildcards.profile}/made/results{wildcards.selection}.json"
    if remake_if_stale(record, results_made_from(wildcards), files):
        remake_other_cells(wildcards.profile, collected_cells(wildcards))
    return files


# Snakemake sees that settings have changed by its own notes alone, which lie in `.snakemake` and are
# lost with it, or left behind where results are copied. What lies here is therefore looked at too.
def remake(file):
    """Have a file made again that Snakemake may hold to be up to date."""
    workflow.dag.forcefiles.add(file)


def remake_if_stale(record, digest, inputs):
    """Have generated files made again, and say so, where they are of something else."""
    stale = not is_made_from(Path(record), digest, inputs)
    if stale:
        remake(record)
    return stale


def remake_other_cells(name, cells):
    """Have those cells made again whose records are not what the profile asks for."""
    for cell in cells:
        folder = Path("results/runs", name, "cells", cell.key)
        for file in asked_of_cells(name).deviations(cell, folder):
            remake(f"{folder}/{file}")


def results_made_from(wildcards):
    chosen = profile(wildcards.profile)
    return settings_hash((chosen, collected_cells(wildcards)))


def table_made_from(wildcards):
    name, table = wildcards.profile, wildcards.table
    return settings_hash((profile(name), declaration(table), table_cells(name, table)))


def profile_made_from(wildcards):
    return settings_hash(profile(wildcards.profile))


def published_beside(wildcards):
    """Return the printed numbers that lie beside a declaration, where there are some."""
    file = published_file(TABLES[wildcards.table].parent)
    return [file] if file.is_file() else []


def table_sources(wildcards):
    """Return the results and the provenance that a table is made from."""
    name, table = wildcards.profile, wildcards.table
    files = [results_file(name, table, kind) for kind in ("results", "provenance")]
    remake_if_stale(
        f"results/runs/{name}/made/{table}.json", table_made_from(wildcards), files
    )
    return files


@cache
def asked_of_cells(name):
    """Return what a profile asks of its cells; models by the hashes that were found of them."""
    fetched = {
        model: read_fetched(f"results/runs/{name}/models/{slug(model)}.json")
        for model in profile(name).all_models
    }
    revisions = {
        model: found["revision"]
        for model, found in fetched.items()
        if found.get("model") == model
    }
    return Asked(profile(name), revisions, ROOT)


def read_fetched(file):
    """Return what a fetch noted; nothing where there is no such note."""
    try:
        content = json.loads(Path(file).read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def fetched_model(wildcards):
    """Have a model fetched again whose note is of another one of the same name; no inputs."""
    file = f"results/runs/{wildcards.profile}/models/{wildcards.model}.json"
    if read_fetched(file).get("model") != model_of(wildcards):
        remake(file)
    return []


def fetched_suite(wildcards):
    """Have a suite fetched again whose note is of another one, or from elsewhere; no inputs."""
    file = f"results/runs/{wildcards.profile}/suite.json"
    chosen = profile(wildcards.profile)
    noted, is_local = read_fetched(file), chosen.local_data is not None
    if noted.get("suite") != chosen.evaluation.suite or (
        noted.get("data") in ("hub", "local") and (noted["data"] == "local") != is_local
    ):
        remake(file)
    if is_local and noted.get("folder", chosen.local_data) != chosen.local_data:
        remake(file)
    return []


def fetched_text(wildcards):
    """Have a text looked up again whose note is of data from elsewhere; no inputs."""
    file = f"results/runs/{wildcards.profile}/texts/{wildcards.text}.json"
    wanted = profile(wildcards.profile).local_data
    if read_fetched(file).get("folder", wanted) != wanted:
        remake(file)
    return []


def given_overrides(name):
    """Repeat the overrides of the command line for a job that reads the profile itself."""
    given = overrides() if is_asked_for(name) else {}
    return " ".join(
        f"--override {shlex.quote(f'{key}={value}')}" for key, value in given.items()
    )


def overrides_flags(wildcards):
    return given_overrides(wildcards.profile)


def declaration_flag(wildcards):
    """Name the table whose cells are collected, where it is not the matrix of the profile."""
    table = wildcards.selection.removeprefix("-")
    return f"--declaration {shlex.quote(str(TABLES[table]))}" if table else ""


try:
    KEYS = ["profile", "method", "baseline", *OVERRIDES]
    for key in config:
        if key not in KEYS:
            raise unknown("config key", key, KEYS)
    if COMPARED is not None and "methods" in config:
        raise UserError("config keys method and methods: give one of the two")
    PROFILE = str(config.get("profile", "offline" if COMPARED else "mini"))
    profile(PROFILE)
    announce_workflow()
except UserError as error:
    raise SystemExit(f"error: {error}")


onstart:
    gc.freeze()
    gc.enable()
    try:
        hold_lock(Path("results/runs"))
    except UserError as error:
        raise SystemExit(f"error: {error}")
    folders = sorted(
        Path(job.output.evaluation).parent
        for job in workflow.dag.jobs
        if "evaluation" in job.output.keys()
    )
    if offered_cores():
        at_once = max(1, offered_cores() // occupied_cores(PROFILE))
        start_forkserver()
    else:
        at_once = workflow.nodes  # jobs in the queue at a time
    report_progress(Progress(folders), at_once)


wildcard_constraints:
    profile="|".join(profile_names(ROOT / "config")),
    model=r"[^/]+",
    method=r"[^/]+",
    sparsity=r"\d+",
    recovery=r"[a-z0-9-]+",
    seed=r"\d+",
    selection=r"|-[a-z0-9_]+",
    known=r"[0-9a-f]{12}",


def counted_tokens(wildcards):
    """Return the counts that Table 2 shows; have them made again where they are a model's."""
    name = wildcards.profile
    file = f"results/runs/{name}/tokens/{profile(name).mixture}.json"
    counted = read_fetched(file).get("conditions") or {}
    if counted.get("model") != profile(name).models[0]:
        remake(file)
    remake_if_stale(
        f"results/runs/{name}/made/table2.json", profile_made_from(wildcards), [file]
    )
    return file
