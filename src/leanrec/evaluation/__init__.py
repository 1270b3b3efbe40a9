"""Evaluation: metrics, comparisons, cross-validation, tuning, and the frontier of quality and cost."""
