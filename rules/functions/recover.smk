# What the rule recover asks of a profile.


def recovery_of(wildcards):
    return profile(wildcards.profile).recovery(wildcards.recovery)


def recovery_calibration(wildcards):
    """Return the calibration set of a recovery, or nothing where its method needs none."""
    if not recovery_of(wildcards).method.needs_calibration:
        return []
    drawn = profile(wildcards.profile).calibration
    return drawn_file(wildcards.profile, wildcards.model, drawn, wildcards.seed)


def recovery_flags(wildcards):
    """Return what is trained into what, as command line options."""
    chosen = recovery_of(wildcards)
    flags = ["--preset", chosen.preset, "--data", chosen.data]
    if chosen.target is not None:
        kind = "parameters" if isinstance(chosen.target, int) else "model"
        flags += [f"--target-{kind}", str(chosen.target)]
    flags += set_options(chosen.overrides)
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
