# All tasks of a checkpoint in one process.


def evaluation_flags(wildcards):
    """Return how much of the suite is evaluated, as command line options."""
    chosen = profile(wildcards.profile).evaluation
    flags = f"--suite {chosen.suite} --max-length {chosen.max_length} --batch {chosen.batch}"
    if chosen.documents_per_task is not None:
        flags += f" --documents-per-task {chosen.documents_per_task}"
    if chosen.perplexity_documents is not None:
        flags += f" --perplexity-documents {chosen.perplexity_documents}"
    return flags


rule evaluate:
    input:
        checkpoint=CELL + "/checkpoint",
        suite=RUNS + "/{profile}/suite.json",
    output:
        evaluation=CELL + "/evaluation.json",
        documents=CELL + "/documents.parquet",
    log:
        CELL + "/logs/evaluate.txt",
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
