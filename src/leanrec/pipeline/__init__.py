"""Pipelines: serve recommendations from a fitted model by external id."""
