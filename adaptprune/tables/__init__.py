"""Tables: declared, filled from results, rendered."""
