"""Bundled sample data and simulated logs."""
