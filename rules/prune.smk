# Scores, once per method and seed, and pruned checkpoints, one per cell.


def calibration_file(wildcards):
    """Return the calibration set of a cell, or nothing for a method that needs none."""
    if not method_of(wildcards).needs_calibration:
        return []
    drawn = profile(wildcards.profile).calibration_of(wildcards.method).slug
    return f"{RUNS}/{wildcards.profile}/calibration/{wildcards.model}/{drawn}/s{wildcards.seed}.json"


def calibration_flag(wildcards):
    path = calibration_file(wildcards)
    return f"--calibration {path}" if path else ""


def scores_file(wildcards):
    """Return the score file that serves every sparsity, or nothing where there is none."""
    if not method_of(wildcards).shares_scores(parameters_of(wildcards)):
        return []
    return (
        f"{RUNS}/{wildcards.profile}/scores/{wildcards.model}/{wildcards.method}"
        f"/s{wildcards.seed}.safetensors"
    )


def scores_flag(wildcards):
    path = scores_file(wildcards)
    return f"--scores {path}" if path else ""


def method_version(wildcards):
    """Return what makes a method's cells, and no others, run again."""
    return method_of(wildcards).version


rule score:
    input:
        RUNS + "/{profile}/models/{model}.json",
        calibration_file,
    output:
        RUNS + "/{profile}/scores/{model}/{method}/s{seed}.safetensors",
    log:
        RUNS + "/{profile}/logs/score/{model}-{method}-s{seed}.txt",
    priority: 10
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        model=model_of,
        sparsities=lambda wildcards: ",".join(
            map(str, profile(wildcards.profile).sparsities)
        ),
        settings=settings_flags,
        runtime=runtime_flags,
        calibration=calibration_flag,
        version=method_version,
    message:
        "score {wildcards.model} with {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m adaptprune score --model {params.model} --method {wildcards.method} "
        "--sparsities {params.sparsities} --seed {wildcards.seed} {params.settings} "
        "{params.calibration} {params.runtime} --output {output} > {log} 2>&1"


rule prune:
    input:
        RUNS + "/{profile}/models/{model}.json",
        calibration_file,
        scores_file,
    output:
        checkpoint=temp(directory(CELL + "/checkpoint")),
        record=CELL + "/pruning.json",
        kept=CELL + "/kept.json",
    log:
        CELL + "/logs/prune.txt",
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        model=model_of,
        settings=settings_flags,
        runtime=runtime_flags,
        calibration=calibration_flag,
        scores=scores_flag,
        version=method_version,
    message:
        "prune {wildcards.model} with {wildcards.method} to {wildcards.sparsity} %, seed {wildcards.seed}"
    shell:
        "(python -m adaptprune prune --model {params.model} --method {wildcards.method} "
        "--sparsity {wildcards.sparsity} --seed {wildcards.seed} {params.settings} "
        "{params.calibration} {params.scores} {params.runtime} --output {output.checkpoint} "
        "&& cp {output.checkpoint}/pruning.json {output.record} "
        "&& cp {output.checkpoint}/kept.json {output.kept}) > {log} 2>&1"
