"""The dashboard: a page for operators and developers, and the JSON that feeds it."""
