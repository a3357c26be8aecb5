# Models, task data and calibration sets; on a cluster where the workflow runs, which has network.


rule fetch_model:
    input:
        fetched_model,
    output:
        "results/runs/{profile}/models/{model}.json",
    log:
        "results/runs/{profile}/logs/fetch/{model}.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        model=model_of,
    message:
        "fetch model {wildcards.model}"
    shell:
        "python -m adaptprune fetch --model {params.model:q} --output {output} > {log} 2>&1"


rule fetch_suite:
    input:
        fetched_suite,
    output:
        "results/runs/{profile}/suite.json",
    log:
        "results/runs/{profile}/logs/fetch/suite.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        suite=lambda wildcards: profile(wildcards.profile).evaluation.suite,
        declared=declared_suite,
        local_data=local_data_flag,
    message:
        "fetch the tasks of suite {params.suite}"
    shell:
        "python -m adaptprune fetch --suite {params.suite} {params.local_data} "
        "--output {output} > {log} 2>&1"


# Once per text, whoever calibrates or trains with it: two jobs never read the same from the hub.
rule fetch_text:
    input:
        fetched_text,
    output:
        "results/runs/{profile}/texts/{text}.json",
    log:
        "results/runs/{profile}/logs/fetch/{text}.txt",
    wildcard_constraints:
        text=r"[a-z0-9-]+",
    localrule: True
    conda:
        "../environment.yml"
    params:
        local_data=local_data_flag,
    message:
        "fetch text {wildcards.text}"
    shell:
        "python -m adaptprune fetch --text {wildcards.text} {params.local_data} "
        "--output {output} > {log} 2>&1"


rule calibration:
    input:
        "results/runs/{profile}/models/{model}.json",
        "results/runs/{profile}/suite.json",
        lambda wildcards: text_files(wildcards.profile, wildcards.dataset),
    output:
        "results/runs/{profile}/calibration/{model}/{dataset}-{sequences}x{length}/s{seed}.json",
    log:
        "results/runs/{profile}/logs/calibration/{model}-{dataset}-{sequences}x{length}-s{seed}.txt",
    wildcard_constraints:
        sequences=r"\d+",
        length=r"\d+",
    localrule: True
    conda:
        "../environment.yml"
    params:
        model=model_of,
        local_data=local_data_flag,
    message:
        "draw calibration set {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m adaptprune calibrate --model {params.model:q} --dataset {wildcards.dataset} "
        "--sequences {wildcards.sequences} --length {wildcards.length} --seed {wildcards.seed} "
        "{params.local_data} --output {output} > {log} 2>&1"
