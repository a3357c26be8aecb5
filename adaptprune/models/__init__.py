"""Models: shapes, the catalogue, fetching, loading and saving."""
