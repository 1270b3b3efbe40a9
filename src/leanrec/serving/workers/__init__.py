"""Several serving processes over one model in shared memory, and one process that writes the event log."""
