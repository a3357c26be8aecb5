# One page about a profile: made of its main results, and of whatever else lies there.


rule report:
    input:
        f"paper_tables/generated/{PROFILE}/report.html",
    localrule: True


rule page:
    input:
        results="results/runs/{profile}/results.csv",
        table="paper_tables/generated/{profile}/table1.md",
        published=ROOT / "paper_tables" / "published.csv",
        claims=ROOT / "paper_tables" / "quoted" / "claims.yaml",
        declarations=[ROOT / "paper_tables" / f"{table}.yaml" for table in TABLES],
    output:
        "paper_tables/generated/{profile}/report.html",
    log:
        "results/runs/{profile}/logs/report.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        overrides=overrides_flags,
        folder=str(ROOT / "config"),
        declarations=lambda wildcards, input: str(Path(input.published).parent),
        generated=lambda wildcards: f"paper_tables/generated/{wildcards.profile}",
        found=lambda wildcards: files_there(wildcards.profile),
    message:
        "write the report of profile {wildcards.profile}"
    shell:
        "python -m adaptprune report --profile {wildcards.profile} --config-folder {params.folder:q} "
        "{params.overrides} --declarations {params.declarations:q} --generated {params.generated} "
        "--output {output} > {log} 2>&1"
