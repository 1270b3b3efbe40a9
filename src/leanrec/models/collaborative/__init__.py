"""Models that read interactions."""
