# Training data: the tokens of each source of the profile's mixture, next to the published ones.


rule count_tokens:
    input:
        lambda wildcards: f"results/runs/{wildcards.profile}/models/{slug(profile(wildcards.profile).models[0])}.json",
        lambda wildcards: text_files(wildcards.profile, wildcards.mixture),
    output:
        "results/runs/{profile}/tokens/{mixture}.json",
    log:
        "results/runs/{profile}/logs/tokens/{mixture}.txt",
    wildcard_constraints:
        mixture=r"[a-z0-9-]+",
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=memory_of,
    params:
        model=lambda wildcards: profile(wildcards.profile).models[0],
        declared=lambda wildcards: settings_hash(find_mixture(wildcards.mixture)),
        local_data=local_data_flag,
    message:
        "count the tokens of mixture {wildcards.mixture}"
    shell:
        "python -m adaptprune count-tokens --data {wildcards.mixture} --model {params.model:q} "
        "{params.local_data} --output {output} > {log} 2>&1"


rule data_table:
    input:
        counts=counted_tokens,
        claims=claims_file(paper_of_table("table2").folder(ROOT / "paper_tables")),
    output:
        multiext("paper_tables/generated/{profile}/table2", ".md", ".csv", ".tex"),
        made="results/runs/{profile}/made/table2.json",
    log:
        "results/runs/{profile}/logs/tables/table2.txt",
    localrule: True
    conda:
        "../environment.yml"
    params:
        made_from=profile_made_from,
        written=lambda wildcards, output: " ".join(output[:3]),
        stem=lambda wildcards, output: output[0].removesuffix(".md"),
    message:
        "render table2 of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune data-table --counts {input.counts} --claims {input.claims:q} "
        "--output {params.stem} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{params.written}) > {log} 2>&1"


# The paper's training data belong to the models that it trains, which have a profile of their own.
rule table2:
    input:
        "paper_tables/generated/{}/table2.md".format(
            {"paper": "paper-training"}.get(PROFILE, PROFILE)
        ),
    localrule: True


# The rule of declared tables would make a table2 of any profile, too.
ruleorder: data_table > table
