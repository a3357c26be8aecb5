"""Finished cells: their records, rows, conditions and statistics."""
