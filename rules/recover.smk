# Trained cells: one recovery of a profile at one seed. The state of a running recovery lies outside
# of what Snakemake removes, so a killed one goes on from its last checkpoint.


rule recover:
    input:
        RUN.model("{model}"),
        JOB.recovery_calibration,
        JOB.training_text,
    output:
        checkpoint=temp(directory(RUN.cell(CELL, "checkpoint"))),
        record=RUN.cell(CELL, "recovery.json"),
        steps=RUN.cell(CELL, "log.jsonl"),
    log:
        RUN.cell(CELL, "logs/recover.txt"),
    wildcard_constraints:
        recovery=r"(?!none/)[a-z0-9-]+",
    priority: 10
    conda:
        "../environment.yml"
    threads: JOB.threads
    resources:
        mem_mb=JOB.memory,
        gpu=JOB.training_gpus,
    params:
        model=JOB.model,
        recovery=JOB.recovery_options,
        training=JOB.training_options,
        local_data=JOB.local_data,
        run=RUN.training(CELL),
        recipe=JOB.recipe,
        version=JOB.recovery_version,
    message:
        "train {wildcards.model}: {wildcards.recovery}, seed {wildcards.seed}"
    shell:
        "(python -m adaptprune recover --model {params.model:q} {params.recovery} "
        "{params.local_data} "
        "--seed {wildcards.seed} {params.training} --record-failure --run {params.run} "
        "--output {output.checkpoint} "
        "&& cp {output.checkpoint}/recovery.json {output.record} "
        "&& cp {output.checkpoint}/log.jsonl {output.steps}) > {log} 2>&1"


# The models that the offline profiles train on, made again from nothing. Those that come with the
# package are used without this.
rule pretrain:
    output:
        directory(RUN.pretrained("{model}")),
    log:
        RUN.log("pretrain/{model}"),
    conda:
        "../environment.yml"
    resources:
        mem_mb=JOB.memory,
    params:
        model=JOB.model,
    message:
        "pretrain {wildcards.model}"
    shell:
        "python -m adaptprune pretrain --model {params.model:q} --output {output} > {log} 2>&1"


rule pocket:
    input:
        JOB.pocket_models,
    localrule: True
