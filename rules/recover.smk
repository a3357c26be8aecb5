# Trained cells: one recovery of a profile at one seed. The state of a running recovery lies outside
# of what Snakemake removes, so a killed one goes on from its last checkpoint.


rule recover:
    input:
        "results/runs/{profile}/models/{model}.json",
        recovery_calibration,
        lambda wildcards: text_files(wildcards.profile, recovery_of(wildcards).data),
    output:
        checkpoint=temp(
            directory(
                "results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/checkpoint"
            )
        ),
        record="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/recovery.json",
        steps="results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/log.jsonl",
    log:
        "results/runs/{profile}/cells/{model}/{method}/{sparsity}/{recovery}/s{seed}/logs/recover.txt",
    wildcard_constraints:
        recovery=TRAINED,
    priority: 10
    conda:
        "../environment.yml"
    threads: threads_of
    resources:
        mem_mb=memory_of,
        gpu=training_gpus,
    params:
        model=model_of,
        recovery=recovery_flags,
        training=training_flags,
        local_data=local_data_flag,
        run="results/runs/{profile}/training/{model}/{method}/{sparsity}/{recovery}/s{seed}",
        recipe=lambda wildcards: settings_hash(recovery_of(wildcards).recipe),
        version=lambda wildcards: recovery_of(wildcards).method.version,
    message:
        "train {wildcards.model}: {wildcards.recovery}, seed {wildcards.seed}"
    shell:
        "(python -m adaptprune recover --model {params.model:q} {params.recovery} "
        "{params.local_data} "
        "--seed {wildcards.seed} {params.training} --record-failure --run {params.run} "
        "--output {output.checkpoint} "
        "&& cp {output.checkpoint}/recovery.json {output.record} "
        "&& cp {output.checkpoint}/log.jsonl {output.steps}) > {log} 2>&1"


# The models that the offline profiles train on: pretrained once, kept in the cache.
rule pocket:
    input:
        expand(
            "results/runs/{profile}/models/{model}.json",
            profile=PROFILE,
            model=[
                model
                for model in profile(PROFILE).all_models
                if model.startswith("pocket-")
            ],
        ),
    localrule: True
