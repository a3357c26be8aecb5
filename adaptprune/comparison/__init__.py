"""Comparing methods over the same documents: a new one with stored baselines, or two runs."""
