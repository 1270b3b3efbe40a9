"""What is known of an item → numbers. Fitted once, applied the same in training and in serving."""
