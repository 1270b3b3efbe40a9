"""Baselines: popularity and rating biases."""
