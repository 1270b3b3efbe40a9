"""A fitted model with everything needed to serve recommendations by external id."""
