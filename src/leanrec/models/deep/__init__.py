"""Models that train with torch: sequences, fusion of features, autoencoders."""
