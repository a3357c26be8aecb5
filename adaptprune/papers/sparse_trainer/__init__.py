"""Adaptive Sparse Trainer (arXiv 2407.20584): its method of training under an N:M pattern."""

from adaptprune.workflow.papers import Paper

PAPER = Paper(
    name="sparse_trainer",
    title="Adaptive Sparse Trainer (arXiv 2407.20584)",
    package=__name__,
    figures=("ast_fig2", "ast_fig4"),
    run_as={"ast_fig2": "ast_table4", "ast_fig4": "ast_table4"},
)
