"""Lists: stages, cache and degradation of recommendation lists, and files of the lists of all users."""
