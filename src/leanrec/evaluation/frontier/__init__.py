"""Quality beside cost for many models, and the choice under a budget."""
