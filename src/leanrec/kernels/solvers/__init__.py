"""Linear systems: least squares, ridge regression, inverses and coordinate descent."""
