"""Graph models that need no torch."""
