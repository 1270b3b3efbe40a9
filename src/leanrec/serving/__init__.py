"""A fitted model, speaking own ids: in this process, over HTTP, and as a page."""
