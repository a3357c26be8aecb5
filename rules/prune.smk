# Scores, once per method and seed, and the cells that are not trained: one job each, since every job
# of a large matrix costs Snakemake a millisecond before the first one starts.


rule score:
    input:
        JOB.scored_inputs,
    output:
        RUN.scores("{model}", "{method}", "{seed}"),
    log:
        RUN.log("score/{model}-{method}-s{seed}"),
    priority: 10
    conda:
        "../environment.yml"
    threads: JOB.threads
    resources:
        mem_mb=JOB.memory,
        gpu=JOB.gpus,
    params:
        model=JOB.model,
        sparsities=JOB.sparsities,
        options=JOB.scoring_options,
        version=JOB.method_version,
    message:
        "score {wildcards.model} with {wildcards.method}, seed {wildcards.seed}"
    shell:
        "python -m adaptprune score --model {params.model:q} --method {wildcards.method} "
        "--sparsities {params.sparsities} --seed {wildcards.seed} {params.options} "
        "--output {output} > {log} 2>&1"


rule prune_and_evaluate:
    input:
        JOB.pruning_inputs,
        RUN.suite,
        ancient(JOB.dense_gate),
        JOB.rounding_calibration,
    output:
        checkpoint=temp(directory(RUN.cell(CELL, "checkpoint"))),
        record=RUN.cell(CELL, "pruning.json"),
        kept=RUN.cell(CELL, "kept.json"),
        evaluation=RUN.cell(CELL, "evaluation.json"),
        documents=RUN.cell(CELL, "documents.parquet"),
    log:
        RUN.cell(CELL, "logs/cell.txt"),
    wildcard_constraints:
        recovery="none",
    priority: 20
    conda:
        "../environment.yml"
    threads: JOB.threads
    resources:
        mem_mb=JOB.memory,
        gpu=JOB.gpus,
    params:
        model=JOB.model,
        pruning=JOB.pruning_options,
        evaluation=JOB.evaluation_options,
        version=JOB.method_version,
        declared=JOB.suite_hash,
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
