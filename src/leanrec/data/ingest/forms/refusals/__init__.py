"""Files that are no log: what they are, and a way to a log that works when it is followed."""
