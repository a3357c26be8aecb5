"""Is everything there that a profile needs, and how long will it take? Asked before a run."""
