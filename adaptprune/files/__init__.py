"""Files: whole or not at all, sealed, listed in manifests; releases of package indexes."""
