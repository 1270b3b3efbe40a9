"""One loop for models that learn by gradients (torch): batches, losses, steps, checkpoints. Knows no model by name."""
