"""Training shared by neural models that score from a history."""
