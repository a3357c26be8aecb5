"""Adapt-Pruner (arXiv 2502.03460): its method, training, claims, figures and tables."""

from adaptprune.workflow.papers import Paper

PAPER = Paper(
    name="adapt_pruner",
    title="Adapt-Pruner (arXiv 2502.03460)",
    package=__name__,
    figures=("fig1", "fig2", "fig3", "fig4", "fig_recovery"),
    tables={"table2": "table2", "cost": "costs"},
    shared=("table6",),
    reported=("table1",),
    run_as={"fig3": "table3", "fig4": "ablation_interleave", "fig_recovery": "table4"},
)
