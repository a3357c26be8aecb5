# A finished profile kept as a matrix, and a new method against a kept one: of the method that
# `--config method=NAME` names, the cells alone are run.


rule compare:
    input:
        wanted_comparison,
    localrule: True


rule new_results:
    input:
        new_sources,
    output:
        made="results/runs/{profile}/compare/{method}/made.json",
        csv="results/runs/{profile}/compare/{method}/new.csv",
        beside=multiext(
            "results/runs/{profile}/compare/{method}/new",
            ".csv.sha256",
            ".provenance.csv",
            ".documents.parquet",
            ".versions.json",
        ),
    log:
        "results/runs/{profile}/compare/{method}/logs/store.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        made_from=profile_made_from,
    message:
        "gather the results of {wildcards.method}"
    shell:
        "(python -m adaptprune store --profile {wildcards.profile} --config-folder {params.folder:q} "
        "{params.overrides} --output {output.csv} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{output.csv}) > {log} 2>&1"


rule comparison:
    input:
        baseline=baseline_file(),
        new="results/runs/{profile}/compare/{method}/new.csv",
    output:
        multiext(
            "results/runs/{profile}/compare/{method}/comparison",
            ".md",
            ".tex",
            ".html",
            ".csv",
        ),
    log:
        "results/runs/{profile}/compare/{method}/logs/compare.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        file=lambda wildcards: " ".join(
            f"--method-file {shlex.quote(file)}" for file in method_file(wildcards)
        ),
        stem=lambda wildcards, output: output[0].removesuffix(".md"),
    message:
        "compare {wildcards.method} with {input.baseline}"
    shell:
        "python -m adaptprune compare {input.baseline:q} {input.new} --method {wildcards.method} "
        "{params.file} --output {params.stem} > {log} 2>&1"


rule store:
    input:
        f"results/runs/{PROFILE}/results.csv",
        stored_files,
    log:
        f"results/runs/{PROFILE}/logs/store.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        name=PROFILE,
        overrides=given_overrides(PROFILE),
        folder=str(ROOT / "config"),
    message:
        "store the results of profile {params.name} in results/"
    shell:
        "python -m adaptprune store --profile {params.name} --config-folder {params.folder:q} "
        "{params.overrides} > {log} 2>&1"
