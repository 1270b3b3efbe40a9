"""User events: the event log, its lock and its reader."""
