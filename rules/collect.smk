# One results file per profile, and one per table that adds variants to the profile's methods.


rule collect:
    input:
        SHOWN.result_files,
        ancient(SHOWN.dense_gates),
    output:
        results=RUN.collected("results", "{selection}"),
        seal=RUN.seal("{selection}"),
        provenance=RUN.collected("provenance", "{selection}"),
        made=RUN.made("results{selection}"),
    log:
        RUN.log("collect{selection}"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=SHOWN.overrides,
        declaration=SHOWN.declaration_option,
        folder=str(CONFIG),
        made_from=SHOWN.results_hash,
    message:
        "collect the results of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune collect --profile {wildcards.profile} --config-folder {params.folder:q} "
        "{params.overrides} {params.declaration} --results {output.results} "
        "--provenance {output.provenance} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{output.results} {output.seal} {output.provenance}) > {log} 2>&1"
