"""Selection of the k largest scores."""
