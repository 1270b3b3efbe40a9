"""What an operator sees of a server: its log, slow requests and errors by id."""
