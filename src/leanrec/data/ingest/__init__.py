"""From a raw log in any common format to a Dataset and a report."""
