"""Click-through-rate models over feature fields, trained with torch and served without it."""

# What a model of this folder needs beside the core: python -m pip install "leanrec[deep]".
EXTRA = "deep"
