"""Stochastic gradient descent without torch."""
