"""Item-item weights of a few bytes each: packed rows, pruning under one budget, and models on top of them."""
