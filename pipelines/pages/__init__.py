"""Pages drawn in plain Python: escaped by construction, without scripts, without anything from elsewhere."""
