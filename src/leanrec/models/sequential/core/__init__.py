"""Training and inference shared by sequential models."""
