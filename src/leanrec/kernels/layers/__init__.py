"""Layers of neural networks in NumPy and Numba: fitted models are served with them, without torch."""
