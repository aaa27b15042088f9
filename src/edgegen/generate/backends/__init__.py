"""What runs a model: one module per engine."""
