"""The hot loops: numbers in, numbers out, compiled by Numba. Each has a slow reference twin in its test."""
