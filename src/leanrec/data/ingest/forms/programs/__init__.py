"""Text that programs write for people: columns of fixed width, logs of web servers, and lines in quotation marks."""
