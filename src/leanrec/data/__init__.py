"""Data sets: events, ids, item and user tables, splits and ingestion."""
