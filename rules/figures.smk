# Figures, and the stages that only they need: single layers cut, speed of pruned models.


rule sensitivity:
    input:
        model="results/runs/{profile}/models/{model}.json",
        suite="results/runs/{profile}/suite.json",
        calibration=sensitivity_calibration,
    output:
        "results/runs/{profile}/sensitivity/{model}/u{uniform}.json",
    log:
        "results/runs/{profile}/logs/sensitivity/{model}-u{uniform}.txt",
    wildcard_constraints:
        uniform=r"\d+",
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        model=model_of,
        text=sensitivity_flags,
        runtime=runtime_flags,
        local_data=local_data_flag,
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
        pruning_inputs,
    output:
        checkpoint=temp(
            directory(
                "results/runs/{profile}/speed/{model}/{method}/{sparsity}-s{seed}/checkpoint"
            )
        ),
    log:
        "results/runs/{profile}/logs/speed/{model}-{method}-{sparsity}-s{seed}-prune.txt",
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        model=model_of,
        pruning=pruning_options,
        version=method_version,
    message:
        "prune {wildcards.model} with {wildcards.method} to {wildcards.sparsity} % for its speed"
    shell:
        "python -m adaptprune prune --model {params.model:q} --method {wildcards.method} "
        "--sparsity {wildcards.sparsity} --seed {wildcards.seed} {params.pruning} "
        "--output {output.checkpoint} > {log} 2>&1"


# All cores: nothing else of the workflow may run beside a measurement.
rule measure:
    input:
        measured_checkpoint,
    output:
        "results/runs/{profile}/speed/{model}/{method}/{sparsity}.json",
    log:
        "results/runs/{profile}/logs/speed/{model}-{method}-{sparsity}.txt",
    conda:
        "../environment.yml"
    threads: lambda wildcards: offered_cores() or threads_of(wildcards)
    resources:
        mem_mb=memory_of,
        gpu=gpus_of,
    params:
        workload=workload_flags,
        runtime=runtime_flags,
        version=method_version,
    message:
        "measure {wildcards.model} {wildcards.method} {wildcards.sparsity} % against dense"
    shell:
        "python -m adaptprune measure --model {input} {params.workload} {params.runtime} "
        "--output {output} > {log} 2>&1"


rule figure:
    input:
        figure_sources,
    output:
        multiext(
            "paper_tables/generated/{profile}/figures/{figure}", ".pdf", ".png", ".csv"
        ),
        made="results/runs/{profile}/made/figures/{figure}.json",
    log:
        "results/runs/{profile}/logs/figures/{figure}.txt",
    wildcard_constraints:
        figure="|".join(FIGURES),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        made_from=profile_made_from,
        written=lambda wildcards, output: " ".join(output[:3]),
        stem=lambda wildcards, output: output[0].removesuffix(".pdf"),
    message:
        "draw {wildcards.figure} of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune figure --name {wildcards.figure} --profile {wildcards.profile} "
        "--config-folder {params.folder:q} {params.overrides} --output {params.stem} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{params.written}) > {log} 2>&1"


rule measured_table:
    input:
        measured_sources,
    output:
        multiext("paper_tables/generated/{profile}/{measured}", ".md", ".csv", ".tex"),
        made="results/runs/{profile}/made/{measured}.json",
    log:
        "results/runs/{profile}/logs/tables/{measured}.txt",
    wildcard_constraints:
        measured="|".join(MEASURED),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        made_from=profile_made_from,
        written=lambda wildcards, output: " ".join(output[:3]),
        stem=lambda wildcards, output: output[0].removesuffix(".md"),
    message:
        "render {wildcards.measured} of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune {wildcards.measured} --profile {wildcards.profile} "
        "--config-folder {params.folder:q} {params.overrides} --output {params.stem} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{params.written}) > {log} 2>&1"


rule fig1:
    input:
        f"paper_tables/generated/{PROFILE}/figures/fig1.pdf",
    localrule: True


rule fig2:
    input:
        f"paper_tables/generated/{PROFILE}/figures/fig2.pdf",
    localrule: True


rule fig3:
    input:
        f"paper_tables/generated/{stand_in('table3')}/figures/fig3.pdf",
    localrule: True


rule fig4:
    input:
        f"paper_tables/generated/{stand_in('ablation_interleave')}/figures/fig4.pdf",
    localrule: True


rule ablation_interleave:
    input:
        lambda wildcards: table_files("ablation_interleave"),
        f"paper_tables/generated/{stand_in('ablation_interleave')}/figures/fig4.pdf",
    localrule: True


rule size:
    input:
        f"paper_tables/generated/{PROFILE}/figures/size.pdf",
    localrule: True


rule speed:
    input:
        f"paper_tables/generated/{PROFILE}/speed.md",
        f"paper_tables/generated/{PROFILE}/figures/speed.pdf",
    localrule: True


rule cost:
    input:
        f"paper_tables/generated/{PROFILE}/cost.md",
    localrule: True
