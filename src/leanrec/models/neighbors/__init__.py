"""Nearest-neighbor models."""
