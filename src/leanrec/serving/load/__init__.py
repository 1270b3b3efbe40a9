"""Load of a server: how many lists it makes at a time, and how much work it puts into each."""
