"""Codecs of item vectors: fewer bytes for each item, and scores from the codes."""
