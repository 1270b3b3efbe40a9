"""Networks of CTR models for training with torch; fitted models compute without it."""
