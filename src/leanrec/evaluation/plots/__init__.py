"""Plots of data sets, recommendations, tuning and the frontier, and the HTML report."""
