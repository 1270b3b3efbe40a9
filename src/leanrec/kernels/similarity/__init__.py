"""Similarities between sparse rows, and sums over neighbors."""
