"""Learning while serving: the model, and what is listed for users without a history, follow the events of all users."""
