# A finished profile kept as a matrix, and a new method against a kept one: of the method that
# `--config method=NAME` names, the cells alone are run.


rule compare:
    input:
        SHOWN.comparison,
    localrule: True


rule new_results:
    input:
        SHOWN.new_sources,
    output:
        made=RUN.compared("{method}", "made.json"),
        csv=RUN.compared("{method}", "new.csv"),
        beside=multiext(
            RUN.compared("{method}", "new"),
            ".csv.sha256",
            ".provenance.csv",
            ".documents.parquet",
            ".versions.json",
        ),
    log:
        RUN.compared("{method}", "logs/store.txt"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=SHOWN.overrides,
        folder=str(CONFIG),
        made_from=SHOWN.profile_hash,
    message:
        "gather the results of {wildcards.method}"
    shell:
        "(python -m adaptprune store --profile {wildcards.profile} --config-folder {params.folder:q} "
        "{params.overrides} --output {output.csv} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{output.csv}) > {log} 2>&1"


rule comparison:
    input:
        baseline=REQUEST.baseline(),
        new=RUN.compared("{method}", "new.csv"),
    output:
        multiext(
            RUN.compared("{method}", "comparison"),
            ".md",
            ".tex",
            ".html",
            ".csv",
        ),
    log:
        RUN.compared("{method}", "logs/compare.txt"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        file=JOB.method_option,
        stem=lambda wildcards, output: output[0].removesuffix(".md"),
    message:
        "compare {wildcards.method} with {input.baseline}"
    shell:
        "python -m adaptprune compare {input.baseline:q} {input.new} --method {wildcards.method} "
        "{params.file} --output {params.stem} > {log} 2>&1"


rule store:
    input:
        MINE.collected(),
        SHOWN.stored_files,
    log:
        MINE.log("store"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        name=PROFILE,
        overrides=options.overrides(REQUEST.overrides(PROFILE)),
        folder=str(CONFIG),
    message:
        "store the results of profile {params.name} in results/"
    shell:
        "python -m adaptprune store --profile {params.name} --config-folder {params.folder:q} "
        "{params.overrides} > {log} 2>&1"
