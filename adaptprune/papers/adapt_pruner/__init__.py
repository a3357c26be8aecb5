"""Adapt-Pruner (arXiv 2502.03460): its method, training, claims, figures and tables."""
