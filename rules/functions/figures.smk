# What the rules of figures and measurements ask of a profile.


def sensitivity_calibration(wildcards):
    """Return the calibration set of the first seed; have made again what is of something else."""
    chosen = profile(wildcards.profile)
    folder = f"results/runs/{wildcards.profile}/sensitivity/{wildcards.model}"
    file = f"{folder}/u{wildcards.uniform}.json"
    asked = asked_of_cells(wildcards.profile)
    if asked.other_sensitivity(model_of(wildcards), Path(file)):
        remake(file)
    return drawn_file(
        wildcards.profile, wildcards.model, chosen.calibration, chosen.seeds[0]
    )


def sensitivity_flags(wildcards):
    """Return the text that is scored, as command line options."""
    chosen = profile(wildcards.profile).evaluation
    flags = f"--suite {chosen.suite}"
    if chosen.perplexity_documents is not None:
        flags += f" --perplexity-documents {chosen.perplexity_documents}"
    return flags


def measured_checkpoint(wildcards):
    """Return the checkpoint of the first seed; have a measurement of something else made again."""
    seed = profile(wildcards.profile).seeds[0]
    folder = (
        f"results/runs/{wildcards.profile}/speed/{wildcards.model}/{wildcards.method}"
    )
    file = f"{folder}/{wildcards.sparsity}.json"
    asked = asked_of_cells(wildcards.profile)
    if asked.other_speed(wildcards.method, model_of(wildcards), Path(file)):
        remake(file)
    return f"{folder}/{wildcards.sparsity}-s{seed}/checkpoint"


def workload_flags(wildcards):
    """Return what the models are timed with, as command line options."""
    chosen = profile(wildcards.profile).speed
    return (
        f"--batch {chosen.batch} --prompt {chosen.prompt} "
        f"--new-tokens {chosen.new_tokens} --rounds {chosen.rounds}"
    )


def pruned_cells(name, models):
    """Return model, method and sparsity of all cells of a profile but dense, at the first seed."""
    chosen = profile(name)
    return [
        cell
        for cell in chosen.cells()
        if cell.model in models
        and cell.method != "dense"
        and cell.seed == chosen.seeds[0]
    ]


def speed_records(wildcards):
    return [
        f"results/runs/{wildcards.profile}/speed/{slug(cell.model)}/{cell.method}/{cell.sparsity}.json"
        for cell in pruned_cells(wildcards.profile, profile(wildcards.profile).models)
    ]


def first_model_files(wildcards, name):
    """Return a file of every pruned cell of the first model."""
    cells = pruned_cells(wildcards.profile, profile(wildcards.profile).models[:1])
    return [
        f"results/runs/{wildcards.profile}/cells/{cell.key}/{name}" for cell in cells
    ]


def layer_files(wildcards):
    """Return what Fig. 1 is drawn from."""
    model = slug(profile(wildcards.profile).models[0])
    return [
        *(
            f"results/runs/{wildcards.profile}/sensitivity/{model}/u{uniform}.json"
            for uniform in UNIFORM
        ),
        *first_model_files(wildcards, "kept.json"),
    ]


def trajectory_file(wildcards):
    """Return the record that Fig. 2 is drawn from."""
    chosen = profile(wildcards.profile)
    cell = Cell(
        chosen.models[0],
        "adapt-pruner",
        max(chosen.sparsities),
        "none",
        chosen.seeds[0],
    )
    return f"results/runs/{wildcards.profile}/cells/{cell.key}/pruning.json"


def collected_files(wildcards):
    folder = f"results/runs/{wildcards.profile}"
    return [f"{folder}/results.csv", f"{folder}/provenance.csv"]


def shown_log(wildcards):
    """Return the log that Fig. 3 is drawn from."""
    try:
        cell = run_in_stages(profile(wildcards.profile))
    except UserError as error:
        raise SystemExit(f"error: {error}")
    return f"results/runs/{wildcards.profile}/cells/{cell.key}/log.jsonl"


def interleaving_results(wildcards):
    """Return the results that Fig. 4 is drawn from: those of the table of the same cells."""
    return f"results/runs/{wildcards.profile}/results-ablation_interleave.csv"


FIGURES = {
    "fig1": layer_files,
    "fig2": trajectory_file,
    "fig3": shown_log,
    "fig4": interleaving_results,
    "size": collected_files,
    "speed": speed_records,
}


# Tables of measurements, whose rows no declaration lists.
MEASURED = {"speed": speed_records, "cost": collected_files}


def figure_sources(wildcards):
    """Return what a figure is drawn from."""
    files = FIGURES[wildcards.figure](wildcards)
    record = f"results/runs/{wildcards.profile}/made/figures/{wildcards.figure}.json"
    listed = [files] if isinstance(files, str) else files
    remake_if_stale(record, profile_made_from(wildcards), listed)
    return files


def measured_sources(wildcards):
    """Return what a table of measurements is made from."""
    files = MEASURED[wildcards.measured](wildcards)
    record = f"results/runs/{wildcards.profile}/made/{wildcards.measured}.json"
    remake_if_stale(record, profile_made_from(wildcards), files)
    return files
