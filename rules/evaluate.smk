# All tasks of a checkpoint in one process.


rule evaluate:
    input:
        checkpoint="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/checkpoint",
        suite="results/runs/{profile}/suite.json",
    output:
        evaluation="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/evaluation.json",
        documents="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/documents.parquet",
    log:
        "results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/logs/evaluate.txt",
    priority: 20
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        evaluation=evaluation_flags,
        runtime=runtime_flags,
    message:
        "evaluate {wildcards.model} {wildcards.method} {wildcards.sparsity} %, seed {wildcards.seed}"
    shell:
        "python -m adaptprune evaluate --model {input.checkpoint} {params.evaluation} "
        "{params.runtime} --output {output.evaluation} --documents {output.documents} "
        "> {log} 2>&1"
