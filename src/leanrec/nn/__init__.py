"""Neural network layers (torch)."""
