"""Kernels of codes with few bits."""
