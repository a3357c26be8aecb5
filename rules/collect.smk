# One results file per profile.


def cell_files(wildcards):
    """Return the files of every cell of a profile."""
    return [
        f"{RUNS}/{wildcards.profile}/cells/{cell.key}/{name}"
        for cell in profile(wildcards.profile).cells()
        for name in ("pruning.json", "evaluation.json")
    ]


rule collect:
    input:
        cell_files,
    output:
        results=RUNS + "/{profile}/results.csv",
        provenance=RUNS + "/{profile}/provenance.csv",
    log:
        RUNS + "/{profile}/logs/collect.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        cells=lambda wildcards: settings_hash(profile(wildcards.profile).cells()),
    message:
        "collect the results of profile {wildcards.profile}"
    shell:
        "python -m adaptprune collect --profile {wildcards.profile} --config-folder {params.folder} "
        "{params.overrides} --runs {RUNS} --results {output.results} "
        "--provenance {output.provenance} > {log} 2>&1"
