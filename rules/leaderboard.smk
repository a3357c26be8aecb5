# The stored matrices as one page; nothing is run for it.


rule leaderboard:
    input:
        results=sorted(
            str(record).replace(".versions.json", ".csv")
            for record in Path("results").glob("*.versions.json")
        ),
        speeds=sorted(map(str, Path("results").glob("*.speed.csv"))),
    output:
        "results/leaderboard.html",
    log:
        f"{paths.RUNS}/logs/leaderboard.txt",
    localrule: True
    conda:
        "../environment.yml"
    message:
        "write {output}"
    shell:
        "python -m adaptprune leaderboard {input.results:q} --output {output} > {log} 2>&1"
