"""One page that says what was run, what came out, and what of the paper's claims it bears out."""
