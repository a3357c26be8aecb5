# One page about a profile: made of its main results, and of whatever else lies there.


rule report:
    input:
        f"{MINE.generated}/report.html",
    localrule: True


rule page:
    input:
        SHOWN.page_sources,
        [paper.printed(PAPER_TABLES) for paper in papers()],
        list(TABLES.files.values()),
    output:
        page=f"{RUN.generated}/report.html",
        made=RUN.made("report"),
    log:
        RUN.log("report"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=SHOWN.overrides,
        folder=str(CONFIG),
        declarations=lambda wildcards: str(PAPER_TABLES),
        generated=RUN.generated,
        made_from=SHOWN.page_hash,
        shown=SHOWN.page_results,
    message:
        "write the report of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune report --profile {wildcards.profile} --config-folder {params.folder:q} "
        "{params.overrides} {params.shown} --declarations {params.declarations:q} --generated {params.generated} "
        "--output {output.page} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{output.page}) > {log} 2>&1"
