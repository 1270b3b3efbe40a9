"""Ensembles of other models."""
