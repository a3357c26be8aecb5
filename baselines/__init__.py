"""Baseline pruning methods, one module each, registered like a third party's."""
