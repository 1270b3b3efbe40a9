"""Integrations: other programs as parts of a server, found by the scheme of a URL and imported by nothing else."""
