"""Recognition of files: what a file is, how it is packed, and how its text is laid out."""
