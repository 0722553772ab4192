"""Training: features, item state, id tables, MoNN, the learned hierarchy, checkpoints, and the online loop."""
