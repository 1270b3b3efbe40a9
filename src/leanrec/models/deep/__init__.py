"""Other neural models (torch)."""

# What a model of this folder needs beside the core: python -m pip install "leanrec[deep]".
EXTRA = "deep"
