"""Security of a server: who may ask for what, how often, and under which names of the host."""
