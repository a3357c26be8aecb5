# Figures, and the stages that only they need: single layers cut, speed of pruned models.


def sensitivity_calibration(wildcards):
    """Return the calibration set of the first seed."""
    chosen = profile(wildcards.profile)
    folder = f"results/runs/{wildcards.profile}/calibration/{wildcards.model}"
    return f"{folder}/{chosen.calibration.slug}/s{chosen.seeds[0]}.json"


def sensitivity_flags(wildcards):
    """Return the text that is scored, as command line options."""
    chosen = profile(wildcards.profile).evaluation
    flags = f"--suite {chosen.suite}"
    if chosen.perplexity_documents is not None:
        flags += f" --perplexity-documents {chosen.perplexity_documents}"
    return flags


rule sensitivity:
    input:
        model="results/runs/{profile}/models/{model}.json",
        suite="results/runs/{profile}/suite.json",
        calibration=sensitivity_calibration,
    output:
        "results/runs/{profile}/sensitivity/{model}/u{uniform}.json",
    log:
        "results/runs/{profile}/logs/sensitivity/{model}-u{uniform}.txt",
    wildcard_constraints:
        uniform=r"\d+",
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        model=model_of,
        text=sensitivity_flags,
        runtime=runtime_flags,
        local_data=local_data_flag,
    message:
        "cut single layers of {wildcards.model}, all cut by {wildcards.uniform} % before"
    shell:
        "python -m adaptprune sensitivity --model {params.model} --uniform {wildcards.uniform} "
        "--calibration {input.calibration} {params.text} {params.runtime} {params.local_data} "
        "--output {output} > {log} 2>&1"


# A checkpoint of its own: the cell's is gone once it is evaluated, and made again there it would
# have the cell evaluated again.
use rule prune as prune_to_measure with:
    output:
        checkpoint=temp(
            directory(
                "results/runs/{profile}/speed/{model}/{method}/{sparsity}-s{seed}/checkpoint"
            )
        ),
        record=temp(
            "results/runs/{profile}/speed/{model}/{method}/{sparsity}-s{seed}/pruning.json"
        ),
        kept=temp(
            "results/runs/{profile}/speed/{model}/{method}/{sparsity}-s{seed}/kept.json"
        ),
    log:
        "results/runs/{profile}/logs/speed/{model}-{method}-{sparsity}-s{seed}-prune.txt",


def measured_checkpoint(wildcards):
    """Return the checkpoint of the first seed."""
    seed = profile(wildcards.profile).seeds[0]
    folder = (
        f"results/runs/{wildcards.profile}/speed/{wildcards.model}/{wildcards.method}"
    )
    return f"{folder}/{wildcards.sparsity}-s{seed}/checkpoint"


def workload_flags(wildcards):
    """Return what the models are timed with, as command line options."""
    chosen = profile(wildcards.profile).speed
    return (
        f"--batch {chosen.batch} --prompt {chosen.prompt} "
        f"--new-tokens {chosen.new_tokens} --rounds {chosen.rounds}"
    )


# All cores: nothing else of the workflow may run beside a measurement.
rule measure:
    input:
        measured_checkpoint,
    output:
        "results/runs/{profile}/speed/{model}/{method}/{sparsity}.json",
    log:
        "results/runs/{profile}/logs/speed/{model}-{method}-{sparsity}.txt",
    conda:
        "../environment.yml"
    threads: lambda wildcards: workflow.cores or threads_of(wildcards)
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        workload=workload_flags,
        runtime=runtime_flags,
        version=method_version,
    message:
        "measure {wildcards.model} {wildcards.method} {wildcards.sparsity} % against dense"
    shell:
        "python -m adaptprune measure --model {input} {params.workload} {params.runtime} "
        "--output {output} > {log} 2>&1"


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


rule figure:
    input:
        lambda wildcards: FIGURES[wildcards.figure](wildcards),
    output:
        multiext(
            "paper_tables/generated/{profile}/figures/{figure}", ".pdf", ".png", ".csv"
        ),
    log:
        "results/runs/{profile}/logs/figures/{figure}.txt",
    wildcard_constraints:
        figure="|".join(FIGURES),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        stem=lambda wildcards, output: output[0].removesuffix(".pdf"),
    message:
        "draw {wildcards.figure} of profile {wildcards.profile}"
    shell:
        "python -m adaptprune figure --name {wildcards.figure} --profile {wildcards.profile} "
        "--config-folder {params.folder} {params.overrides} --output {params.stem} > {log} 2>&1"


# Tables of measurements, whose rows no declaration lists.
MEASURED = {"speed": speed_records, "cost": collected_files}


rule measured_table:
    input:
        lambda wildcards: MEASURED[wildcards.measured](wildcards),
    output:
        multiext("paper_tables/generated/{profile}/{measured}", ".md", ".csv", ".tex"),
    log:
        "results/runs/{profile}/logs/tables/{measured}.txt",
    wildcard_constraints:
        measured="|".join(MEASURED),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        stem=lambda wildcards, output: output[0].removesuffix(".md"),
    message:
        "render {wildcards.measured} of profile {wildcards.profile}"
    shell:
        "python -m adaptprune {wildcards.measured} --profile {wildcards.profile} "
        "--config-folder {params.folder} {params.overrides} --output {params.stem} > {log} 2>&1"


rule fig1:
    input:
        f"paper_tables/generated/{PROFILE}/figures/fig1.pdf",
    localrule: True


rule fig2:
    input:
        f"paper_tables/generated/{PROFILE}/figures/fig2.pdf",
    localrule: True


rule fig3:
    input:
        f"paper_tables/generated/{stand_in('table3')}/figures/fig3.pdf",
    localrule: True


rule fig4:
    input:
        f"paper_tables/generated/{stand_in('ablation_interleave')}/figures/fig4.pdf",
    localrule: True


rule ablation_interleave:
    input:
        lambda wildcards: table_files("ablation_interleave"),
        f"paper_tables/generated/{stand_in('ablation_interleave')}/figures/fig4.pdf",
    localrule: True


rule size:
    input:
        f"paper_tables/generated/{PROFILE}/figures/size.pdf",
    localrule: True


rule speed:
    input:
        f"paper_tables/generated/{PROFILE}/speed.md",
        f"paper_tables/generated/{PROFILE}/figures/speed.pdf",
    localrule: True


rule cost:
    input:
        f"paper_tables/generated/{PROFILE}/cost.md",
    localrule: True
