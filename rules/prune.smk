# Scores, once per method and seed, and the cells that are not trained: one job each, since every job
# of a large matrix costs Snakemake a millisecond before the first one starts.


rule score:
    input:
        scored_inputs,
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


rule prune_and_evaluate:
    input:
        pruning_inputs,
        "results/runs/{profile}/suite.json",
        ancient(dense_gate),
    output:
        checkpoint=temp(
            directory(
                "results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/checkpoint"
            )
        ),
        record="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/pruning.json",
        kept="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/kept.json",
        evaluation="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/evaluation.json",
        documents="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/documents.parquet",
    log:
        "results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/logs/cell.txt",
    wildcard_constraints:
        recovery="none",
    priority: 20
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        model=model_of,
        pruning=pruning_options,
        evaluation=evaluation_options,
        version=method_version,
        declared=declared_suite,
    message:
        "prune {wildcards.model} with {wildcards.method} to {wildcards.sparsity} %, seed {wildcards.seed}, and evaluate it"
    shell:
        "(python -m adaptprune prune --model {params.model:q} --method {wildcards.method} "
        "--sparsity {wildcards.sparsity} --seed {wildcards.seed} {params.pruning} "
        "--output {output.checkpoint} "
        "&& cp {output.checkpoint}/pruning.json {output.record} "
        "&& cp {output.checkpoint}/kept.json {output.kept} "
        "&& python -m adaptprune evaluate --model {output.checkpoint} {params.evaluation} "
        "--output {output.evaluation} --documents {output.documents}) > {log} 2>&1"
