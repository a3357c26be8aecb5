# What the paper prints against what follows from architecture and arithmetic alone.


rule audit:
    input:
        papers()[0].printed(ROOT / "paper_tables"),
    output:
        "paper_tables/generated/audit.md",
    log:
        "results/runs/logs/audit.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        tables=str(ROOT / "paper_tables"),
        versions={
            name: find_method(name).version
            for name in ("adapt-pruner", "flap", "llm-pruner", "slicegpt")
        },
    message:
        "check the paper's statements by arithmetic"
    shell:
        "python -m adaptprune audit --tables {params.tables:q} --output {output} > {log} 2>&1"
