"""Layers that two or more deep models share, and their way to arrays and back (torch)."""
