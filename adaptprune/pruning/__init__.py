"""Pruning of single weights: patterns, metrics and their statistics, masks and their files."""
