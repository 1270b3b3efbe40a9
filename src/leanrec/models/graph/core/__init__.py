"""Training shared by graph models."""
