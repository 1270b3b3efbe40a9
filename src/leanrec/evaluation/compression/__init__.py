"""Compression by measurement: what a smaller model costs in ranking quality, and the choice of one."""
