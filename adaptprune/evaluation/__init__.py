"""Evaluation: suites of tasks, the scorer behind lm-eval, and the stage of a cell."""
