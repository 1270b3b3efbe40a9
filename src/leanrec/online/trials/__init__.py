"""Trials: a version that answers beside the current one, for a share of the users or for nobody, and the guards that end it."""
