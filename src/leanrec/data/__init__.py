"""Events in, Dataset out: sources, checks, cleaning, vocabulary, splits, artifacts, sample data."""
