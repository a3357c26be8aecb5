"""Adaptive Sparse Trainer (arXiv 2407.20584): its method of training under an N:M pattern."""
