# One page about a profile: made of its main results, and of whatever else lies there.


rule report:
    input:
        f"paper_tables/generated/{PROFILE}/report.html",
    localrule: True


rule page:
    input:
        page_sources,
        [paper.printed(ROOT / "paper_tables") for paper in papers()],
        list(TABLES.values()),
    output:
        page="paper_tables/generated/{profile}/report.html",
        made="results/runs/{profile}/made/report.json",
    log:
        "results/runs/{profile}/logs/report.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        declarations=str(ROOT / "paper_tables"),
        generated=lambda wildcards: f"paper_tables/generated/{wildcards.profile}",
        made_from=page_made_from,
    message:
        "write the report of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune report --profile {wildcards.profile} --config-folder {params.folder:q} "
        "{params.overrides} --declarations {params.declarations:q} --generated {params.generated} "
        "--output {output.page} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{output.page}) > {log} 2>&1"
