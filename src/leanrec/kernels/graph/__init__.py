"""Propagation over the user-item graph and its spectrum."""
