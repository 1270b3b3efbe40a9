"""Training, validation and test parts, and the queries they are evaluated with."""
