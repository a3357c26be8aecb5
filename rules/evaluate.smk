# Trained cells, all tasks in one process: a job apart from the training, which may occupy more GPUs.
# The dense model comes first, since it shows whether the conditions are right. The check is
# `ancient`: made again, it makes no evaluation run again.


rule evaluate:
    input:
        checkpoint=RUN.cell(CELL, "checkpoint"),
        suite=RUN.suite,
        gate=ancient(JOB.dense_gate),
        rounding=JOB.rounding_calibration,
    output:
        evaluation=RUN.cell(CELL, "evaluation.json"),
        documents=RUN.cell(CELL, "documents.parquet"),
    log:
        RUN.cell(CELL, "logs/evaluate.txt"),
    wildcard_constraints:
        recovery=r"(?!none/)[a-z0-9-]+",
    priority: 20
    conda:
        "../environment.yml"
    threads: JOB.threads
    resources:
        mem_mb=JOB.memory,
        gpu=JOB.gpus,
    params:
        evaluation=JOB.evaluation_options,
        declared=JOB.suite_hash,
    message:
        "evaluate {wildcards.model} {wildcards.method} {wildcards.sparsity} %, seed {wildcards.seed}"
    shell:
        "python -m adaptprune evaluate --model {input.checkpoint} {params.evaluation} "
        "--output {output.evaluation} --documents {output.documents} > {log} 2>&1"


rule dense_gate:
    input:
        JOB.dense_evaluation,
    output:
        RUN.gate("{model}", "{known}"),
    log:
        RUN.log("dense_gate/{model}-{known}"),
    priority: 30
    localrule: True
    conda:
        "../environment.yml"
    params:
        model=JOB.model,
        suite=JOB.suite,
        switch=JOB.gate_switch,
    message:
        "check the dense scores of {wildcards.model}"
    shell:
        "python -m adaptprune gate --suite {params.suite} --model {params.model:q} "
        "--evaluation {input} {params.switch} --output {output} > {log} 2>&1"
