# Training data: the tokens of each source of the profile's mixture, next to the published ones.


def counted_tokens(wildcards):
    """Return the counts that Table 2 shows; have them made again where they are a model's."""
    name = wildcards.profile
    file = f"results/runs/{name}/tokens/{profile(name).mixture}.json"
    counted = read_fetched(file).get("conditions") or {}
    if counted.get("model") != profile(name).models[0]:
        remake(file)
    remake_if_stale(
        f"results/runs/{name}/made/table2.json", profile_made_from(wildcards), [file]
    )
    return file


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
        claims=ROOT / "paper_tables/quoted/claims.yaml",
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
        stem=lambda wildcards, output: output[0].removesuffix(".md"),
    message:
        "render table2 of profile {wildcards.profile}"
    shell:
        "(python -m adaptprune data-table --counts {input.counts} --claims {input.claims:q} "
        "--output {params.stem} "
        "&& python -m adaptprune made-from --digest {params.made_from} --output {output.made} "
        "{output[0]} {output[1]} {output[2]}) > {log} 2>&1"


# The paper's training data belong to the models that it trains, which have a profile of their own.
rule table2:
    input:
        "paper_tables/generated/{}/table2.md".format(
            {"paper": "paper-training"}.get(PROFILE, PROFILE)
        ),
    localrule: True


# The rule of declared tables would make a table2 of any profile, too.
ruleorder: data_table > table
