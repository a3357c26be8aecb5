"""Statements of the paper against what follows from architecture and arithmetic alone."""
