# Figures, and the stages that only they need: single layers cut, speed of pruned models.


rule sensitivity:
    input:
        model=RUN.model("{model}"),
        suite=RUN.suite,
        calibration=JOB.sensitivity_calibration,
    output:
        RUN.sensitivity("{model}", "{uniform}"),
    log:
        RUN.log("sensitivity/{model}-u{uniform}"),
    wildcard_constraints:
        uniform=r"\d+",
    conda:
        "../environment.yml"
    threads: JOB.threads
    resources:
        mem_mb=JOB.memory,
        gpu=JOB.gpus,
    params:
        model=JOB.model,
        text=JOB.held_out_text,
        runtime=JOB.runtime,
        local_data=JOB.local_data,
    message:
        "cut single layers of {wildcards.model}, all cut by {wildcards.uniform} % before"
    shell:
        "python -m adaptprune sensitivity --model {params.model:q} --uniform {wildcards.uniform} "
        "--calibration {input.calibration} {params.text} {params.runtime} {params.local_data} "
        "--output {output} > {log} 2>&1"


# A checkpoint of its own: the cell's is gone once it is evaluated, and made again there it would
# have the cell evaluated again.
rule prune_to_measure:
    input:
        JOB.pruning_inputs,
    output:
        checkpoint=temp(
            directory(
                RUN.measured_checkpoint("{model}", "{method}", "{sparsity}", "{seed}")
            )
        ),
    log:
        RUN.log("speed/{model}-{method}-{sparsity}-s{seed}-prune"),
    conda:
        "../environment.yml"
    threads: JOB.threads
    resources:
        mem_mb=JOB.memory,
        gpu=JOB.gpus,
    params:
        model=JOB.model,
        pruning=JOB.pruning_options,
        version=JOB.method_version,
    message:
        "prune {wildcards.model} with {wildcards.method} to {wildcards.sparsity} % for its speed"
    shell:
        "python -m adaptprune prune --model {params.model:q} --method {wildcards.method} "
        "--sparsity {wildcards.sparsity} --seed {wildcards.seed} {params.pruning} "
        "--output {output.checkpoint} > {log} 2>&1"


# All cores: nothing else of the workflow may run beside a measurement.
rule measure:
    input:
        JOB.measured_checkpoint,
    output:
        RUN.speed("{model}", "{method}", "{sparsity}", "{batch}"),
    log:
        RUN.log("speed/{model}-{method}-{sparsity}{batch}"),
    wildcard_constraints:
        batch=r"|-batch\d+",
    conda:
        "../environment.yml"
    threads: JOB.all_cores
    resources:
        mem_mb=JOB.memory,
        gpu=JOB.gpus,
    params:
        workload=JOB.workload,
        runtime=JOB.runtime,
        version=JOB.method_version,
    message:
        "measure {wildcards.model} {wildcards.method} {wildcards.sparsity} % against dense"
    shell:
        "python -m adaptprune measure --model {input} {params.workload} {params.runtime} "
        "--output {output} > {log} 2>&1"


rule figure:
    input:
        SHOWN.figure_sources,
    output:
        multiext(RUN.figure("{figure}"), ".pdf", ".png", ".svg", ".csv"),
        made=RUN.made("figures/{figure}"),
    log:
        RUN.log("figures/{figure}"),
    wildcard_constraints:
        figure="|".join(SHOWN.figures),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=SHOWN.overrides,
        folder=str(CONFIG),
        made_from=SHOWN.source_hash,
        shown=SHOWN.figure_results,
        written=lambda wildcards, output: " ".join(output[:4]),
        stem=lambda wildcards, output: output[0].removesuffix(".pdf"),
    message:
        "draw {wildcards.figure} of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune figure --name {wildcards.figure} --profile {wildcards.profile} "
        "--config-folder {params.folder:q} {params.overrides} {params.shown} --output {params.stem} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{params.written}) > {log} 2>&1"


rule measured_table:
    input:
        SHOWN.measured_sources,
    output:
        multiext(RUN.table("{measured}"), ".md", ".csv", ".tex"),
        made=RUN.made("{measured}"),
    log:
        RUN.log("tables/{measured}"),
    wildcard_constraints:
        measured="|".join(SHOWN.measured),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=SHOWN.overrides,
        folder=str(CONFIG),
        made_from=SHOWN.source_hash,
        shown=SHOWN.measured_results,
        written=lambda wildcards, output: " ".join(output[:3]),
        stem=lambda wildcards, output: output[0].removesuffix(".md"),
    message:
        "render {wildcards.measured} of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune {wildcards.measured} --profile {wildcards.profile} "
        "--config-folder {params.folder:q} {params.overrides} {params.shown} --output {params.stem} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{params.written}) > {log} 2>&1"
