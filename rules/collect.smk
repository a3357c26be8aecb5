# One results file per profile, and one per table that adds variants to the profile's methods.


rule collect:
    input:
        cell_files,
        ancient(dense_gates),
    output:
        results="results/runs/{profile}/results{selection}.csv",
        seal="results/runs/{profile}/results{selection}.csv.sha256",
        provenance="results/runs/{profile}/provenance{selection}.csv",
        made="results/runs/{profile}/made/results{selection}.json",
    log:
        "results/runs/{profile}/logs/collect{selection}.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        declaration=declaration_flag,
        folder=str(ROOT / "config"),
        made_from=results_made_from,
    message:
        "collect the results of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune collect --profile {wildcards.profile} --config-folder {params.folder:q} "
        "{params.overrides} {params.declaration} --results {output.results} "
        "--provenance {output.provenance} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{output.results} {output.seal} {output.provenance}) > {log} 2>&1"
