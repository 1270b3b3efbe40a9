"""All items → K candidates."""
