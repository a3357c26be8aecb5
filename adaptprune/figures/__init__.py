"""Figures: one module each, all in the style of ``style.py`` and with their data as CSV.

A module named after its figure has ``draw(source: Source) -> Drawing``; ``catalog`` finds it.
"""
