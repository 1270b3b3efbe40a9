"""Training and inference shared by CTR models."""
