"""Trials: a version that answers beside the current one, for some users or for none, and the guards that end it."""
