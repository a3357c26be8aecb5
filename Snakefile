# Regenerate the tables of the Adapt-Pruner paper: snakemake table1 --cores 4
from snakemake.utils import min_version

min_version("9.0")


include: "rules/common.smk"


rule all:
    default_target: True
    input:
        f"{MINE.table('table1')}.md",
    localrule: True


include: "rules/fetch.smk"
include: "rules/prune.smk"
include: "rules/recover.smk"
include: "rules/evaluate.smk"
include: "rules/collect.smk"
include: "rules/compare.smk"
include: "rules/leaderboard.smk"
include: "rules/tables.smk"
include: "rules/data.smk"
include: "rules/figures.smk"
include: "rules/report.smk"
include: "rules/audit.smk"
