# Trained cells, all tasks in one process: a job apart from the training, which may occupy more GPUs.
# The dense model comes first, since it shows whether the conditions are right. The check is
# `ancient`: made again, it makes no evaluation run again.


rule evaluate:
    input:
        checkpoint="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/checkpoint",
        suite="results/runs/{profile}/suite.json",
        gate=ancient(dense_gate),
    output:
        evaluation="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/evaluation.json",
        documents="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/documents.parquet",
    log:
        "results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/logs/evaluate.txt",
    wildcard_constraints:
        recovery=TRAINED,
    priority: 20
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        evaluation=evaluation_options,
        declared=declared_suite,
    message:
        "evaluate {wildcards.model} {wildcards.method} {wildcards.sparsity} %, seed {wildcards.seed}"
    shell:
        "python -m adaptprune evaluate --model {input.checkpoint} {params.evaluation} "
        "--output {output.evaluation} --documents {output.documents} > {log} 2>&1"


rule dense_gate:
    input:
        dense_evaluation,
    output:
        "results/runs/{profile}/dense_gate/{model}-{known}.json",
    log:
        "results/runs/{profile}/logs/dense_gate/{model}-{known}.txt",
    priority: 30
    localrule: True
    conda:
        "../environment.yml"
    params:
        model=model_of,
        suite=lambda wildcards: profile(wildcards.profile).evaluation.suite,
        switch=lambda wildcards: (
            "" if profile(wildcards.profile).dense_gate else "--accept"
        ),
    message:
        "check the dense scores of {wildcards.model}"
    shell:
        "python -m adaptprune gate --suite {params.suite} --model {params.model:q} "
        "--evaluation {input} {params.switch} --output {output} > {log} 2>&1"
