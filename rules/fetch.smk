# Models, task data and calibration sets; on a cluster where the workflow runs, which has network.


rule fetch_model:
    input:
        JOB.fetched_model,
    output:
        RUN.model("{model}"),
    log:
        RUN.log("fetch/{model}"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        model=JOB.model,
    message:
        "fetch model {wildcards.model}"
    shell:
        "python -m adaptprune fetch --model {params.model:q} --output {output} > {log} 2>&1"


rule fetch_suite:
    input:
        JOB.fetched_suite,
    output:
        RUN.suite,
    log:
        RUN.log("fetch/suite"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        suite=JOB.suite,
        declared=JOB.suite_hash,
        local_data=JOB.local_data,
    message:
        "fetch the tasks of suite {params.suite}"
    shell:
        "python -m adaptprune fetch --suite {params.suite} {params.local_data} "
        "--output {output} > {log} 2>&1"


# Once per text, whoever calibrates or trains with it: two jobs never read the same from the hub.
rule fetch_text:
    input:
        JOB.fetched_text,
    output:
        RUN.text("{text}"),
    log:
        RUN.log("fetch/{text}"),
    wildcard_constraints:
        text=r"[a-z0-9-]+",
    localrule: True
    conda:
        "../environment.yml"
    params:
        local_data=JOB.local_data,
    message:
        "fetch text {wildcards.text}"
    shell:
        "python -m adaptprune fetch --text {wildcards.text} {params.local_data} "
        "--output {output} > {log} 2>&1"


rule calibration:
    input:
        RUN.model("{model}"),
        RUN.suite,
        JOB.calibration_text,
    output:
        RUN.calibration("{model}", DRAWN, "{seed}"),
    log:
        RUN.log("calibration/{model}-{dataset}-{sequences}x{length}-s{seed}"),
    wildcard_constraints:
        sequences=r"\d+",
        length=r"\d+",
    localrule: True
    conda:
        "../environment.yml"
    params:
        model=JOB.model,
        local_data=JOB.local_data,
    message:
        "draw calibration set {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m adaptprune calibrate --model {params.model:q} --dataset {wildcards.dataset} "
        "--sequences {wildcards.sequences} --length {wildcards.length} --seed {wildcards.seed} "
        "{params.local_data} --output {output} > {log} 2>&1"
