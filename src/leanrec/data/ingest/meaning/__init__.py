"""What the columns and values of a log mean: roles by name, ratings, ids, and how tables match the log."""
