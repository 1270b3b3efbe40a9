"""Features of items and users from the columns of a table."""
