# Trained cells: one recovery of a profile at one seed. The state of a running recovery lies outside
# of what Snakemake removes, so a killed one goes on from its last checkpoint.


def recovery_of(wildcards):
    return profile(wildcards.profile).recovery(wildcards.recovery)


def recovery_calibration(wildcards):
    """Return the calibration set of a recovery, or nothing where its method needs none."""
    if not recovery_of(wildcards).method.needs_calibration:
        return []
    drawn = profile(wildcards.profile).calibration.slug
    return f"results/runs/{wildcards.profile}/calibration/{wildcards.model}/{drawn}/s{wildcards.seed}.json"


def recovery_flags(wildcards):
    """Return what is trained into what, as command line options."""
    chosen = recovery_of(wildcards)
    flags = ["--preset", chosen.preset, "--data", chosen.data]
    if chosen.target is not None:
        kind = "parameters" if isinstance(chosen.target, int) else "model"
        flags += [f"--target-{kind}", str(chosen.target)]
    for key, value in sorted(chosen.overrides.items()):
        flags += ["--set", f"{key}={json.dumps(value)}"]
    if path := recovery_calibration(wildcards):
        flags += ["--calibration", path]
    return shlex.join(flags)


def training_flags(wildcards):
    """Return how a recovery is computed, as command line options."""
    chosen = profile(wildcards.profile)
    training = chosen.training
    flags = [
        *("--device", chosen.device.split(":")[0], "--threads", str(chosen.threads)),
        *("--micro-batch", str(training.micro_batch)),
        *("--checkpoint-every", str(training.checkpoint_every)),
    ]
    if training.activation_checkpointing:
        flags.append("--activation-checkpointing")
    if training.launch is not None:
        flags += ["--launch", str(ROOT / training.launch)]
    return shlex.join(flags)


def training_gpus(wildcards):
    """Return how many GPUs a recovery occupies."""
    return gpus_of(wildcards) * profile(wildcards.profile).training.gpus


rule recover:
    input:
        "results/runs/{profile}/models/{model}.json",
        recovery_calibration,
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
        recovery=r"(?!none/)[a-z0-9-]+",
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
        "(python -m adaptprune recover --model {params.model} {params.recovery} "
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
