"""Stored matrices as one page: every method by quality, size and cost, sortable and offline."""
