# Models, task data and calibration sets.


rule fetch_model:
    output:
        RUNS + "/{profile}/models/{model}.json",
    log:
        RUNS + "/{profile}/logs/fetch/{model}.txt",
    conda:
        "../environment.yml"
    params:
        model=model_of,
    message:
        "fetch model {wildcards.model}"
    shell:
        "python -m adaptprune fetch --model {params.model} --output {output} > {log} 2>&1"


rule fetch_suite:
    output:
        RUNS + "/{profile}/suite.json",
    log:
        RUNS + "/{profile}/logs/fetch/suite.txt",
    conda:
        "../environment.yml"
    params:
        suite=lambda wildcards: profile(wildcards.profile).evaluation.suite,
    message:
        "fetch the tasks of suite {params.suite}"
    shell:
        "python -m adaptprune fetch --suite {params.suite} --output {output} > {log} 2>&1"


rule calibration:
    input:
        RUNS + "/{profile}/models/{model}.json",
        RUNS + "/{profile}/suite.json",
    output:
        RUNS
        + "/{profile}/calibration/{model}/{dataset}-{sequences}x{length}/s{seed}.json",
    log:
        RUNS
        + "/{profile}/logs/calibration/{model}-{dataset}-{sequences}x{length}-s{seed}.txt",
    wildcard_constraints:
        sequences=r"\d+",
        length=r"\d+",
    conda:
        "../environment.yml"
    params:
        model=model_of,
    message:
        "draw calibration set {wildcards.dataset}, seed {wildcards.seed}"
    shell:
        "python -m adaptprune calibrate --model {params.model} --dataset {wildcards.dataset} "
        "--sequences {wildcards.sequences} --length {wildcards.length} --seed {wildcards.seed} "
        "--output {output} > {log} 2>&1"
