# Tables of the paper: one rule renders any declared table, and each has a named target.


rule table:
    input:
        table_sources,
        published_beside,
        declaration=lambda wildcards: TABLES[wildcards.table],
    output:
        multiext("paper_tables/generated/{profile}/{table}", ".tex", ".csv", ".md"),
        made="results/runs/{profile}/made/{table}.json",
    log:
        "results/runs/{profile}/logs/tables/{table}.txt",
    wildcard_constraints:
        table="|".join(TABLES),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        made_from=table_made_from,
        results=lambda wildcards, input: input[0],
        provenance=lambda wildcards, input: input[1],
        written=lambda wildcards, output: " ".join(output[:3]),
        stem=lambda wildcards, output: output[0].removesuffix(".tex"),
    message:
        "render {wildcards.table} of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune table --declaration {input.declaration:q} --results {params.results} "
        "--provenance {params.provenance} --profile {wildcards.profile} --config-folder {params.folder:q} {params.overrides} "
        "--output {params.stem} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{params.written}) > {log} 2>&1"


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


rule table7:
    input:
        table_files("table7"),
    localrule: True


rule table8:
    input:
        table_files("table8"),
    localrule: True


rule ablation_amplitude:
    input:
        table_files("table8"),
    localrule: True


rule ablation_distance:
    input:
        table_files("ablation_distance"),
    localrule: True


rule ablation_steps:
    input:
        table_files("ablation_steps"),
    localrule: True


rule ablation_calibration:
    input:
        table_files("ablation_calibration"),
    localrule: True


rule ablation_alignment:
    input:
        table_files("ablation_alignment"),
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
