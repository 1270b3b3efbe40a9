"""Files that hold several tables: the choice among the members of an archive, and dumps of databases."""
