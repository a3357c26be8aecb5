"""Papers, each a tenant of the suite: reached by its entry point, imported by nobody."""
