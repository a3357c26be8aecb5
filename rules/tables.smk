# Tables: one rule renders any declared one.


rule table:
    input:
        SHOWN.table_sources,
        SHOWN.published_beside,
        declaration=SHOWN.declaration_file,
    output:
        multiext(RUN.table("{table}"), ".tex", ".csv", ".md"),
        made=RUN.made("{table}"),
    log:
        RUN.log("tables/{table}"),
    wildcard_constraints:
        table="|".join(TABLES.files),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=SHOWN.overrides,
        folder=str(CONFIG),
        made_from=SHOWN.table_hash,
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


# Targets that only name files: every declared table, every figure, and what asks for several.
for target, files in SHOWN.targets().items():

    rule:
        name:
            target
        input:
            files,
        localrule: True


# Needs no model and no results: what is run, from the files that say so.
rule table6:
    output:
        multiext(f"{paths.GENERATED}/table6", ".md", ".csv", ".tex"),
    log:
        f"{paths.RUNS}/logs/table6.txt",
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
