"""Pruning: what a method is, what it decides, how a model is cut."""
