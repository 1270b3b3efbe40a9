"""Metrics of recommendation lists and of predicted ratings."""
