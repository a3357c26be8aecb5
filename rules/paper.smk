# Tables and figures of the paper: one rule renders any declared table, one draws any declared
# figure, and each has a named target.


def figure_logs(wildcards):
    """Return the logs that a figure of what a run did is drawn from."""
    declaration = load_declaration(declaration_file(wildcards.figure))
    if declaration.figure != "run":
        return []
    cell = table_cells(wildcards.profile, wildcards.figure)[0]
    return f"results/runs/{wildcards.profile}/cells/{cell.key}/log.jsonl"


rule table:
    input:
        results=lambda wildcards: results_file(wildcards.profile, wildcards.table),
        declaration=lambda wildcards: declaration_file(wildcards.table),
    output:
        multiext("paper_tables/generated/{profile}/{table}", ".tex", ".csv", ".md"),
    log:
        "results/runs/{profile}/logs/tables/{table}.txt",
    wildcard_constraints:
        table="|".join(declared(Declaration, ListedTable)),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        stem=lambda wildcards, output: output[0].removesuffix(".tex"),
    message:
        "render {wildcards.table} of profile {wildcards.profile}"
    shell:
        "python -m adaptprune table --declaration {input.declaration} --results {input.results} "
        "--profile {wildcards.profile} --config-folder {params.folder} {params.overrides} "
        "--output {params.stem} > {log} 2>&1"


rule figure:
    input:
        results=lambda wildcards: results_file(wildcards.profile, wildcards.figure),
        declaration=lambda wildcards: declaration_file(wildcards.figure),
        logs=figure_logs,
    output:
        multiext("paper_tables/generated/{profile}/{figure}", ".csv", ".pdf", ".png"),
    log:
        "results/runs/{profile}/logs/figures/{figure}.txt",
    wildcard_constraints:
        figure="|".join(declared(Figure)),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        stem=lambda wildcards, output: output[0].removesuffix(".csv"),
    message:
        "draw {wildcards.figure} of profile {wildcards.profile}"
    shell:
        "python -m adaptprune figure --declaration {input.declaration} --results {input.results} "
        "--profile {wildcards.profile} --config-folder {params.folder} {params.overrides} "
        "--output {params.stem} > {log} 2>&1"


rule table1:
    input:
        table_files("table1"),
    localrule: True


# The tables of trained models ask for what the profile has rows for; a target that is not asked
# for must not end the parsing of the others, so its files are looked up late.
rule table3:
    input:
        lambda wildcards: table_files("table3"),
    localrule: True


rule table4:
    input:
        lambda wildcards: table_files("table4"),
        lambda wildcards: table_files("table4_flops"),
    localrule: True


rule table5:
    input:
        lambda wildcards: table_files("table5"),
    localrule: True


rule fig3:
    input:
        lambda wildcards: figure_files("fig3"),
    localrule: True


rule fig4:
    input:
        lambda wildcards: figure_files("fig4"),
    localrule: True


rule ablation_interleave:
    input:
        lambda wildcards: table_files("ablation_interleave"),
        lambda wildcards: figure_files("fig4"),
    localrule: True


rule table7:
    input:
        table_files("table7"),
    localrule: True


rule quirks:
    input:
        table_files("quirks"),
    localrule: True


rule smoke:
    input:
        table_files("smoke", "smoke"),
    localrule: True


# Needs no model and no results: what is run, from the files that say so.
rule table6:
    output:
        multiext("paper_tables/generated/table6", ".md", ".csv", ".tex"),
    log:
        "results/runs/logs/table6.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        suite="all-paper",
        declared=settings_hash(load_suite("all-paper")),
        stem=lambda wildcards, output: output[0].removesuffix(".md"),
    message:
        "render the benchmarks of Table 6"
    shell:
        "python -m adaptprune benchmarks --suite {params.suite} --output {params.stem} > {log} 2>&1"
