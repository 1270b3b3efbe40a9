"""Offline evaluation: metrics with confidence intervals, comparisons, the frontier and tuning."""
