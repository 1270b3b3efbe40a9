"""Numerical kernels compiled by Numba: arrays in, arrays out."""
