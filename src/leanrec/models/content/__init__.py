"""Models that read the content of items."""
