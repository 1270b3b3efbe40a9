"""Content-based models."""
