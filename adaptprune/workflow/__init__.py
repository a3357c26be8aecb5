"""The workflow: profiles, cells, progress, fetching beforehand."""
