"""The HTTP server and its dashboard."""
