# One results file per profile.


rule collect:
    input:
        cell_files,
        ancient(dense_gates),
    output:
        results="results/runs/{profile}/results.csv",
        seal="results/runs/{profile}/results.csv.sha256",
        provenance="results/runs/{profile}/provenance.csv",
    log:
        "results/runs/{profile}/logs/collect.txt",
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
        "{params.overrides} --results {output.results} "
        "--provenance {output.provenance} > {log} 2>&1"
