"""Networks of sequential models, in torch; a fitted model computes the same states without it."""
