"""The training engine for models fitted by gradient descent (torch). Knows no model by name."""
