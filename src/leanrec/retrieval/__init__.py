"""Retrieval: all items to the best k candidates."""
