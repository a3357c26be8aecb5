# Training data: the tokens of each source of the profile's mixture, next to the published ones.


rule count_tokens:
    input:
        JOB.counting_inputs,
    output:
        RUN.tokens("{mixture}"),
    log:
        RUN.log("tokens/{mixture}"),
    wildcard_constraints:
        mixture=r"[a-z0-9-]+",
    conda:
        "../environment.yml"
    threads: 1
    resources:
        mem_mb=JOB.memory,
    params:
        model=JOB.counting_model,
        declared=JOB.mixture_hash,
        local_data=JOB.local_data,
    message:
        "count the tokens of mixture {wildcards.mixture}"
    shell:
        "python -m adaptprune count-tokens --data {wildcards.mixture} --model {params.model:q} "
        "{params.local_data} --output {output} > {log} 2>&1"


rule data_table:
    input:
        counts=SHOWN.counted_tokens,
        claims=claims_file(paper_of_table("table2").folder(PAPER_TABLES)),
    output:
        multiext(RUN.table("table2"), ".md", ".csv", ".tex"),
        made=RUN.made("table2"),
    log:
        RUN.log("tables/table2"),
    localrule: True
    conda:
        "../environment.yml"
    params:
        made_from=SHOWN.profile_hash,
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
        f"{paths.Run({'paper': 'paper-training'}.get(PROFILE, PROFILE)).table('table2')}.md",
    localrule: True


# The rule of declared tables would make a table2 of any profile, too.
ruleorder: data_table > table
