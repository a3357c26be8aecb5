# Regenerate the tables of the Adapt-Pruner paper: snakemake table1 --cores 4
import inspect

from snakemake.utils import min_version

min_version("9.0")


include: "rules/common.smk"
include: "rules/functions/recover.smk"
include: "rules/functions/compare.smk"
include: "rules/functions/figures.smk"
include: "rules/functions/report.smk"


rule all:
    default_target: True
    input:
        f"paper_tables/generated/{PROFILE}/table1.md",
    localrule: True


include: "rules/fetch.smk"
include: "rules/prune.smk"
include: "rules/recover.smk"
include: "rules/evaluate.smk"
include: "rules/collect.smk"
include: "rules/compare.smk"
include: "rules/paper.smk"
include: "rules/data.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/audit.smk"


# Snakemake asks for the signature of a function at every job; a stored one is found at once.
for function in filter(inspect.isfunction, list(globals().values())):
    function.__signature__ = inspect.signature(function)
