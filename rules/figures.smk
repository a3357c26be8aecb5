# Figures, each drawn from files of its profile's run.


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


FIGURES = {"fig3": shown_log, "fig4": interleaving_results}


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
