"""Quality and cost of many models, and model selection within a budget."""
