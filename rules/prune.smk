# Scores, once per method and seed, and pruned checkpoints, one per cell.


rule score:
    input:
        "results/runs/{profile}/models/{model}.json",
        scoring_inputs,
    output:
        "results/runs/{profile}/scores/{model}/{method}/s{seed}.safetensors",
    log:
        "results/runs/{profile}/logs/score/{model}-{method}-s{seed}.txt",
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
        options=scoring_options,
        version=method_version,
    message:
        "score {wildcards.model} with {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m adaptprune score --model {params.model:q} --method {wildcards.method} "
        "--sparsities {params.sparsities} --seed {wildcards.seed} {params.options} "
        "--output {output} > {log} 2>&1"


rule prune:
    input:
        "results/runs/{profile}/models/{model}.json",
        pruning_inputs,
    output:
        checkpoint=temp(
            directory(
                "results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/checkpoint"
            )
        ),
        record="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/pruning.json",
        kept="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/kept.json",
    log:
        "results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/logs/prune.txt",
    wildcard_constraints:
        recovery="none",
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        model=model_of,
        options=pruning_options,
        version=method_version,
    message:
        "prune {wildcards.model} with {wildcards.method} to {wildcards.sparsity} %, seed {wildcards.seed}"
    shell:
        "(python -m adaptprune prune --model {params.model:q} --method {wildcards.method} "
        "--sparsity {wildcards.sparsity} --seed {wildcards.seed} {params.options} "
        "--output {output.checkpoint} "
        "&& cp {output.checkpoint}/pruning.json {output.record} "
        "&& cp {output.checkpoint}/kept.json {output.kept}) > {log} 2>&1"
