# What the papers print against what follows from architecture and arithmetic alone.


rule audit:
    input:
        [file for paper in papers() for file in paper.printed(PAPER_TABLES)],
    output:
        f"{paths.GENERATED}/audit.md",
    log:
        f"{paths.RUNS}/logs/audit.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        tables=lambda wildcards: str(PAPER_TABLES),
        versions={
            name: find_method(name).version
            for name in ("adapt-pruner", "flap", "llm-pruner", "slicegpt")
        },
    message:
        "check the papers' statements by arithmetic"
    shell:
        "python -m adaptprune audit --tables {params.tables:q} --output {output} > {log} 2>&1"
