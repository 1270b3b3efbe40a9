"""Networks of sequential models (torch). A fitted model computes the same states without torch."""
